# SPDX-License-Identifier: Apache-2.0
"""Two releases become a table of change: withheld where either was, and refused where they cannot be compared."""

import csv
import datetime
from dataclasses import replace
from importlib.metadata import entry_points

import msgspec
import pytest

from skyglow_server.estimation.results import QUANTILE, Estimate, estimate_of
from skyglow_server.publication import change, publish
from skyglow_server.publication.earlier import read_release
from skyglow_shared import command
from skyglow_shared.errors import FormatError, GeographyError, StudyError

TOPIC = "all_aged_66_plus"
WHEN = datetime.date(2027, 3, 21)


@pytest.fixture
def later(release):
    """A year after: everything is up by four points, and the second LSOA is withheld."""

    def moved(item):
        if item.deviation is None:
            return item
        if item.area_code == "E01010001":
            blank = replace(item, estimate=None, lower=None, upper=None, unclipped=None, deviation=None, parts={})
            return replace(blank, status="suppressed", reason="dominance")
        return estimate_of(item, item.unclipped + 0.04, item.deviation**2, item.parts)

    study = msgspec.structs.replace(release.study, reference_date=WHEN)
    return replace(release, study=study, estimates=tuple(map(moved, release.estimates)))


@pytest.fixture
def folders(published, later, tmp_path):
    publish(tmp_path / "run" / "release", later)
    return published, tmp_path / "run"  # a run's folder does as well


def read(folders, **options):
    return {item.names: item for item in change.changes(*map(read_release, folders), **options)}


def of_topic(found, code, topic=TOPIC, group="all"):
    return next(item for names, item in found.items() if (names[0], names[3], names[4]) == (code, topic, group))


def test_a_change_has_both_errors_and_what_they_share(folders):
    found = of_topic(read(folders), "E06000001")
    first = second = 0.005 + 0.0005  # figures are rounded to a thousandth
    kept = 0.5 * 0.25  # a quarter of the variance is the area model's
    variance = first**2 + second**2 - 2 * kept * first * second + 0.001**2 / 6
    assert found.deviation == pytest.approx(variance**0.5)
    assert found.interval == pytest.approx((0.04 - QUANTILE * found.deviation, 0.04 + QUANTILE * found.deviation))
    assert found.evidence == "higher"
    assert of_topic(read(folders, persistence=0.0), "E06000001").deviation > found.deviation
    assert of_topic(read(folders), "E01010000").evidence == "no clear change"


def test_what_either_withheld_stays_withheld(folders):
    found = read(folders)
    withheld = {names[0]: (item.shorthand, item.reason) for names, item in found.items() if item.interval is None}
    assert withheld == {
        "E01010001": ("[c]", "dominance"),
        "E01010002": ("[c]", "least_homes"),
        "E02000001": ("[x]", ""),
    }
    hidden = of_topic(found, "E01010001")
    assert (hidden.earlier, hidden.later, hidden.deviation, hidden.evidence) == (None, None, None, "")


def test_every_group_of_a_day_has_a_line(folders):
    found = read(folders)
    assert len([names for names in found if names[3] == "occupancy"]) == 3 * 96
    assert of_topic(found, "E02000000", "occupancy", "weekday 11:00").interval is not None


def test_the_command_writes_a_table_a_topic(folders, tmp_path, capsys):
    parser = command.build_parser(entry_points(group=command.GROUP))
    words = ["office", "change", *map(str, folders), "--out", str(tmp_path / "tables")]
    options = parser.parse_args(words)
    assert options.func(options) == 0
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "change-all-aged-66-plus.csv",
        "change-occupancy.csv",
    ]
    with (tmp_path / "tables" / "change-all-aged-66-plus.csv").open(newline="") as file:
        rows = {row["area_code"]: row for row in csv.DictReader(file)}
    town = rows["E06000001"]
    assert (town["earlier"], town["later"], town["change"]) == ("0.200", "0.240", "0.040")
    assert (town["evidence"], town["status"]) == ("higher", "published")
    assert rows["E01010002"]["change"] == ""
    assert "change-occupancy.csv" in capsys.readouterr().out
    with pytest.raises(FormatError, match="persistence"):
        options = parser.parse_args([*words, "--persistence", "1.5"])
        options.func(options)


