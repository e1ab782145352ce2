# SPDX-License-Identifier: Apache-2.0
"""The supplier's own limits: every rule refuses by its name, and what is not mentioned is not allowed."""

from pathlib import Path

import msgspec
import pytest

from skyglow_client.gate.policy import LEVELS, Policy, check, load_policy
from skyglow_shared.errors import FormatError, PolicyError
from skyglow_shared.study import Aggregation, Source, Supplier


def replaced(study, **changes):
    return msgspec.structs.replace(study, **changes)


def together(study, dropouts=0, colluders=1, suppliers=4):
    """The study in trust mode `aggregate`, with so many suppliers on its roster: south, and others invented."""
    others = [Supplier(name=f"s{n}", public_key=f"{n:02x}" * 32) for n in range(1, suppliers - 1)]
    return replaced(
        study,
        trust_mode="aggregate",
        aggregation=Aggregation(dropouts=dropouts, colluders=colluders),
        suppliers=(*study.suppliers, *others),
    )


RIVALS = ["0b" * 32, *(f"{n:02x}" * 32 for n in range(1, 9))]
AGGREGATE = {"trust_modes": ["local", "aggregate"], "rivals": RIVALS}


def with_noise(study, multiplier):
    first = study.phases[0]
    block = replaced(first.blocks[0], noise_multiplier=multiplier)
    return replaced(study, phases=(replaced(first, blocks=(block,)), *study.phases[1:]))


RULES = {
    "office_key": ({}, lambda study: replaced(study, office_key="ff" * 32)),
    "delta": ({"delta": 1e-7}, None),
    "purposes": ({"purposes": ["other"]}, None),
    "legal_gateways": ({"legal_gateways": []}, None),
    "topics": ({"topics": ["employment"]}, None),
    "questions": ({"questions": ["paid_work"]}, None),
    "features": ({"features": ["class22-v2"]}, None),
    "trust_modes": ({}, together),
    "sources": ({"sources": [source for source in Source.__args__ if source != "diary_profile"]}, None),
    "levels": ({"levels": ["all", "class", "msoa"]}, None),
    "least_homes": ({"least_homes": 31}, None),
    "least_suppliers": ({"least_suppliers": 3}, None),
    "most_rounds": ({"most_rounds": 4}, None),
    "least_noise_multiplier": ({"least_noise_multiplier": 1.0}, lambda study: with_noise(study, 0.9)),
    "largest_sampling_rate": ({"largest_sampling_rate": 0.4}, None),
    "rivals": ({"rivals": ["0c" * 32]}, None),
    "least_honest_suppliers": (AGGREGATE | {"least_honest_suppliers": 3}, lambda study: together(study, 1, 1)),
    "least_colluders": (AGGREGATE | {"least_colluders": 2}, together),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_refuses_by_its_name(town, rule):
    changes, spoil = RULES[rule]
    town.write_policy(**{"rivals": RIVALS} | changes)
    policy = load_policy(town.folder / "policy.toml")
    study = town.study()
    with pytest.raises(PolicyError) as refusal:
        check(policy, spoil(study) if spoil else study, town.identity.public_key)
    assert refusal.value.rule == rule
    assert refusal.value.exit_code == 31


#: Held to while a round is computed, see test_limits.py; and their defaults.
MACHINE = {"most_seconds": "none", "most_memory_mib": "none"}


def test_every_field_but_the_budget_and_the_machines_limits_is_a_rule():
    assert set(Policy.__struct_fields__) - set(RULES) == {"epsilon", "window_days", *MACHINE}


def test_a_policy_that_allows_no_lsoa_refuses_curves_of_lsoas(town):
    town.write_policy(levels=["all", "class", "msoa"])
    policy, study = load_policy(town.folder / "policy.toml"), town.study()
    by_msoa = tuple(
        replaced(phase, blocks=tuple(block for block in phase.blocks if LEVELS[block.source] != "lsoa"))
        for phase in study.phases
    )
    assert any(block.source == "area_profile" for phase in by_msoa for block in phase.blocks)
    study = replaced(study, phases=by_msoa)
    check(policy, study)
    curves = replaced(study.occupancy, levels=("LSOA", "MSOA", "LAD"))
    with pytest.raises(PolicyError, match="levels does not list 'lsoa'"):
        check(policy, replaced(study, occupancy=curves))
    without = tuple(
        replaced(phase, blocks=tuple(block for block in phase.blocks if block.source != "area_profile"))
        for phase in by_msoa
    )
    check(policy, replaced(study, occupancy=curves, phases=without))  # nothing asks for curves, so none are published


def test_a_study_within_all_limits_is_allowed(town):
    check(load_policy(town.folder / "policy.toml"), town.study())


@pytest.mark.parametrize(("dropouts", "colluders"), [(0, 1), (1, 1), (0, 2)])
def test_aggregate_mode_is_allowed_where_the_policy_lists_it_and_the_rivals(town, dropouts, colluders):
    town.write_policy(**AGGREGATE)
    policy = load_policy(town.folder / "policy.toml")
    check(policy, together(town.study(), dropouts, colluders), town.identity.public_key)


BROKEN_ROSTERS = {
    "no rivals named": ({"rivals": None}, (0, 1, 4), "rivals"),
    "a supplier that nobody knows": ({"rivals": RIVALS[:2]}, (0, 1, 4), "rivals"),
    "everyone else may drop out": ({}, (3, 1, 4), "least_suppliers, least_honest_suppliers"),
    "everyone else may collude": ({}, (0, 3, 4), "least_honest_suppliers"),
    "nobody may collude": ({}, (1, 0, 4), "least_colluders"),
    "sums of few": ({"least_suppliers": 4}, (1, 1, 4), "least_suppliers"),
}


@pytest.mark.parametrize("case", BROKEN_ROSTERS)
def test_what_aggregation_must_withstand(town, case):
    changes, numbers, rules = BROKEN_ROSTERS[case]
    town.write_policy(**AGGREGATE | changes)
    with pytest.raises(PolicyError) as refusal:
        check(load_policy(town.folder / "policy.toml"), together(town.study(), *numbers), town.identity.public_key)
    assert refusal.value.rule == rules


def test_a_roster_is_never_longer_than_the_list_by_more_than_oneself(town):
    """A stranger is refused even if the supplier lists itself; and without its own key nothing is assumed."""
    town.write_policy(rivals=[town.identity.public_key])
    policy = load_policy(town.folder / "policy.toml")
    for own_key in (town.identity.public_key, ""):
        with pytest.raises(PolicyError, match="roster"):
            check(policy, town.study(), own_key)
    town.write_policy(rivals=["0b" * 32])
    policy = load_policy(town.folder / "policy.toml")
    check(policy, town.study(), town.identity.public_key)
    with pytest.raises(PolicyError, match="roster"):
        check(policy, town.study())


def test_a_policy_of_before_allows_what_it_allowed_and_nothing_new(town):
    """Without topics: the first topic alone. Without rivals: anyone in `local`, nobody in `aggregate`."""
    policy = load_policy(town.folder / "policy.toml")
    study = town.study()
    check(policy, study)
    other = replaced(study, models=(replaced(study.models[0], name="employment"),))
    with pytest.raises(PolicyError) as refusal:
        check(policy, other)
    assert refusal.value.rule == "topics"
    with pytest.raises(PolicyError) as refusal:
        check(policy, together(study))
    assert refusal.value.rule == "trust_modes, rivals"


def test_all_broken_rules_are_named_at_once(town):
    town.write_policy(purposes=[], most_rounds=1, levels=["all"])
    with pytest.raises(PolicyError) as refusal:
        check(load_policy(town.folder / "policy.toml"), town.study())
    assert refusal.value.rule == "purposes, levels, most_rounds"
    assert "'testing'" in str(refusal.value)
    assert "at most 1 rounds" in str(refusal.value)


def test_every_source_has_a_level():
    assert set(LEVELS) == set(Source.__args__)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"epsilon = ",
        b"",
        b"PK\x03\x04",
    ],
)
def test_a_file_that_is_no_policy_is_refused(town, content):
    (town.folder / "policy.toml").write_bytes(content)
    with pytest.raises(FormatError, match=r"supplier-policy\.md"):
        load_policy(town.folder / "policy.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"randomness": "seeded"},
        {"epsilon": None},
        {"epsilon": 0},
        {"epsilon": 21},
        {"delta": 0.01},
        {"window_days": 0},
        {"office_key": "abc"},
        {"levels": ["household"]},
        {"sources": ["raw"]},
        {"largest_sampling_rate": 1.5},
        {"rivals": ["north"]},
        {"least_honest_suppliers": 0},
        {"least_colluders": -1},
        {"most_seconds": 0},
        {"most_memory_mib": 0},
    ],
)
def test_unknown_missing_and_absurd_keys_are_refused(town, changes):
    town.write_policy(**changes)
    with pytest.raises(FormatError, match=r"supplier-policy\.md"):
        load_policy(town.folder / "policy.toml")


