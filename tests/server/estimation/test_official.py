# SPDX-License-Identifier: Apache-2.0
"""A release shows how the study's own figures compared with official ones, and shows nothing that it withholds."""

import csv
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.official import Compared
from skyglow_server.estimation.results import Estimate, estimate_of
from skyglow_server.publication import official, tidy

with warnings.catch_warnings():  # the reader's own dependencies warn at import
    warnings.simplefilter("ignore")
    from csvw import CSVW

LAD = "E06000045"
FIGURES = ("agrees", "estimate", "lower", "upper", "unclipped", "standard_error", "difference")


@pytest.fixture(scope="module")
def town(simulator):
    """(areas, sums) of four MSOAs, the last of which has too few metered homes for any figure of it."""
    areas, sums = simulator.drawn(np.random.default_rng(6), lsoas=12, msoas=4, panel=500)
    values = sums["area_scores"].values.copy()
    values[np.array(areas.codes["MSOA"]) == areas.areas("MSOA")[-1][0]] = (3.0, 0.5)
    return areas, {**sums, "area_scores": replace(sums["area_scores"], values=values)}


@pytest.fixture
def place(simulator, released, town):
    """An office's study with official totals of the district and all MSOAs, the second a good deal off."""
    areas, sums = town
    lines = [f"{LAD},{simulator.topic},{0.19 * areas.households.sum():.0f},400"]
    sizes = zip(areas.areas("MSOA"), areas.totals("MSOA", areas.households), strict=True)
    lines += [
        f"{code},{simulator.topic},{(0.45 if number == 1 else 0.19) * homes:.0f},{0.09 * homes:.0f}"
        for number, ((code, _), homes) in enumerate(sizes)
    ]
    return released(
        "town", areas, sums, {"totals.csv": "\n".join(["area_code,topic,homes,standard_error", *lines, ""])}
    )


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_official_figure_has_the_studys_own_beside_it(simulator, town, place):
    areas, sums = town
    found = {row["area_code"]: row for row in rows(place / "release" / official.NAME)}
    assert list(found) == [LAD, *(code for code, _ in areas.areas("MSOA"))]
    study = simulator.study_of(areas)
    sums = {**simulator.small(1, lsoas=12, msoas=4, panel=500)[2], **sums}  # curves too, which nobody looks at
    estimates = estimation.estimate(study, areas, sums)
    own = {item.area_code: item for item in estimates if item.topic == simulator.topic}
    agreed = {row["area_code"]: row for row in rows(place / "estimates.csv")}
    totals = {row["area_code"]: row for row in rows(place / "totals.csv")}
    households = dict(
        zip((code for code, _ in areas.areas("MSOA")), areas.totals("MSOA", areas.households), strict=True)
    )
    shown = [code for code, _ in areas.areas("MSOA") if agreed[code]["status"] == "published"]
    assert len(shown) >= 2
    for code in shown:
        row = found[code]
        item, share = own[code], float(totals[code]["homes"]) / households[code]
        error = float(totals[code]["standard_error"]) / households[code]
        assert float(row["estimate"]) == pytest.approx(item.estimate, abs=6e-4) != float(agreed[code]["estimate"])
        assert float(row["standard_error"]) == pytest.approx(item.deviation, abs=6e-4)
        assert float(row["official"]) == pytest.approx(share, abs=6e-4)
        assert float(row["official_standard_error"]) == pytest.approx(error, abs=6e-4)
        assert float(row["difference"]) == pytest.approx(item.unclipped - share, abs=6e-4)
        assert row["agrees"] == (
            "yes" if abs(item.unclipped - share) < 1.96 * np.hypot(item.deviation, error) else "no"
        )
    assert {row["agrees"] for row in found.values()} == {"yes", "no", ""}


def test_what_is_withheld_is_withheld_here_too(town, place):
    found = rows(place / "release" / official.NAME)
    published = {row["area_code"]: row for row in rows(place / "estimates.csv")}
    assert [row["status"] for row in found] == [published[row["area_code"]]["status"] for row in found]
    withheld = [row for row in found if row["status"] == "suppressed"]
    assert {row[name] for row in withheld for name in FIGURES} == {""}
    assert {row["reason"] for row in withheld} == {"least_homes", "complementary"}
    hidden = found[-1]
    assert (hidden["shorthand"], hidden["reason"]) == ("[c]", "least_homes")
    assert float(hidden["official"]) == pytest.approx(0.19, abs=2e-3)
    results = json.loads((place / "release" / "results.json").read_text("utf-8"))["results"]
    cells = results["table-comparison-official"]["files"][0]["sdc"]["cells"]["least_homes"]
    head = list(official.COLUMNS)[1:]
    assert {(row, head[column]) for row, column in cells} == {(4, name) for name in FIGURES}


def test_the_table_is_described_and_listed(place):
    folder = place / "release"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert CSVW(str(folder / tidy.METADATA), validate=True).is_valid
    assert not found
    crate = json.loads((folder / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    assert official.TITLE in {one.get("description") for one in crate if one["@id"] == official.NAME}
    assert (folder / "checksums" / f"{official.NAME}.txt").exists()
    assert official.NAME in (folder / "quality-and-methods.html").read_text("utf-8")


def test_without_official_figures_there_is_no_such_table(released, town):
    assert not (released("plain", *town) / "release" / official.NAME).exists()


@pytest.mark.parametrize(("value", "agrees"), [(0.219, True), (0.221, False), (0.181, True), (0.179, False)])
def test_figures_agree_where_both_errors_allow_it(value, agrees):
    own = estimate_of(Estimate("E06000001", "Town", "LAD", "topic", "all"), value, 0.008**2, {})
    assert Compared(own, 0.2, 0.006).agrees is agrees
    assert Compared(replace(own, unclipped=None), 0.2, 0.006).agrees is None
