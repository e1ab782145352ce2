# SPDX-License-Identifier: Apache-2.0
"""``study show`` says in plain words how homes are drawn, how they train, and who says when somebody is home."""

import msgspec
import pytest

from skyglow_client.commands import study as command
from skyglow_shared.models import temporal


@pytest.fixture
def shown(town, monkeypatch):
    """What is shown of a study, on one line a line."""

    def show(study):
        with town.open() as supplier:
            town.ask(supplier, town.proposal(study))
        lines = []
        monkeypatch.setattr(command, "show", lambda *parts: lines.extend(parts))
        for phase in study.phases:
            lines.append(f"{phase.name}{command._sample(phase)}")
            lines += [line for block in phase.blocks for line in command._describe(study, block)]
        return [*lines, command._presence(study)]

    return show


def training(study, block=None, **changes):
    phase = study.phases[0]
    blocks = (msgspec.structs.replace(phase.blocks[0], **(block or {})),)
    phase = msgspec.structs.replace(phase, blocks=blocks, **changes)
    return msgspec.structs.replace(study, phases=(phase, *study.phases[1:]))


@pytest.mark.parametrize(
    ("block", "changes", "words"),
    [
        ({}, {}, "training, each home in with chance 0.5"),
        ({}, {"largest_batch": 4999}, "training, each home in with chance 0.5, at most 4,999 homes in a round"),
        (
            {},
            {"sampling": "random_allocation", "rounds": 4},
            "training, each home in one of every 2, drawn here once for them all",
        ),
        ({"local_steps": 3, "local_rate": 0.5}, {}, "added up over 3 steps that each home takes by itself"),
    ],
)
def test_how_homes_are_drawn_and_train(town, shown, block, changes, words):
    assert any(words in line for line in shown(training(town.study(), block, **changes)))


def test_of_a_study_that_trains_nothing_the_whole_panel_calibrates(town, shown):
    study = town.study()
    words = "half of the panel: a count, its score and the score's square, by composition class"
    assert any(f"calibration {words}" in line for line in shown(study))
    measures = msgspec.structs.replace(study, phases=study.phases[1:])
    told = shown(measures)
    assert not any("half of the panel" in line for line in told)
    assert any(f"whole panel{words.removeprefix('half of the panel')}" in line for line in told)


def test_who_says_when_somebody_is_home(town, shown):
    study = town.study()
    assert "by the installed rule" in shown(study)[-1]
    occupancy = msgspec.structs.replace(
        study.occupancy, model="presence_model_v1", model_digest=temporal.load("presence_model_v1").digest
    )
    assert "by the installed model presence_model_v1" in shown(msgspec.structs.replace(study, occupancy=occupancy))[-1]


def test_of_which_areas_curves_may_be_published(town, shown):
    study = town.study()
    assert shown(study)[-1].endswith("; curves of the day may be published by MSOA and LAD")
    small = msgspec.structs.replace(study.occupancy, levels=("LSOA", "MSOA", "LAD"))
    assert shown(msgspec.structs.replace(study, occupancy=small))[-1].endswith("by LSOA and MSOA and LAD")
    without = tuple(
        msgspec.structs.replace(phase, blocks=kept)
        for phase in study.phases
        if (kept := tuple(block for block in phase.blocks if block.source != "area_profile"))
    )
    assert "published" not in shown(msgspec.structs.replace(study, phases=without))[-1]