def test_releases_in_the_wrong_order_are_refused(folders):
    with pytest.raises(StudyError, match="order of time"):
        read(reversed(folders))


def spoilt(folders, **study):
    earlier, later = map(read_release, folders)
    return earlier, replace(later, study=msgspec.structs.replace(later.study, **study))


def test_other_areas_or_another_vintage_are_refused(folders):
    for wrong in ({"areas": read_release(folders[0]).study.areas[:2]}, {"vintage": "2011"}):
        with pytest.raises(GeographyError, match="vintage"):
            change.changes(*spoilt(folders, **wrong))


def test_a_topic_that_counts_other_homes_is_refused(folders):
    models = read_release(folders[0]).study.models
    other = (msgspec.structs.replace(models[0], positive_classes=("one_person_66_plus",)),)
    with pytest.raises(StudyError, match="other homes"):
        change.changes(*spoilt(folders, models=other))


def test_presence_told_by_other_means_is_refused(folders):
    occupancy = read_release(folders[0]).study.occupancy
    with pytest.raises(StudyError, match="other means"):
        change.changes(*spoilt(folders, occupancy=msgspec.structs.replace(occupancy, basis_digest="0" * 64)))


def test_no_topic_in_common_is_refused(folders):
    earlier, later = map(read_release, folders)
    with pytest.raises(StudyError, match="no topic"):
        change.changes(earlier, replace(later, rows={}))


@pytest.mark.parametrize("name", ["study.json", "estimates-occupancy.csv", "uncertainty-by-source.csv"])
def test_a_spoilt_folder_is_refused(folders, name):
    (folders[0] / name).write_bytes(b"area_code\n\xff")
    with pytest.raises((FormatError, StudyError), match=r"release|study|table"):
        read_release(folders[0])


def test_electricity_use_is_compared_in_its_own_units(release, tmp_path):
    """Each figure may be too low by what homes held to the bound use beyond it."""
    study = msgspec.structs.replace(release.study, reference_date=WHEN)
    places = []
    for name, value, beyond, when in (("one", 8.0, 0.5, release.study), ("other", 9.0, 0.75, study)):
        ends = {"lower": value - QUANTILE * 0.1, "upper": value + QUANTILE * 0.1 + beyond}
        district = Estimate("E06000001", "Town", "LAD", "electricity_use", "all day", value, **ends)
        district = replace(district, unclipped=value, deviation=0.1, parts={"privacy noise of use": 0.01})
        others = {(area.lsoa, "LSOA") for area in when.areas} | {(area.msoa, "MSOA") for area in when.areas}
        withheld = (
            Estimate(code, "Town", level, "electricity_use", "all day", status="suppressed", reason="dominance")
            for code, level in sorted(others)
        )
        places.append(tmp_path / name)
        publish(places[-1], replace(release, study=when, use=(district, *withheld)))
    found = read(places)
    district = of_topic(found, "E06000001", "electricity_use", "all day")
    assert (district.earlier, district.later) == (8.0, 9.0)
    reach = QUANTILE * district.deviation
    assert district.deviation == pytest.approx(0.1 * 2**0.5, rel=0.01)
    assert district.interval == pytest.approx((1 - reach - 0.5, 1 + reach + 0.75), abs=2e-3)
    assert of_topic(found, "E02000000", "electricity_use", "all day").interval is None
    assert "change-electricity-use.csv" in {path.name for path in change.write(tmp_path, found.values())}
    alone = change.changes(read_release(places[0]), replace(read_release(places[1]), use={}))
    assert "electricity_use" not in {item.names[3] for item in alone}
