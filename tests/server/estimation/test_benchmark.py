# SPDX-License-Identifier: Apache-2.0
"""Shares made to agree with official totals: to the last home, with an honest interval, and never by force."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.benchmark import SOURCE, Total, load_totals
from skyglow_shared.errors import DataError, FormatError, GeographyError

TOPIC = "all_aged_66_plus"
LAD = "E06000045"


def town(simulator, seed):
    """(study without occupancy, areas, true shares, sums)."""
    rng = np.random.default_rng([11, seed])
    world = replace(simulator.World(), lsoas=36, msoas=8, panel=500)
    areas = simulator.town(world, rng)
    share, sums = simulator.replicate(world, areas, rng)
    sums["area_scores"] = replace(sums["area_scores"], values=np.maximum(sums["area_scores"].values, [[60.0, -1e9]]))
    study = simulator.study_of(areas)
    kept = [
        msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if "profile" not in block.source))
        for phase in study.phases
    ]
    return msgspec.structs.replace(study, phases=tuple(kept)), areas, simulator.truths(areas, share), sums


@pytest.fixture(scope="module")
def one(simulator):
    return town(simulator, 0)


def by_place(estimates):
    return {(item.level, item.area_code): item for item in estimates}


def homes_of(areas, truth, level, code):
    households = dict(zip((c for c, _ in areas.areas(level)), areas.totals(level, areas.households), strict=True))
    return truth[level, code] * households[code]


def test_a_count_is_met_to_the_last_home_and_every_level_follows(one):
    study, areas, truth, sums = one
    plain = by_place(estimation.estimate(study, areas, sums))
    wanted = homes_of(areas, truth, "LAD", LAD)
    found = by_place(estimation.estimate(study, areas, sums, totals={(TOPIC, LAD): Total(wanted, 0.0)}))
    households = float(areas.households.sum())
    assert found["LAD", LAD].unclipped == pytest.approx(truth["LAD", LAD], abs=0.01 / households)
    assert found["LAD", LAD].deviation == pytest.approx(12**-0.5 / households, rel=0.01)
    lsoas = np.array([found["LSOA", code].unclipped for code in areas.codes["LSOA"]])
    assert areas.weights("LAD")[0] @ lsoas == pytest.approx(found["LAD", LAD].unclipped, abs=1e-9)
    for place, item in found.items():
        assert item.deviation < plain[place].deviation
        assert sum(item.parts.values()) == pytest.approx(item.deviation**2, abs=1e-12)
        assert min(item.parts.values()) > -1e-9


def test_a_total_of_no_precision_changes_nothing_and_its_error_is_told(one):
    study, areas, truth, sums = one
    wanted = homes_of(areas, truth, "LAD", LAD)
    plain = by_place(estimation.estimate(study, areas, sums))
    vague = by_place(estimation.estimate(study, areas, sums, totals={(TOPIC, LAD): Total(wanted, 1e7)}))
    close = by_place(estimation.estimate(study, areas, sums, totals={(TOPIC, LAD): Total(wanted, 200.0)}))
    for place, item in plain.items():
        assert vague[place].unclipped == pytest.approx(item.unclipped, abs=1e-5)
        assert vague[place].deviation == pytest.approx(item.deviation, rel=1e-4)
        assert close[place].deviation < item.deviation
        assert close[place].parts[SOURCE] > vague[place].parts[SOURCE] >= 0


def test_totals_of_a_topic_that_nobody_estimates_are_refused(one):
    study, areas, _, sums = one
    with pytest.raises(DataError, match="topic"):
        estimation.estimate(study, areas, sums, totals={("another", LAD): Total(100.0, 0.0)})


def test_totals_make_areas_more_accurate_and_intervals_hold(simulator):
    hits, better = [], []
    for seed in range(8):
        study, areas, truth, sums = town(simulator, seed)
        wanted = {(TOPIC, LAD): Total(homes_of(areas, truth, "LAD", LAD), 0.0)}
        plain = by_place(estimation.estimate(study, areas, sums))
        for place, item in by_place(estimation.estimate(study, areas, sums, totals=wanted)).items():
            if place[0] != "LAD":
                hits.append(item.lower <= truth[place] <= item.upper)
                better.append((plain[place].unclipped - truth[place]) ** 2 - (item.unclipped - truth[place]) ** 2)
    assert np.mean(hits) > 0.92
    assert np.mean(better) > 0


@pytest.fixture
def table(one, tmp_path):
    def write(*rows):
        path = tmp_path / "totals.csv"
        path.write_text("\n".join(["area_code,topic,homes,standard_error", *rows, ""]))
        return load_totals(path, one[1])

    return write


def test_a_table_is_read(table):
    assert table(f"{LAD},{TOPIC},4000,0", f"E02000000,{TOPIC},300,25.5") == {
        (TOPIC, LAD): Total(4000.0, 0.0),
        (TOPIC, "E02000000"): Total(300.0, 25.5),
    }


MSOAS = [f"E0200000{place},{TOPIC},100,0" for place in range(8)]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([f"{LAD},{TOPIC},many,0"], FormatError, "standard_error"),
        ([f"{LAD},{TOPIC},-5,0"], FormatError, "negative"),
        ([f"{LAD},{TOPIC},5,nan"], FormatError, "negative"),
        ([f"{LAD},{TOPIC},5,0", f"{LAD},{TOPIC},6,0"], FormatError, "twice"),
        ([f"E06000001,{TOPIC},5,0"], GeographyError, "no district"),
        ([f"E01000000,{TOPIC},5,0"], GeographyError, "no district"),
        ([f"{LAD},{TOPIC},1e9,0"], DataError, "more than there are"),
        ([f"{LAD},{TOPIC},900,0", *MSOAS], DataError, "contradict"),
        ([f"{LAD},{TOPIC},900,2", *MSOAS], DataError, "contradict"),
        ([f"{LAD},{TOPIC},805,0", *MSOAS], DataError, "rounding to whole homes"),
        ([f"{LAD},{TOPIC},795,0", *MSOAS], DataError, "m times 0.29"),
    ],
)
def test_totals_that_cannot_be_are_refused(table, rows, error, words):
    with pytest.raises(error, match=words):
        table(*rows)


def test_totals_that_agree_are_taken_at_both_levels(one, table):
    study, areas, truth, sums = one
    rows = [f"{code},{TOPIC},{homes_of(areas, truth, 'MSOA', code):.9f},0" for code, _ in areas.areas("MSOA")]
    totals = table(f"{LAD},{TOPIC},{homes_of(areas, truth, 'LAD', LAD):.9f},0", *rows)
    found = by_place(estimation.estimate(study, areas, sums, totals=totals))
    for code, _ in areas.areas("MSOA"):
        assert found["MSOA", code].unclipped == pytest.approx(truth["MSOA", code], abs=1e-5)


@pytest.mark.parametrize("homes", [796, 804, 800.4])  # eight counts and their sum may each be off by half a home
def test_counts_may_differ_by_what_rounding_does_to_each(table, homes):
    assert len(table(f"{LAD},{TOPIC},{homes},0", *MSOAS)) == 9


def rounded(one, multiple, error):
    """Totals of the district and all MSOAs as a table rounded to a multiple has them."""
    _, areas, truth, _ = one
    places = [("LAD", LAD), *(("MSOA", code) for code, _ in areas.areas("MSOA"))]
    homes = [multiple * round(homes_of(areas, truth, *place) / multiple) for place in places]
    homes[0] = sum(homes[1:]) + multiple  # eight rounded counts and their sum may well differ so much
    return [f"{code},{TOPIC},{own},{error}" for (_, code), own in zip(places, homes, strict=True)]


@pytest.mark.parametrize(("multiple", "error"), [(1, 0), (5, 1.45), (10, 2.9)])
def test_a_rounded_table_is_agreed_with_as_far_as_it_agrees_with_itself(one, table, multiple, error):
    study, areas, truth, sums = one
    found = by_place(estimation.estimate(study, areas, sums, totals=table(*rounded(one, multiple, error))))
    households = dict(
        zip((code for code, _ in areas.areas("MSOA")), areas.totals("MSOA", areas.households), strict=True)
    )
    for code, homes in households.items():
        assert found["MSOA", code].unclipped == pytest.approx(truth["MSOA", code], abs=multiple / homes)
    weighted = sum(found["MSOA", code].unclipped * homes for code, homes in households.items()) / areas.households.sum()
    assert found["LAD", LAD].unclipped == pytest.approx(weighted, abs=1e-9)


def test_a_table_rounded_to_tens_is_no_count_of_whole_homes(one, table):
    with pytest.raises(DataError, match="rounding to whole homes"):
        table(*rounded(one, 10, 0))


def test_a_total_far_from_the_studys_own_figure_is_refused(one):
    study, areas, truth, sums = one
    wrong = Total(3 * homes_of(areas, truth, "LAD", LAD), 0.0)
    with pytest.raises(DataError, match="further from the study"):
        estimation.estimate(study, areas, sums, totals={(TOPIC, LAD): wrong})


def test_a_table_that_is_not_there_is_refused(one, tmp_path):
    with pytest.raises(FormatError, match="area_code"):
        load_totals(tmp_path / "none.csv", one[1])
