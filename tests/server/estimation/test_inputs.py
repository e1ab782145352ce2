# SPDX-License-Identifier: Apache-2.0
"""The table of areas and the way in: good input, and every kind of bad input by its typed error."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.inputs import COLUMNS, find, load_areas
from skyglow_shared.errors import FormatError, GeographyError, RunError


@pytest.fixture(scope="module")
def small(simulator):
    """A town of eight LSOAs in three MSOAs with its study and all sums."""
    return simulator.small(0, lsoas=8, msoas=3, panel=400)


@pytest.fixture
def lines(small):
    """The table of areas as a list of lists of text; the first is the header."""
    _, areas, _ = small
    rows = [list(COLUMNS)]
    for i, household in enumerate(areas.households):
        nesting = [text for level in areas.codes for text in (areas.codes[level][i], areas.names[level][i])]
        rows.append([*nesting, str(int(household)), *(str(int(count)) for count in areas.counts[i])])
    return rows


def write(path, lines):
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_a_table_survives_the_way_to_disk_in_any_order(small, lines, tmp_path):
    study, areas, _ = small
    found = load_areas(write(tmp_path / "areas.csv", [lines[0], *reversed(lines[1:])]), study)
    assert found.codes == areas.codes
    assert found.names == areas.names
    np.testing.assert_array_equal(found.counts, areas.counts)
    np.testing.assert_array_equal(found.households, areas.households)


def spoil(lines, line, column, text):
    lines[line][COLUMNS.index(column)] = text


@pytest.mark.parametrize(
    ("line", "column", "text", "error", "words"),
    [
        (0, "households", "homes", FormatError, "lacks the columns households"),
        (1, "households", "many", FormatError, "not a number"),
        (1, "households", "nan", FormatError, "infinite"),
        (1, "households", "-5", FormatError, "negative"),
        (1, "households", "0", FormatError, "without households"),
        (1, "other", "", FormatError, "too few fields"),
        (1, "lsoa21cd", "E01000001", GeographyError, "twice"),
        (1, "lsoa21cd", "E01999999", GeographyError, "lacks 1"),
        (1, "msoa21cd", "E02999999", GeographyError, "nests otherwise"),
        (2, "lad22nm", "Elsewhere", GeographyError, "two names"),
    ],
)
def test_a_spoilt_table_is_refused(small, lines, tmp_path, line, column, text, error, words):
    spoil(lines, line, column, text)
    with pytest.raises(error, match=words):
        load_areas(write(tmp_path / "areas.csv", lines), small[0])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "Town\x07", "Town\u202e1", "—", "a\tb"])
def test_a_name_that_a_spreadsheet_would_not_show_as_it_is_is_refused(small, lines, tmp_path, text):
    spoil(lines, 1, "lsoa21nm", text)
    with pytest.raises(FormatError, match="name that a spreadsheet") as told:
        load_areas(write(tmp_path / "areas.csv", lines), small[0])
    assert text not in str(told.value)


@pytest.mark.parametrize("text", ["Llŷn 001A", "St Mary's 002", "Bourne & Wall <b>", 'The "Point" 4', "{{ 7 }}", "003"])
def test_any_other_name_survives(small, lines, tmp_path, text):
    quoted = text.replace('"', '""')
    spoil(lines, 1, "lsoa21nm", f'"{quoted}"')
    assert load_areas(write(tmp_path / "areas.csv", lines), small[0]).names["LSOA"][0] == text


def test_a_short_line_a_lost_area_a_binary_and_a_missing_file_are_refused(small, lines, tmp_path):
    path = tmp_path / "areas.csv"
    with pytest.raises(GeographyError, match="lacks 1"):
        load_areas(write(path, lines[:-1]), small[0])
    with pytest.raises(FormatError, match="too few"):
        load_areas(write(path, [*lines[:-1], lines[-1][:4]]), small[0])
    with pytest.raises(FormatError, match="empty"):
        load_areas(write(path, lines[:1]), small[0])
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FormatError, match="cannot be read"):
        load_areas(path, small[0])
    with pytest.raises(FormatError, match="cannot be read"):
        load_areas(tmp_path / "none.csv", small[0])


def test_everything_is_estimated_for_every_area(small):
    study, areas, sums = small
    estimates = estimation.estimate(study, areas, sums)
    shares = [item for item in estimates if item.group == "all"]
    assert [item.level for item in shares] == ["LSOA"] * 8 + ["MSOA"] * 3 + ["LAD"]
    assert {item.topic for item in shares} == {"all_aged_66_plus"}
    assert len([item for item in estimates if item.topic == "occupancy"]) == 96 * (3 + 1)
    assert {item.status for item in estimates} == {"published"}
    assert all(0 <= item.lower <= item.estimate <= item.upper <= 1 for item in estimates)


def test_comparators_have_the_same_areas_and_census_has_no_interval(small):
    found = estimation.compare(*small)
    assert set(found) == {"census_alone", "panel_alone", "meters_alone"}
    assert len({tuple((item.level, item.area_code) for item in items) for items in found.values()}) == 1
    assert all(item.lower is None and item.estimate is not None for item in found["census_alone"])


def test_an_area_of_few_metered_homes_is_suppressed_and_the_check_recorded(small):
    study, areas, sums = small
    holed = simulated_hole(sums, 2)
    estimates = estimation.estimate(study, areas, holed)
    assert (estimates[2].status, estimates[2].reason) == ("suppressed", "least_homes")
    assert (estimates[2].estimate, estimates[2].lower, estimates[2].unclipped, estimates[2].parts) == (None,) * 3 + (
        {},
    )
    sibling = [item for item in estimates if item.reason == "complementary"]
    assert [item.status for item in estimates].count("suppressed") == 2
    parents = dict(zip(areas.codes["LSOA"], areas.codes["MSOA"], strict=True))
    assert [parents[item.area_code] for item in sibling] == [areas.codes["MSOA"][2]], "else it could be worked out"
    failed = [check for check in estimation.checks(study, areas, holed) if not check.passed]
    assert [(check.rule, check.area_code) for check in failed] == [
        ("least_homes", areas.codes["LSOA"][2]),
        ("complementary", sibling[0].area_code),
    ]


def simulated_hole(sums, area):
    scores = sums["area_scores"]
    values = scores.values.copy()
    values[area] = (12.0, 3.0)
    return {**sums, "area_scores": replace(scores, values=values)}


def test_too_few_suppliers_suppress_only_what_is_made_of_their_sums(small):
    study, areas, sums = small
    lonely = {**sums, "diaries": replace(sums["diaries"], shares=2)}
    by_topic = {}
    for item in estimation.estimate(study, areas, lonely):
        by_topic.setdefault(item.topic, set()).add((item.status, item.reason))
    assert by_topic == {
        "all_aged_66_plus": {("published", "")},
        "occupancy": {("suppressed", "least_suppliers")},
    }


def test_missing_misshapen_and_infinite_sums_are_refused(small):
    study, areas, sums = small
    with pytest.raises(RunError, match="class_scores"):
        estimation.estimate(study, areas, {name: block for name, block in sums.items() if name != "class_scores"})
    short = {**sums, "panel_labels": replace(sums["panel_labels"], values=np.zeros((2, 2)))}
    with pytest.raises(RunError, match="wrong shape"):
        estimation.estimate(study, areas, short)
    infinite = {**sums, "area_scores": replace(sums["area_scores"], values=np.full((8, 2), np.inf))}
    with pytest.raises(RunError, match="not finite"):
        estimation.estimate(study, areas, infinite)
    with pytest.raises(RunError, match="no block"):
        find(study, sums, "gradient", "all_aged_66_plus")


@pytest.mark.parametrize("amount", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("name", ["class_scores", "panel_labels", "area_scores", "diaries", "profiles"])
def test_noise_that_cannot_be_is_refused(small, name, amount):
    study, areas, sums = small
    deviation = sums[name].deviation.copy()
    deviation[-1] = amount
    spoilt = {**sums, name: replace(sums[name], deviation=deviation)}
    with pytest.raises(RunError, match=f"noise in the sum of block {name}"):
        estimation.estimate(study, areas, spoilt)
    with pytest.raises(RunError, match=f"noise in the sum of block {name}"):
        estimation.checks(study, areas, spoilt)


def test_a_table_of_another_study_is_refused(small, simulator):
    _, areas, sums = small
    other = simulator.study_of(simulator.town(replace(simulator.World(), lsoas=9, msoas=3), np.random.default_rng(1)))
    with pytest.raises(GeographyError):
        estimation.estimate(other, areas, sums)
