# SPDX-License-Identifier: Apache-2.0
"""A report on several topics shows each of them wherever it shows one."""

import dataclasses

import msgspec
import pytest

from skyglow_simulations.report import render
from skyglow_simulations.report.summary import topic_figures

SECOND = "one_person"


@pytest.fixture
def two(town):
    """The town's report data with a second topic, twice the first one's share."""
    plain = town.data()
    first = [item for item in plain.estimates if item.topic == town.topic]
    added = [
        dataclasses.replace(
            item, topic=SECOND, **{end: 2 * (getattr(item, end) or 0) for end in ("estimate", "lower", "upper")}
        )
        for item in first
    ]
    shown = (*plain.estimates, *added)
    truth = {**plain.truth, **{(item.area_code, SECOND, "all"): item.estimate for item in added}}
    summary = {**plain.summary, "topics": topic_figures(shown, truth)}
    summary["methods"] = dict.fromkeys(plain.summary["methods"], summary["topics"])
    model = plain.study.models[0]
    models = (model, msgspec.structs.replace(model, name=SECOND))
    phase = plain.study.phases[0]
    blocks = (msgspec.structs.replace(phase.blocks[0], beside=(SECOND,)),)
    study = town.study(models=models, phases=(msgspec.structs.replace(phase, blocks=blocks),))
    return town.data(study=study, estimates=shown, truth=truth, summary=summary)


def test_every_topic_has_its_answer_switch_tables_truth_and_methods(town, two):
    html = render(two)
    page = town.Page(html)
    assert "everyone is aged 66 or over; in <strong>10.0%</strong>, one person lives alone." in html
    assert "Homes of one person: 2.0% to 18.0%; truth 10.0%" in html
    switch = [a["value"] for a in page.all("input") if a.get("name") == "topic"]
    assert switch == [town.topic, SECOND, "occupancy"]
    assert [("checked" in a) for a in page.all("input") if a.get("name") == "topic"] == [True, False, False]
    assert page.payload()["topics"].keys() == {town.topic, SECOND, "occupancy"}
    assert page.payload()["topics"][SECOND]["areas"][town.code_of("MSOA", 2)] == [0.34, 0.26, 0.42]
    for what in ("MSOAs", "LSOAs"):
        assert f"All {what} as a table: homes of one person" in html
        assert f"All {what} as a table: homes where everyone is aged 66 or over" in html
    assert html.count("How near the truth</h2>") == 1
    assert html.count("<h3>Homes of one person</h3>") == 2, "once beside the truth, once beside other methods"
    assert "for all 2 topics, under one bound" in html


def test_sources_of_error_stand_in_rows_where_columns_would_be_too_many(town, two):
    one, several = render(town.data()), render(two)
    assert 'class="bars">\n<caption>What the uncertainty is made of' in one
    assert 'class="bars">\n<caption>What the uncertainty is made of' not in several
    table = several.split("What the uncertainty is made of")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + 3 + 3 + 2
    assert table.count('<th scope="rowgroup"') == 3


def test_a_topic_that_is_withheld_everywhere_leaves_the_others(town, two):
    gone = [
        dataclasses.replace(item, estimate=None, lower=None, upper=None, status="suppressed", reason="least_homes")
        if item.topic == town.topic
        else item
        for item in two.estimates
    ]
    html = render(dataclasses.replace(two, estimates=gone))
    assert "In an estimated <strong>10.0%</strong> of homes in Town 000, one person lives alone." in html
    assert "Homes where everyone is aged 66 or over: withheld here: 5 of 5 MSOAs and 20 of 20 LSOAs" in html


def test_what_is_withheld_of_every_topic_alike_is_said_once(town, two):
    code = town.code_of("MSOA", 1)
    gone = [
        dataclasses.replace(item, estimate=None, lower=None, upper=None, status="suppressed", reason="least_homes")
        if item.area_code == code
        else item
        for item in two.estimates
    ]
    html = render(dataclasses.replace(two, estimates=gone))
    assert html.count("1 of 5 MSOAs") == 1
