# SPDX-License-Identifier: Apache-2.0
"""An office's studies become releases, each checked against all that went out before it."""

import csv
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import releasing, settings
from skyglow_server.estimation.inputs import AreaTable
from skyglow_server.settings import Settings
from skyglow_shared.errors import FormatError, GeographyError
from skyglow_shared.study import COMPOSITION_CLASSES

RULE = "differencing"


@pytest.fixture(scope="module")
def town(simulator):
    """(areas, sums) of twelve LSOAs, one of which has twenty homes, and its place."""
    areas, sums = simulator.drawn(np.random.default_rng(6), lsoas=12, msoas=3, panel=500)
    small = areas.codes["MSOA"].index(max(areas.codes["MSOA"], key=areas.codes["MSOA"].count))
    values = sums["area_scores"].values.copy()
    values[small] = (20.0, 3.0)
    return areas, {**sums, "area_scores": replace(sums["area_scores"], values=values)}, small


@pytest.fixture
def office(tmp_path):
    settings.save(tmp_path, Settings(address="office.test:1", producer="Statistics", designation="experimental"))
    return tmp_path


@pytest.fixture
def conclude(simulator, office):
    """Let the office make a release of a study of such areas and sums."""

    def made(name, areas, sums, lookup=(), topic=None, classes=COMPOSITION_CLASSES[:2]):
        study = simulator.study_of(areas)
        own = study.models[0]
        models = (msgspec.structs.replace(own, name=topic or own.name, positive_classes=classes),)
        phases = [
            msgspec.structs.replace(
                phase,
                blocks=tuple(
                    msgspec.structs.replace(block, model=models[0].name) for block in phase.blocks if block.model
                ),
            )
            for phase in study.phases
        ]
        study = msgspec.structs.replace(study, name=name, delta=1e-7, models=models, phases=tuple(phases))
        place = office / "studies" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "areas.csv").write_text(simulator.areas_csv(areas))
        if lookup:
            write(place / "vintages.csv", ("earlier", "later", "households"), lookup)
        releasing.release(office, name, study, sums)
        return place

    return made


def write(path, columns, lines):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *lines])


def withheld(place, rule=RULE):
    """Areas that a release's record of checks withholds by a rule."""
    with (place / "release" / "checks.csv").open(encoding="utf-8", newline="") as file:
        return {row["area_code"] for row in csv.DictReader(file) if row["rule"] == rule and row["passed"] == "no"}


def without(town):
    """The same town but for its small area."""
    areas, sums, small = town
    keep = np.arange(12) != small
    return areas.part(keep), {
        **sums,
        "area_scores": replace(sums["area_scores"], values=sums["area_scores"].values[keep]),
    }


def test_a_release_is_a_folder_that_a_checker_opens_and_says_who_made_it(town, conclude):
    place = conclude("first", *town[:2])
    names = {path.name for path in (place / "release").iterdir()}
    assert names >= {"checks.csv", "results.json", "small-area-estimates.xlsx", "ro-crate-metadata.json", "study.json"}
    page = (place / "release" / "quality-and-methods.html").read_text()
    assert "Statistics" in page
    assert "Experimental" in page
    assert (place / "estimates.csv").read_text().count("\n") == 12 + 3 + 1 + 1
    assert withheld(place) == set()


def test_who_is_whose_neighbour_tells_of_drifts(town, conclude, office):
    areas, sums, _ = town
    plain = conclude("plain", areas, sums)
    near = office / "studies" / "near"
    near.mkdir()
    codes = [code for code, _ in areas.areas("MSOA")]
    write(near / "neighbours.csv", ("area_code", "neighbour_code"), [codes[:2], ["E02000997", "E02000998"]])
    conclude("near", areas, sums)
    first, second = ((one / "estimates.csv").read_text() for one in (plain, near))
    assert first != second
    assert first.count("\n") == second.count("\n")


def test_what_two_studies_would_give_away_together_is_withheld_from_the_second(town, conclude):
    areas, _, small = town
    conclude("first", *town[:2])
    place = conclude("second", *without(town))
    assert withheld(place) == {areas.codes["MSOA"][small], areas.codes["LAD"][small]}