def test_a_missing_policy_allows_nothing(town):
    (town.folder / "policy.toml").unlink()
    with pytest.raises(FormatError, match="write one"):
        town.open()


def test_a_question_is_allowed_by_name_whatever_the_topic_is_called(town):
    study = town.study()
    asking = replaced(study.models[0], question="paid_work", positive_classes=("somebody",))
    policy = load_policy(town.folder / "policy.toml")
    with pytest.raises(PolicyError, match="questions does not list 'paid_work'") as refusal:
        check(policy, replaced(study, models=(asking,)))
    assert refusal.value.rule == "questions"
    town.write_policy(questions=["paid_work"])
    check(load_policy(town.folder / "policy.toml"), replaced(study, models=(asking,)))


def test_every_key_is_described_as_it_is():
    page = (Path(__file__).resolve().parents[2] / "docs/reference/supplier-policy.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    described = {row[0].strip("`"): row[2] for row in rows if len(row) == 4}
    defaults = dict(zip(Policy.__struct_fields__[::-1], Policy.__struct_defaults__[::-1], strict=False))
    for name in Policy.__struct_fields__:
        wanted = {"levels": "all four", "topics": "the first one", "questions": "`composition` alone"} | {
            "rivals": "none named",
            **MACHINE,
        }
        wanted = wanted.get(name, f"`{defaults[name]}`" if name in defaults else "required")
        assert described.pop(name) == wanted, name
    assert not described


def test_the_documented_policy_is_a_policy(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs/reference/supplier-policy.md").read_text(encoding="utf-8")
    (tmp_path / "policy.toml").write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert load_policy(tmp_path / "policy.toml").epsilon == 4.0
