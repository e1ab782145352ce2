# SPDX-License-Identifier: Apache-2.0
"""Curves of small areas in the report: who wants to know of one neighbourhood at one hour finds it."""

import re

import pytest

from skyglow_simulations.report import render

ALL = ("LSOA", "MSOA", "LAD")


@pytest.fixture(scope="module")
def asked(town):
    shown = town.estimates(curves=ALL)
    truth = {(item.area_code, item.topic, item.group): (item.estimate or 0) + 0.01 for item in shown}
    return render(town.data(estimates=shown, truth=truth))


def levels_of(page):
    return [item["value"] for item in page.all("input") if item.get("name") == "level"]


def test_every_small_area_can_be_chosen_by_level(asked, town):
    page = town.Page(asked)
    assert levels_of(page) == ["LAD", "MSOA", "LSOA"]
    day = page.payload()["topics"]["occupancy"]
    assert {level: len(codes) for level, codes in day["levels"].items()} == {"LAD": 1, "MSOA": 5, "LSOA": 20}
    assert day["within"][town.code_of("LSOA", 7)] == town.code_of("MSOA", 2)
    assert page.payload()["names"][town.code_of("LSOA", 7)] == "Town 007"
    assert day["homes"][town.code_of("LSOA", 7)] == 607
    assert day["areas"][town.code_of("LSOA", 7)]["weekday"][24] == [0.55, 0.51, 0.59]
    assert len(day["truth"]) == 26


def test_a_table_says_it_without_a_script_and_how_far_to_trust_it(asked, town):
    table = asked[asked.index("by LSOA, with 95% interval</caption>", asked.index("at 11:00 on a weekday, by LSOA")) :]
    table = table[: table.index("</table>")]
    assert len(re.findall(r"<td>E010[0-9]{5}</td>", table)) == 20
    assert "no supplier adds up the presence of so few homes" in asked
    assert len(asked.encode()) < 1_000_000


def test_a_study_without_them_offers_none(html, town):
    assert levels_of(town.Page(html)) == ["LAD", "MSOA"]
    assert "no supplier adds up" not in html and "by LSOA, with 95% interval</caption>" not in html.split("h-when")[2]
    assert not [code for code in town.Page(html).payload()["names"] if code.startswith("E010")]


@pytest.mark.parametrize("curves", [("LSOA",), ("LAD",), ("LSOA", "LAD")])
def test_any_levels_alone_have_their_curves_and_no_map(town, curves):
    page = town.Page(render(town.data(estimates=town.estimates(curves=curves))))
    assert levels_of(page) == ([] if len(curves) == 1 else ["LAD", "LSOA"])
    assert set(page.payload()["topics"]["occupancy"]["levels"]) == set(curves)
    assert not [item for item in page.all("input") if item.get("value") == "occupancy"], "the map is of MSOAs"
    assert len([item for item in page.all("svg") if item.get("class") == "chart day"]) == 2