def test_another_name_for_the_same_homes_hides_nothing(town, conclude):
    areas, _, small = town
    conclude("first", *town[:2])
    place = conclude("second", *without(town), topic="pensioners", classes=COMPOSITION_CLASSES[1::-1])
    assert withheld(place) == {areas.codes["MSOA"][small], areas.codes["LAD"][small]}


def test_other_homes_are_no_earlier_release(town, conclude):
    conclude("first", *town[:2])
    assert withheld(conclude("second", *without(town), topic="couples", classes=COMPOSITION_CLASSES[3:4])) == set()


def test_a_release_that_was_turned_down_counts_no_more_and_one_from_elsewhere_does(town, conclude, office):
    first = conclude("first", *town[:2])
    (office / "releases").mkdir()
    (first / "release").rename(office / "kept")
    assert withheld(conclude("second", *without(town))) == set()
    (office / "kept").rename(office / "releases" / "of another office")
    assert withheld(conclude("third", *without(town)))


def test_a_release_that_is_there_stays_as_it_is(town, conclude):
    """Were it made again, it would be held against one that was held against it."""
    first = conclude("first", *town[:2])
    before = {path.name: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    conclude("second", *without(town))
    conclude("first", *town[:2])
    assert {path.name: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def split(areas, sums, place):
    """The town in a later vintage: one LSOA in two, of nearly all homes and of the twenty last ones; and the lookup."""
    rows = np.r_[np.arange(12), place]
    codes = {level: tuple(own[row] for row in rows) for level, own in areas.codes.items()}
    names = {level: tuple(own[row] for row in rows) for level, own in areas.names.items()}
    codes["LSOA"] = (
        *(f"{code}X" if i == place else code for i, code in enumerate(areas.codes["LSOA"])),
        "E01999999",
    )
    households, counts = areas.households[rows], areas.counts[rows]
    households[-1] = 20
    households[place] -= 20
    counts[-1] = (20, 0, 0, 0, 0, 0)
    later = AreaTable(codes, names, households, counts)
    values = np.vstack([sums["area_scores"].values, (15.0, 2.0)])
    lookup = [[code, code, 600] for i, code in enumerate(areas.codes["LSOA"]) if i != place]
    old = areas.codes["LSOA"][place]
    lookup += [[old, codes["LSOA"][place], 600], [old, "E01999999", 20]]
    return later, {**sums, "area_scores": replace(sums["area_scores"], values=values)}, lookup


def test_an_area_of_another_vintage_is_looked_up_in_its_pieces(town, conclude):
    areas, sums, small = town
    big = next(i for i in range(12) if i != small)
    conclude("first", areas, sums)
    later, further, lookup = split(areas, sums, big)
    with pytest.raises(GeographyError, match=r"vintages\.csv"):
        conclude("second", later, further)
    with pytest.raises(GeographyError, match=r"vintages\.csv"):
        conclude("second", later, further, lookup[1:])
    place = conclude("second", later, further, lookup)
    assert later.codes["LSOA"][big] in withheld(place), "the old area less this one is twenty homes"


def test_a_table_or_an_earlier_release_that_cannot_be_read_stops_it_before_anything_is_written(town, conclude, office):
    (office / "releases" / "torn").mkdir(parents=True)
    with pytest.raises(FormatError, match="torn"):
        conclude("first", *town[:2])
    assert {path.name for path in (office / "studies" / "first").iterdir()} == {"areas.csv"}
    (office / "releases" / "torn").rmdir()
    for text, error in (("[", FormatError), ("[" * 100_000, FormatError), ("{}", GeographyError)):
        (office / "studies" / "first" / "boundaries.geojson").write_text(text)
        with pytest.raises(error, match=r"GeoJSON|EPSG"):
            conclude("first", *town[:2])
        left = {path.name for path in (office / "studies" / "first").iterdir()}
        assert left == {"areas.csv", "boundaries.geojson"}, "no estimates that no release stands behind"
