# SPDX-License-Identifier: Apache-2.0
"""The report tells electricity use where a study asks for it, and says nothing of it elsewhere."""

import re

from skyglow_server.estimation import Estimate
from skyglow_simulations.report import render
from skyglow_simulations.report import use as section


def figures():
    def one(level, code, name, group, value):
        return Estimate(code, name, level, "electricity_use", group, value, 0.9 * value, 1.2 * value)

    district = [
        one("LAD", "E06000001", "Town", group, value)
        for group, value in (("vacant homes", 0.04), ("18:00 to 24:00", 3.5), ("median", 7.0), ("all day", 8.25))
    ]
    hidden = Estimate(
        "E02000001", "Dale", "MSOA", "electricity_use", "all day", status="suppressed", reason="dominance"
    )
    return (*district, hidden, one("MSOA", "E02000002", "Brow", "all day", 9.5))


def test_the_day_comes_first_and_withheld_places_have_no_number(town):
    found = section.section(town.data(use=figures()))
    assert [line.name for line in found.parts] == ["All day, mean", "All day, median", "18:00 to 24:00", "Vacant homes"]
    assert found.parts[0].numbers == ("8.25", "7.42", "9.90")
    assert found.parts[-1].numbers == ("4.0%", "3.6%", "4.8%")
    assert [(line.name, line.numbers[:1]) for line in found.msoas] == [("Brow", ("9.50",)), ("Dale", ("[c]",))]


def test_the_page_has_the_section_only_where_there_is_something_to_tell(town):
    plain, told = render(town.data()), render(town.data(use=figures()))
    assert "h-use" not in plain
    part = re.search(r'<section aria-labelledby="h-use">.*?</section>', told, re.DOTALL).group()
    assert '<a href="#h-use">' in told
    assert part.count("[c]</td>") == 3
    assert "kWh a home and day" in part
