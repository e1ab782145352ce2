# SPDX-License-Identifier: Apache-2.0
"""Where a study keeps its panel apart, no home moves both the panel's sums and those of all others."""

from dataclasses import replace
from typing import get_args

import msgspec
import numpy as np
import pytest

from skyglow_client.gate import gate, rounds
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.contributions import cohort_of
from skyglow_shared import command
from skyglow_shared.errors import DataError, LedgerError
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.messages import Refusal, Share
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.privacy.sampling import sampler_of
from skyglow_shared.study import COMPOSITION_CLASSES, digest
from skyglow_shared.vocabulary import OF_THE_PANEL, Source

ROUNDS = (("training", 0), ("training", 1), ("training", 2), ("calibration", 0), ("release", 0))
WEIGHTS = {"all_aged_66_plus": np.linspace(-1, 1, 23)}


def panel(town, numbers):
    """Replace the panel by some of the town's homes; diaries stay those of its members."""
    lines = [f"{town.raw.meter(number)},{COMPOSITION_CLASSES[number % 6]}" for number in numbers]
    (town.folder / "raw" / "panel.csv").write_text("\n".join(["meter_id,composition", *lines]) + "\n")


@pytest.fixture
def study(town):
    panel(town, range(0, 24, 2))
    return town.study(panel_apart=True)


def moved(study, homes, left_out):
    """Sources of blocks whose exact sums change if one home is left out."""
    rest = homes.take(np.arange(len(homes)) != left_out)
    return {
        block.source
        for block in study.blocks
        if (block_sum(study, block, homes, WEIGHTS) != block_sum(study, block, rest, WEIGHTS)).any()
    }


def test_no_home_moves_sums_of_both(town, study):
    with town.open() as supplier:
        homes = supplier.homes(study)
        assert 0 < homes.surveyed.sum() < len(homes)
        found = [moved(study, homes, home) for home in range(len(homes))]
        for surveyed, sources in zip(homes.surveyed, found, strict=True):
            assert sources <= OF_THE_PANEL if surveyed else not sources & OF_THE_PANEL
        assert set.union(*found) >= {"gradient", "class_score", "area_label", "area_score", "area_profile"}
        together = msgspec.structs.replace(study, panel_apart=False)
        both = [moved(together, homes, home) for home in range(len(homes))]
        assert any(sources & OF_THE_PANEL and sources - OF_THE_PANEL for sources in both)  # so the test can fail


def test_cohorts_of_the_two_share_no_home_and_lose_none(town, study):
    with town.open() as supplier:
        homes = supplier.homes(study)
        of_panel, of_others = np.zeros((2, len(homes)), dtype=bool)
        for block in study.blocks:
            into = of_panel if block.source in OF_THE_PANEL else of_others
            into |= cohort_of(study, block, homes)
        assert not (of_panel & of_others).any()
        np.testing.assert_array_equal(of_others, homes.metered & ~homes.surveyed)


def test_every_source_is_about_the_homes_that_its_phase_is_charged_to(town, study):
    """Random homes, so that metered, surveyed and both halves come together in every way."""
    rng = np.random.default_rng(5)
    with town.open() as supplier:
        homes = supplier.homes(study)
    metered, calibrates = rng.random((2, len(homes))) < 0.5
    homes = replace(homes, metered=metered, calibrates=calibrates, diary=np.zeros_like(homes.diary))
    flagged = {"class_score": (False, True), "area_label": (False, True)}  # of no other source it is sound
    for source in get_args(Source):
        for counts_trainers in flagged.get(source, (False,)):
            block = msgspec.structs.replace(study.phases[0].blocks[0], source=source, counts_trainers=counts_trainers)
            phase = msgspec.structs.replace(study.phases[0], blocks=(block,))
            side = {"panel": homes.surveyed, "others": ~homes.surveyed}[sampler_of(study, phase, 1).event().cohort]
            cohort = cohort_of(study, block, homes)
            assert cohort.any()
            assert not (cohort & ~(side & metered)).any()


def test_the_ledger_charges_the_dearer_of_the_two(town, study):
    with town.open() as supplier:
        town.approve(supplier, study)
        for phase, round_ in ROUNDS:
            assert isinstance(town.ask(supplier, town.request(study, phase, round_)), Share)
        spent = supplier.gate.ledger.spent(study.delta).epsilon_upper
        events = plan(study, all_round_numbers(study))
        of_panel, of_others = (
            study_cost([event for event in events if event.cohort == cohort], study.delta).epsilon_upper
            for cohort in ("panel", "others")
        )
        together = msgspec.structs.replace(study, panel_apart=False)
        sequential = study_cost(plan(together, all_round_numbers(together)), study.delta).epsilon_upper
    assert spent == pytest.approx(max(of_panel, of_others), rel=1e-9)
    assert spent < 0.95 * sequential


@pytest.fixture
def seen(monkeypatch):
    """Pseudonyms of the homes that went into blocks, by whether the block is the panel's."""
    into = {True: set(), False: set()}

    def noised(study, block, homes, *rest):
        cohort = homes.pseudonyms[cohort_of(study, block, homes)]
        into[block.source in OF_THE_PANEL] |= {one.tobytes() for one in cohort}
        return rounds.noised(study, block, homes, *rest)

    monkeypatch.setattr(gate, "noised", noised)
    return into


