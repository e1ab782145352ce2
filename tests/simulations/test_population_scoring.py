# SPDX-License-Identifier: Apache-2.0
"""What the real cleaning finds of known faults: all of some kinds, none of others, and little that is sound."""

import datetime

import numpy as np
import pytest

from skyglow_simulations.population import dirty, scoring

START = datetime.date(2026, 3, 16)


@pytest.fixture(scope="module", params=["wide", "long", "cer"])
def scores(request: pytest.FixtureRequest) -> dict[str, scoring.Score]:
    amounts = dirty.Amounts(0.05, 0.01, 0.01, 0.01, 0.05, 0.05, 0.01, 0.1, 0.2, 0.02, 0.02)
    rows = scoring.measure(request.param, start=START, days=21, amounts=amounts, areas=1, seed=2)
    return {row.kind: row for row in rows}


def test_what_cleaning_finds_and_what_it_cannot(scores: dict[str, scoring.Score]):
    for kind in ("gap", "negative", "equal_duplicate", "conflicting_duplicate"):
        assert scores[kind].recall > 0.93, kind
    assert scores["stuck"].recall > 0.75  # another fault within a run of two days parts it in two short ones
    assert scores["other_unit"].recall > 0.8
    assert 0.6 < scores["spike"].recall < 0.95  # a fifth of the spikes are 9 kWh, which a home can use
    assert scores["swapped"].recall < 0.25
    if "moved_stamp" in scores:
        assert scores["moved_stamp"].recall > 0.99
    else:
        assert scores["shifted"].recall < 0.25
    assert all(row.readings > 0 for row in scores.values())


def test_rules_mark_little_that_is_sound(scores: dict[str, scoring.Score]):
    for kind in ("stuck", "spike", "negative", "other_unit"):
        assert scores[kind].precision > 0.95, kind
    assert np.isnan(scores["swapped"].precision)


def test_the_command_prints_a_row_a_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    row = scoring.Score("stuck", 1234, 0.5, float("nan"))
    monkeypatch.setattr(scoring, "measure", lambda *arguments, **options: [row])
    assert scoring.main(["--format", "lcl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["lcl", "readings", "recall", "precision"]
    assert lines[1].split() == ["stuck", "1,234", "0.500", "–"]
