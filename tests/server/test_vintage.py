# SPDX-License-Identifier: Apache-2.0
"""Areas of one vintage: a code that 2021's geography does not have is refused before anything is drafted."""

import csv
import gzip
from importlib import resources
from pathlib import Path

import pytest

from skyglow_server import keys, serve, vintage
from skyglow_shared.errors import GeographyError
from skyglow_shared.signing import Identity
from skyglow_shared.study import Area
from skyglow_simulations.population import census

SIMULATIONS = Path(str(resources.files("skyglow_simulations")))
LOOKUP = Path(__file__).parents[2].parent / "shared" / "data" / "geography" / "lsoa21-msoa21-lad22.csv.gz"
TOWN = census.load("E06000045")


def test_the_list_holds_every_area_of_england_and_wales():
    assert vintage.counts() == {"E01": 33_755, "W01": 1_917, "E02": 6_856, "W02": 408}
    assert sum(vintage.counts()[prefix] for prefix in ("E01", "W01")) == 35_672


@pytest.mark.skipif(not LOOKUP.is_file(), reason="needs the ONS lookup")
def test_the_list_is_that_of_the_published_lookup():
    with gzip.open(LOOKUP, "rt", encoding="utf-8-sig", newline="") as file:
        codes = {row[level] for row in csv.DictReader(file) for level in ("LSOA21CD", "MSOA21CD")}
    assert len(codes) == sum(vintage.counts().values())
    assert all(map(vintage.is_known, codes))


def test_real_areas_pass():
    vintage.check(TOWN.areas)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lsoa": "E01000000"},
        {"lsoa": "E01000004"},
        {"lsoa": "E01999999"},
        {"lsoa": "W01000001"},
        {"msoa": "E02000006"},
        {"msoa": "W02000999"},
    ],
    ids=lambda wrong: next(iter(wrong.values())),
)
def test_one_code_that_2021_does_not_have_is_found_among_real_ones(wrong):
    first = TOWN.areas[0]
    codes = {"lsoa": first.lsoa, "msoa": first.msoa, "lad": first.lad, **wrong}
    with pytest.raises(GeographyError, match=rf"{next(iter(wrong.values()))} \(1 in all\).*vintage.*lookup"):
        vintage.check([Area(**codes), *TOWN.areas[1:]])


@pytest.mark.parametrize("mixed", [False, True])
def test_an_office_drafts_no_study_of_areas_of_another_vintage(tmp_path, mixed):
    keys.init(tmp_path / "office", "127.0.0.1:7000")
    for name in ("north", "south", "west"):
        keys.enrol(tmp_path / "office", name, Identity.generate().public_key)
    areas = tmp_path / "areas.csv"
    census.write_areas(TOWN, TOWN.classes.sum(axis=1).tolist(), areas)
    template = SIMULATIONS / "studies" / "southampton.toml"
    if mixed:
        areas.write_text(areas.read_text().replace(TOWN.areas[0].lsoa, "E01000000"))
        with pytest.raises(GeographyError, match="E01000000"):
            serve.prepare(tmp_path / "office", template, areas)
        assert not (tmp_path / "office" / "studies").exists()
    else:
        assert len(serve.prepare(tmp_path / "office", template, areas).areas) == 152