def answered(town, study, places):
    """Open the supplier, as after a new start, and have it answer rounds."""
    with town.open() as supplier:
        return [town.ask(supplier, town.request(study, *place)) for place in places]


@pytest.mark.parametrize("now", [range(0, 24, 3), range(0, 22, 2), range(24), ()])
def test_a_home_stays_on_its_side_whatever_the_panel_becomes(town, study, seen, now):
    """Joined, left, or both, in any phase: answered all the same, and no home is on both sides."""
    with town.open() as supplier:
        town.approve(supplier, study)
        first = supplier.homes(study)
    before = {one.tobytes() for one in first.pseudonyms[first.surveyed]}
    shares = answered(town, study, ROUNDS[:1])
    panel(town, now)
    shares += answered(town, study, ROUNDS[1:2])
    panel(town, range(1, 24, 2))
    shares += answered(town, study, ROUNDS[2:])
    assert all(isinstance(share, Share) for share in shares)
    assert not seen[True] & seen[False]
    assert seen[True] <= before
    assert seen[False] == {one.tobytes() for one in first.pseudonyms[first.metered & ~first.surveyed]}


def test_who_is_of_the_panel_is_kept_before_anything_is_computed(town, study, seen, monkeypatch):
    with town.open() as supplier:
        town.approve(supplier, study)
    with monkeypatch.context() as broken:
        broken.setattr(gate, "noised", None)
        assert isinstance(answered(town, study, ROUNDS[:1])[0], Refusal)
    panel(town, range(1, 24, 2))
    assert all(isinstance(share, Share) for share in answered(town, study, ROUNDS))
    assert not seen[True]  # those who left are in nothing, those who came stay among the others
    assert len(seen[False]) > 6


def test_the_panel_of_an_approval_given_again_is_the_first_ones(town, study, seen):
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        supplier.refuse(digest(study))
        supplier.approve(digest(study))
    panel(town, range(1, 24, 2))
    answered(town, study, ROUNDS[1:])
    assert not seen[True] & seen[False]


def test_under_another_key_of_pseudonyms_nothing_is_computed(town, study):
    """No home can be told to be the one it was: be the store loaded anew, or the key put back without the store."""
    kept = (town.folder / "pseudonym.key").read_bytes()
    with town.open() as supplier:
        town.approve(supplier, study)
    answered(town, study, ROUNDS[:1])

    def load(key):
        (town.folder / "pseudonym.key").write_bytes(key)
        replace(town.raw, key=key).ingest_again()

    load(bytes(32))
    refusals = answered(town, study, ROUNDS[1:2])
    (town.folder / "pseudonym.key").write_bytes(kept)
    refusals += answered(town, study, ROUNDS[1:2])
    assert {(type(one), one.code) for one in refusals} == {(Refusal, DataError.exit_code)}
    assert not any("panel" in one.message or "key" in one.message for one in refusals)
    load(kept)
    assert isinstance(answered(town, study, ROUNDS[1:2])[0], Share)


def test_a_key_that_the_store_was_not_loaded_with_is_noticed(town, study):
    """With it nobody would be found to be of the panel, and for as long as the study runs."""
    (town.folder / "pseudonym.key").write_bytes(bytes(32))
    with town.open() as supplier:
        town.approve(supplier, study)
        refusal = town.ask(supplier, town.request(study))
        assert isinstance(refusal, Refusal)
        assert refusal.code == DataError.exit_code
        assert not supplier.gate.ledger.rows("SELECT * FROM cohorts")


def test_a_ledger_that_forgot_who_was_of_the_panel_answers_nothing_more(town, study):
    with town.open() as supplier:
        town.approve(supplier, study)
        town.ask(supplier, town.request(study))
        with supplier.gate.ledger.transaction():
            supplier.gate.ledger.connection.execute("DELETE FROM cohorts")
        refusal = town.ask(supplier, town.request(study, "training", 1))
        assert isinstance(refusal, Refusal)
        assert refusal.code == LedgerError.exit_code


def test_a_study_that_does_not_keep_it_apart_may_see_another_panel(town):
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        assert isinstance(town.ask(supplier, town.request(study)), Share)
    panel(town, range(3))
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.request(study, "training", 1)), Share)


def test_whoever_decides_is_told(town, study, capsys):
    with town.open() as supplier:
        supplier.handle(town.proposal(study))
    assert command.main(["supplier", "study", "show", digest(study), "--folder", str(town.folder)]) == 0
    shown = capsys.readouterr().out
    assert "you are charged the dearer of the two" in shown
    assert shown.count("every metered home not of the panel: ") == 2


def test_whoever_decides_is_told_that_homes_that_train_answer_too(town, study, capsys):
    phases = [
        msgspec.structs.replace(
            phase,
            blocks=tuple(
                msgspec.structs.replace(block, counts_trainers=block.source in ("class_score", "area_label"))
                for block in phase.blocks
            ),
        )
        for phase in study.phases
    ]
    both = msgspec.structs.replace(study, phases=tuple(phases))
    with town.open() as supplier:
        supplier.handle(town.proposal(both))
    assert command.main(["supplier", "study", "show", digest(both), "--folder", str(town.folder)]) == 0
    shown = capsys.readouterr().out
    answers = "every home of the panel, those that train too: a count, and 1 or -1 by its label, by MSOA"
    assert f"panel_labels: {answers}" in shown
    assert "by composition class; and a count of the training half" in shown
