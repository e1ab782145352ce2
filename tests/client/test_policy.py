# SPDX-License-Identifier: Apache-2.0
"""The supplier's own limits: every rule refuses by its name, and what is not mentioned is not allowed."""

from pathlib import Path

import msgspec
import pytest

from skyglow_client.gate.policy import LEVELS, Policy, check, load_policy
from skyglow_shared.errors import FormatError, PolicyError
from skyglow_shared.study import Source


def replaced(study, **changes):
    return msgspec.structs.replace(study, **changes)


def with_noise(study, multiplier):
    first = study.phases[0]
    block = replaced(first.blocks[0], noise_multiplier=multiplier)
    return replaced(study, phases=(replaced(first, blocks=(block,)), *study.phases[1:]))


RULES = {
    "office_key": ({}, lambda study: replaced(study, office_key="ff" * 32)),
    "delta": ({"delta": 1e-7}, None),
    "purposes": ({"purposes": ["other"]}, None),
    "legal_gateways": ({"legal_gateways": []}, None),
    "features": ({"features": ["class22-v2"]}, None),
    "trust_modes": ({}, lambda study: replaced(study, trust_mode="aggregate")),
    "sources": ({"sources": [source for source in Source.__args__ if source != "diary_profile"]}, None),
    "levels": ({"levels": ["all", "class", "msoa"]}, None),
    "least_homes": ({"least_homes": 31}, None),
    "least_suppliers": ({"least_suppliers": 3}, None),
    "most_rounds": ({"most_rounds": 4}, None),
    "least_noise_multiplier": ({"least_noise_multiplier": 1.0}, lambda study: with_noise(study, 0.9)),
    "largest_sampling_rate": ({"largest_sampling_rate": 0.4}, None),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_refuses_by_its_name(town, rule):
    changes, spoil = RULES[rule]
    town.write_policy(**changes)
    policy = load_policy(town.folder / "policy.toml")
    study = town.study()
    with pytest.raises(PolicyError) as refusal:
        check(policy, spoil(study) if spoil else study)
    assert refusal.value.rule == rule
    assert refusal.value.exit_code == 31


def test_every_field_but_the_budget_is_a_rule():
    assert set(Policy.__struct_fields__) - set(RULES) == {"epsilon", "window_days"}


def test_a_study_within_all_limits_is_allowed(town):
    check(load_policy(town.folder / "policy.toml"), town.study())


def test_aggregate_mode_is_refused_even_if_the_policy_lists_it(town):
    town.write_policy(trust_modes=["local", "aggregate"])
    with pytest.raises(PolicyError, match="this version"):
        check(load_policy(town.folder / "policy.toml"), town.study(trust_mode="aggregate"))


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


def test_every_key_is_described_as_it_is():
    page = (Path(__file__).resolve().parents[2] / "docs/reference/supplier-policy.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    described = {row[0].strip("`"): row[2] for row in rows if len(row) == 4}
    defaults = dict(zip(Policy.__struct_fields__[::-1], Policy.__struct_defaults__[::-1], strict=False))
    for name in Policy.__struct_fields__:
        wanted = {"levels": "all four"}.get(name, f"`{defaults[name]}`" if name in defaults else "required")
        assert described.pop(name) == wanted, name
    assert not described


def test_the_documented_policy_is_a_policy(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs/reference/supplier-policy.md").read_text(encoding="utf-8")
    (tmp_path / "policy.toml").write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert load_policy(tmp_path / "policy.toml").epsilon == 4.0
