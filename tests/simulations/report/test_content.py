# SPDX-License-Identifier: Apache-2.0
"""The report says what it was given."""

import dataclasses
import json
from itertools import pairwise

import msgspec

from skyglow_simulations.report import maps, render
from skyglow_simulations.report.scales import axis, classes


def test_numbers_reach_the_page(html, town):
    assert "<strong>5.0%</strong> of homes in Town 000, everyone is aged 66 or over" in html
    assert "<strong>1.0% to 9.0%</strong>" in html
    assert "at 12:00: 55.0% (95% interval 51.0% to 59.0%)" in html, "the emptiest half-hour"
    for method in town.methods.values():
        assert method in html
    assert "0.710" in html and "0.740" in html and "0.500" in html
    assert "50%</td>" in html, "half of the variance is the panel's"
    assert "ab" * 32 in html, "the ledger's head"


def test_the_nearest_method_is_named_even_when_it_is_not_ours(html, town):
    assert "Ours came nearest: 1.0 points off" in html
    plain = town.data()
    summary = json.loads(json.dumps(plain.summary))
    summary["methods"]["panel_alone"][town.topic]["LAD"]["rmse"] = 0.001
    assert "Ours did not come nearest: panel alone, same model was 0.1 points off, ours 1.0" in render(
        town.data(summary=summary)
    )
    summary["methods"]["panel_alone"][town.topic]["LAD"]["rmse"] = summary["topics"][town.topic]["LAD"]["rmse"] + 1e-6
    assert "Level: skyglow: meters and panel and panel alone, same model" in render(town.data(summary=summary))


def test_intervals_that_miss_are_said_to_miss(html, town):
    assert "20 of 20 intervals" in html and "too narrow" not in html
    shown = town.estimates(spread=0.001)
    assert "0 of 20 intervals" in render(town.data(estimates=shown)) and "too narrow" in render(
        town.data(estimates=shown)
    )


def test_suppressed_areas_are_withheld_everywhere(town):
    suppressed = town.suppressed(town.code_of("MSOA", 2))
    html = render(suppressed)
    page = town.Page(html)
    areas = {a["data-code"]: a["fill"] for a in page.all("path") if "data-code" in a}
    assert areas[town.code_of("MSOA", 2)] == "url(#hatch)" and areas[town.code_of("MSOA", 1)] != "url(#hatch)"
    hidden = page.payload()["topics"][town.topic]["areas"][town.code_of("MSOA", 2)]
    assert hidden is None
    day = page.payload()["topics"]["occupancy"]["areas"][town.code_of("MSOA", 2)]
    assert day == {"weekday": [None] * 48, "weekend": [None] * 48}
    assert "Town 002: withheld, too few metered homes" in html and "1 of 5 MSOAs" in html
    assert page.texts["td"].count("[c]") == 3
    untold = [dataclasses.replace(e, reason="score_shift") if e.reason else e for e in suppressed.estimates]
    assert town.Page(render(town.data(estimates=untold))).texts["td"].count("[x]") == 3


def test_a_district_that_is_withheld_makes_no_claim(town):
    html = render(town.suppressed(town.district))
    assert "of homes in Town 000" not in html and "The district’s estimate is withheld" in html
    assert not [a for a in town.Page(html).all("path") if a.get("class") == "mark" and a.get("data-mark") and a["d"]]


def test_without_truth_nothing_is_compared_with_it(town):
    plain = town.data()
    summary = {name: plain.summary[name] for name in ("study", "digest", "suppliers", "rounds", "seconds")}
    html = render(town.data(truth=None, summary=summary))
    for words in ("How near the truth", "came nearest", "imulated truth", "Simulated homes"):
        assert words not in html
    assert town.Page(html).payload()["topics"]["occupancy"]["truth"] == {}


def test_without_boundaries_the_table_stands_in(town):
    page = town.Page(render(town.data(boundaries=None)))
    assert not [a for a in page.all("svg") if a["class"] == "map"]
    assert "No boundaries" in " ".join(page.texts["p"])


def test_areas_clearly_apart_from_the_district_are_marked(html, town):
    marks = {a["data-mark"]: a["d"] for a in town.Page(html).all("path") if a.get("data-mark")}
    # the district is 5 %, intervals are ± 4 points, estimates are 5, 11, 17 … %
    assert marks[town.code_of("MSOA", 0)] == "" and all(
        marks[town.code_of("MSOA", n)].startswith("M0,-6") for n in range(1, 5)
    )


def test_noise_is_told_in_homes(html):
    # one supplier's deviation 2.4 on a home's contribution of at most 1.5, where a home counts one half
    assert "1.6 times the most that one home can change; on a number of homes, 4.8" in html


