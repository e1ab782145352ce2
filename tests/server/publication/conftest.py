# SPDX-License-Identifier: Apache-2.0
"""A release of three areas, with a figure of every kind: published, unreliable, withheld, not estimable."""

import datetime
import shutil

import pytest

from skyglow_server.disclosure import Check
from skyglow_server.estimation.occupancy import GROUPS
from skyglow_server.estimation.results import Estimate, estimate_of
from skyglow_server.publication import Release, publish

DAY = datetime.date(2026, 4, 1)
PARTS = {"panel sampling": 0.5, "privacy noise of areas": 0.25, "area model": 0.25}
TOWN = ("E06000001", "Town", "LAD")
MSOAS = (("E02000000", "Town 000", "MSOA"), ("E02000001", "Town 001", "MSOA"))


def square(code, east):
    ring = [[east, 112000], [east + 900, 112000], [east + 900, 112900], [east, 112900], [east, 112000]]
    return {
        "type": "Feature",
        "properties": {"msoa21cd": code, "msoa21nm": code},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


@pytest.fixture
def boundaries():
    grid = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::27700"}}
    features = [square("E02000001", 442000), square("E02000000", 441000)]
    return {"type": "FeatureCollection", "crs": grid, "features": features}


@pytest.fixture
def estimates():
    """Two topics: shares by all three levels, and whole days by MSOA and district."""

    def one(area, topic="all_aged_66_plus", group="all", value=0.2, deviation=0.01):
        named = Estimate(*area, topic, group)
        variance = deviation**2
        return estimate_of(named, value, variance, {name: part * variance for name, part in PARTS.items()})

    def withheld(area, rule):
        return Estimate(*area, "all_aged_66_plus", "all", status="suppressed", reason=rule)

    shares = (
        one(("E01010000", "Town, 000A", "LSOA"), deviation=0.025),
        one(("E01010001", "Town 000B", "LSOA"), value=-0.01, deviation=0.04),
        withheld(("E01010002", "Town 001A", "LSOA"), "least_homes"),
        one(MSOAS[0]),
        Estimate(*MSOAS[1], "all_aged_66_plus", "all"),
        one(TOWN, deviation=0.005),
    )
    days = tuple(one(area, "occupancy", group, 0.8) for area in (*MSOAS, TOWN) for group in GROUPS)
    return shares + days


@pytest.fixture
def release(make_study, estimates, boundaries):
    checks = (
        Check("least_homes", "LSOA", "E01010002", "all_aged_66_plus", False, "noised count of metered homes is 12"),
        Check("least_homes", "LSOA", "E01010000", "all_aged_66_plus", True, "noised count of metered homes is 502"),
    )
    return Release(
        study=make_study(),
        estimates=estimates,
        checks=checks,
        made=DAY,
        producer="Office of Towns & Cities",
        contact="towns@office.example",
        simulated=True,
        boundaries=boundaries,
        ledger_heads={"north": "ab" * 32},
        charged={"north": 1.25},
        versions={"skyglow-server": "0.1.0"},
    )


@pytest.fixture(scope="session")
def first_release(tmp_path_factory):
    return tmp_path_factory.mktemp("published") / "release"


@pytest.fixture
def published(release, first_release, tmp_path):
    """A copy of the release's folder, which is written once."""
    if not first_release.exists():
        publish(first_release, release)
    return shutil.copytree(first_release, tmp_path / "out" / "release")
