# SPDX-License-Identifier: Apache-2.0
"""Meters and answers that go with the kind of home are put right where chances are known, and doubted where not."""

import csv
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from skyglow_server.estimation.diagnostics import diagnose
from skyglow_server.estimation.evidence import Evidence, left_in, panel_share
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.selection import Seen, chances_of, load_selection
from skyglow_server.estimation.shares import share_estimates
from skyglow_shared.errors import FormatError
from skyglow_shared.study import COMPOSITION_CLASSES
from skyglow_simulations.population import frame, survey

METERING = (0.74, 0.78, 0.78, 0.82, 0.83, 0.73)
RESPONSE = (1.15, 1.30, 0.75, 1.10, 0.95, 0.60)
KNOWN = replace(PLANNING, metering=METERING, response=RESPONSE, metering_deviation=0.05, response_deviation=0.05)


def expected(simulator, *, apart=False):
    """Expected sums of a town whose homes have meters and answer unevenly, hardly noised: (evidence, true shares).

    A panel that is kept apart is a third of all meters, half of it calibrating.
    """
    world = simulator.World()
    areas = simulator.town(world, np.random.default_rng(1))
    older = simulator.positive
    mix = areas.counts + areas.counts.sum(axis=0) / areas.counts.sum()
    mix *= np.where(older, 1.1, 1.0)
    mix /= mix.sum(axis=1, keepdims=True)
    metered = areas.households[:, None] * mix * np.array(METERING)
    panel = metered * np.array(RESPONSE)
    panel *= (metered.sum() / 6 if apart else 1700) / panel.sum()
    added = metered - 2 * panel if apart else metered
    count, msoas = panel.sum(axis=0), areas.membership("MSOA")
    scores = np.stack([added.sum(axis=1), added @ world.means], axis=1)
    classes = np.stack([count, count * world.means, count * (world.means**2 + 0.25)], axis=1)
    labels = np.stack([msoas @ panel.sum(axis=1), msoas @ panel @ np.where(older, 1, -1)], axis=1)
    quiet = [simulator.Sum(values, np.full(values.shape[1], 0.1), 6) for values in (scores, classes, labels)]
    return Evidence(areas, older, *quiet, apart=apart), mix @ older


@pytest.fixture(scope="module")
def town(simulator):
    """A town whose panel is in all sums."""
    return expected(simulator)


def test_a_panel_that_is_kept_apart_leaves_others_behind(simulator):
    """Those who like to answer are missing among the rest; how many of each kind is known."""
    evidence, share = expected(simulator, apart=True)
    assert panel_share(evidence) == pytest.approx(1 / 3, abs=0.01)
    chances = left_in(evidence, KNOWN)
    assert chances[1] < chances[0] < chances[4] < chances[5]
    true = float(evidence.areas.weights("LAD")[0] @ share)
    right, wrong = (
        share_estimates(one, "topic", KNOWN, panel=False)[-1].unclipped - true
        for one in (evidence, replace(evidence, apart=False))
    )
    assert abs(right) < 0.006 < 0.012 < -wrong
    assert (left_in(replace(evidence, apart=False), KNOWN) == 1).all()


def district(evidence, planning):
    return share_estimates(evidence, "topic", planning)[-1]


def test_known_chances_put_the_estimate_right(town):
    evidence, share = town
    true = float(evidence.areas.weights("LAD")[0] @ share)
    assert abs(district(evidence, KNOWN).unclipped - true) < 0.006
    assert district(evidence, PLANNING).unclipped - true > 0.015
    assert district(evidence, KNOWN).deviation > 1.1 * district(evidence, PLANNING).deviation


@pytest.mark.parametrize("apart", [False, True])
def test_who_answers_more_is_no_shift_of_scores_where_that_is_known(simulator, apart):
    """Of so many homes that chance hides nothing."""
    evidence, _ = expected(simulator, apart=apart)
    blocks = {name: getattr(evidence, name) for name in ("scores", "classes", "labels")}
    many = replace(evidence, **{name: replace(one, values=1000 * one.values) for name, one in blocks.items()})
    failed = [
        {check.rule for check in diagnose(many, "topic", planning) if not check.passed}
        for planning in (PLANNING, KNOWN)
    ]
    assert "score_shift" in failed[0]
    assert "score_shift" not in failed[1]
    moved = replace(many.classes, values=many.classes.values + many.classes.values[:, :1] * [0, 0.2, 0])
    rules = {check.rule for check in diagnose(replace(many, classes=moved), "topic", KNOWN) if not check.passed}
    assert "score_shift" in rules


def test_equal_chances_change_nothing(town):
    evidence, _ = town
    alike = replace(PLANNING, metering=(0.8,) * 6, response=(2.0,) * 6)
    assert district(evidence, alike).unclipped == pytest.approx(district(evidence, PLANNING).unclipped, abs=1e-9)