def test_noise_under_one_bound_is_told_of_all_sums_together_too(html, town):
    """Beside 1.6 times what a home can change in one block, three quarters as much of all that it can change."""
    study = town.data().study
    phases = tuple(
        msgspec.structs.replace(phase, noise_multiplier=0.75 * min(block.noise_multiplier for block in phase.blocks))
        for phase in study.phases
    )
    held = render(town.data(study=msgspec.structs.replace(study, phases=phases)))
    assert "1.6 times the most that one home can change, 1.2 times what it can change in all sums of this phase" in held
    assert "in all sums of this phase" not in html


def test_classes_are_round_and_hold_every_value():
    found = classes([0.047, 0.291])
    assert found.edges == (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert len(set(found.colours)) == 6
    assert [found.colour(value) for value in (0.047, 0.05, 0.291)] == [found.colours[n] for n in (0, 1, 5)]
    assert [words for _, words in classes([0.5]).labels()] == ["50.0% to 50.1%"]
    assert axis([0.302], zero=True) == (0.0, 0.35, 0.05)
    assert axis([0.17], zero=True) == (0.0, 0.2, 0.05)  # two and a half points would read as two


def test_a_study_of_shares_alone_has_no_curves(town):
    plain = town.data()
    html = render(town.data(estimates=[item for item in plain.estimates if item.topic == town.topic]))
    assert "When homes are occupied" not in html
    assert set(town.Page(html).payload()["topics"]) == {town.topic}


def test_a_study_that_withholds_everything_still_has_a_report(town):
    hidden = [
        dataclasses.replace(e, estimate=None, lower=None, upper=None, status="suppressed")
        for e in town.data().estimates
    ]
    html = render(town.data(estimates=hidden, boundaries={"type": "FeatureCollection", "features": []}))
    assert "5 of 5 MSOAs" in html and "made so that it contains" in html


def test_the_map_can_be_of_districts_drawn_without_the_lines_within(town, html):
    page = town.Page(html)
    assert [one["value"] for one in page.all("input") if one.get("name") == "areas"] == ["MSOA", "LAD"]
    *msoas, district = [one for one in page.all("path") if one.get("class") == "area"]
    assert (district["data-code"], district["role"], district["tabindex"]) == (town.district, "img", "0")
    assert district["aria-label"] == "Town 000: 5.0%, 95% interval 1.0% to 9.0%"
    assert district["d"].count("M") == 5, "of the town's areas no two touch"
    assert len(msoas) == 5


def test_colours_of_shares_mean_the_same_at_every_level_and_widths_have_scales_of_their_own(town):
    narrow = [
        dataclasses.replace(item, lower=item.estimate - 0.004, upper=item.estimate + 0.004)
        if item.level == "LAD"
        else item
        for item in town.estimates()
    ]
    scales = town.Page(render(town.data(estimates=narrow))).payload()["topics"][town.topic]["scales"]
    assert scales["LAD"]["estimate"] == scales["MSOA"]["estimate"]
    assert scales["LAD"]["width"]["edges"][-1] < scales["MSOA"]["width"]["edges"][0]


def test_without_an_estimate_of_the_district_there_is_no_level_to_choose(town):
    shown = [item for item in town.estimates() if item.level != "LAD"]
    page = town.Page(render(town.data(estimates=shown)))
    assert not [one for one in page.all("input") if one.get("name") == "areas"]


def test_the_outline_of_areas_keeps_holes_and_parts():
    def square(east, north, side=1.0):
        return [(east, north), (east, north + side), (east + side, north + side), (east + side, north), (east, north)]

    def edges(rings):
        return {edge for ring in rings for edge in pairwise(ring)}

    beside = [(1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0), (1.0, 0.0)]
    both = maps._outline([square(0.0, 0.0), beside])
    assert edges(both) == edges([square(0.0, 0.0), beside]) - {((1.0, 1.0), (1.0, 0.0)), ((1.0, 0.0), (1.0, 1.0))}
    assert len(both) == 1 and both[0][0] == both[0][-1]
    apart = [square(0.0, 0.0), square(5.0, 5.0)]
    assert edges(maps._outline(apart)) == edges(apart)
    hole = square(1.0, 1.0)[::-1]
    assert edges(maps._outline([square(0.0, 0.0, 3.0), hole])) == edges([square(0.0, 0.0, 3.0), hole])
    assert edges(maps._outline([square(0.0, 0.0, 3.0), hole, square(1.0, 1.0)])) == edges([square(0.0, 0.0, 3.0)])