def test_what_is_seen_is_what_bayes_says():
    mix, positive = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([True, True, False, False])
    chances = np.array([0.5, 1.0, 0.8, 0.6])
    seen = Seen.of(np.array([0.3]), mix, positive, chances)
    assert seen.share[0] == pytest.approx(0.25 / (0.25 + 0.48))
    moved = Seen.of(np.array([0.301]), mix, positive, chances)
    assert seen.slope[0] == pytest.approx((moved.share[0] - seen.share[0]) / 0.001, rel=1e-2)
    np.testing.assert_array_equal(chances_of((1.0, 2.0), 4), [1, 2, 1, 2])


LINES = [*map(",".join, zip(COMPOSITION_CLASSES, map(str, METERING), map(str, RESPONSE), strict=True))]


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        path = tmp_path / "selection.csv"
        path.write_text("\n".join(["class,metering,response", *lines, ""]))
        return path

    return write


def test_a_table_is_read_in_any_order(table):
    assert load_selection(table("deviation,0.05,0.05", *reversed(LINES))) == KNOWN


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*LINES, "deviation,0.05,0.05", "castle,1,1"], "none; the classes are"),
        ([*LINES[1:], "deviation,0.05,0.05"], f"lacks the classes {COMPOSITION_CLASSES[0]};"),
        (LINES, "lacks the classes deviation;"),
        ([*LINES, LINES[2], "deviation,0.05,0.05"], "twice"),
        ([*LINES[1:], f"{COMPOSITION_CLASSES[0]},0,1", "deviation,0.05,0.05"], "relative chance below"),
        ([*LINES[1:], f"{COMPOSITION_CLASSES[0]},1,1e300", "deviation,0.05,0.05"], "or above"),
        ([*LINES[1:], f"{COMPOSITION_CLASSES[0]},-1,1", "deviation,0.05,0.05"], "negative"),
        ([*LINES[1:], f"{COMPOSITION_CLASSES[0]},inf,1", "deviation,0.05,0.05"], "infinite"),
        ([*LINES[1:], f"{COMPOSITION_CLASSES[0]},often,1", "deviation,0.05,0.05"], "not a number"),
        ([*LINES, "deviation,0.05,nan"], "infinite"),
        ([*LINES, "deviation,5,0.05"], "deviation above"),
        ([*LINES, "deviation,0.05"], "too few fields"),
        ([], "lacks the classes"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table, lines, words):
    with pytest.raises(FormatError, match=words):
        load_selection(table(*lines))


def test_a_simulated_survey_organisation_tells_what_it_knows(tmp_path):
    path = tmp_path / "selection.csv"
    survey.tell(path, frame.FRAMES["uneven"])
    assert load_selection(path) == survey.known_of(frame.FRAMES["uneven"]) != PLANNING
    survey.tell(tmp_path / "even.csv", frame.FRAMES["even"])
    assert not (tmp_path / "even.csv").exists()


def told(*lines):
    return {"selection.csv": "\n".join(["class,metering,response", *lines, ""])}


def released_share(place):
    """The district's share in an office's estimates."""
    with (place / "estimates.csv").open(encoding="utf-8") as file:
        return next(float(row["estimate"]) for row in csv.DictReader(file) if row["level"] == "LAD")


def test_an_office_that_is_told_releases_figures_that_are_right_and_says_by_what(released, town):
    evidence, share = town
    sums = {"area_scores": evidence.scores, "class_scores": evidence.classes, "panel_labels": evidence.labels}
    true = float(evidence.areas.weights("LAD")[0] @ share)
    place = released("told", evidence.areas, sums, told(*LINES, "deviation,0.05,0.05"))
    plain = released("untold", evidence.areas, sums)
    assert abs(released_share(place) - true) < 0.006 < 0.015 < released_share(plain) - true
    digest = hashlib.sha256((place / "selection.csv").read_bytes()).hexdigest()
    crate = json.loads((place / "release" / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    inputs = {one["name"]: one["sha256"] for one in crate if one["@id"].startswith("#input-")}
    assert inputs.keys() == {"areas.csv", "selection.csv"}
    assert inputs["selection.csv"] == digest
    assert {"@id": "#input-selection.csv"} in next(one for one in crate if one["@id"] == "#run")["object"]
    pages = [(one / "release" / "quality-and-methods.html").read_text("utf-8") for one in (place, plain)]
    assert digest in pages[0]
    assert ["go with composition" in page for page in pages] == [True, False]


def test_a_table_that_cannot_be_stops_a_release(released, town, tmp_path):
    with pytest.raises(FormatError, match=r"selection\.csv lacks the classes"):
        released("spoilt", town[0].areas, {}, told(*LINES))
    assert not (tmp_path / "studies" / "spoilt" / "release").exists()
