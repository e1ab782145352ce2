# SPDX-License-Identifier: Apache-2.0
"""An area whose homes are nearly all one supplier's is withheld, from noised sums or from a public table."""

from dataclasses import replace

import numpy as np
import pytest

from skyglow_server.disclosure import Spread, check_market, check_spreads, footprint_of, load_market
from skyglow_server.disclosure.spread import ALLOWANCE, DOMINANCE, SUPPLIERS_PRESENT
from skyglow_server.estimation.inputs import LEVELS
from skyglow_shared.errors import FormatError, GeographyError
from skyglow_shared.study import Thresholds

LIMITS = Thresholds(least_homes=30, least_suppliers=3, largest_share=0.8)
CAP = 60.0


def spread(*suppliers, cap=CAP, deviation=0.0):
    """An area where each supplier has so many homes."""
    capped = sum(min(homes, cap) for homes in suppliers)
    return Spread("LSOA", "E01000001", "t", float(capped), deviation, cap, float(sum(suppliers)), deviation)


def passed(*spreads):
    return {check.rule: check.passed for check in check_spreads(LIMITS, spreads)}


@pytest.mark.parametrize(
    ("suppliers", "present", "even"),
    [
        ((120, 90, 80, 60, 50, 40), True, True),
        ((440,), False, False),
        ((220, 220), False, False),  # half each, but a cap of 60 is too low to show that the second has a fifth
        ((400, 30, 10), False, False),
        ((355, 50, 30), True, False),  # 82 %
        ((300, 70, 70), True, True),  # 68 %
        ((0, 0, 0), False, False),
        ((1, 1, 1), False, False),  # so few that nothing can be ruled out
    ],
)
def test_without_noise_the_rules_say_what_is_so(suppliers, present, even):
    assert passed(spread(*suppliers)) == {SUPPLIERS_PRESENT: present, DOMINANCE: even}


def test_no_spread_that_passes_is_one_to_be_withheld():
    """Whatever the market: with the noise at zero, a pass is a proof."""
    rng, passes = np.random.default_rng(1), 0
    for _ in range(3000):
        homes = np.floor(rng.uniform(50, 900) * rng.dirichlet(np.full(rng.integers(1, 7), rng.uniform(0.1, 3))))
        found = passed(spread(*homes))
        passes += found[DOMINANCE]
        assert not found[SUPPLIERS_PRESENT] or np.count_nonzero(homes) >= LIMITS.least_suppliers
        assert not found[DOMINANCE] or homes.max() <= LIMITS.largest_share * homes.sum()
    assert passes > 1000, "a test that cannot fail"


def test_noise_lets_one_in_twenty_through_at_the_edge():
    """At the worst, where a case to be withheld lies just on its bound."""
    rng, edge = np.random.default_rng(2), spread(432, 60, 48, deviation=20.0)  # 80 %: on the bound of dominance
    trials = 4000
    hits = sum(
        passed(replace(edge, capped=edge.capped + rng.normal(0, 20), homes=edge.homes + rng.normal(0, 20)))[DOMINANCE]
        for _ in range(trials)
    )
    assert hits / trials == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / trials) ** 0.5)
    assert pytest.approx(1.645, abs=1e-3) == ALLOWANCE


@pytest.fixture
def table(make_study, tmp_path):
    def write(text):
        path = tmp_path / "market.csv"
        path.write_text("lsoa21cd,supplier,homes\n" + text)
        return path

    return make_study(), write


ROWS = "E01010000,north,90\nE01010000,south,5\nE01010000,west,5\n" + "".join(
    f"E0101000{area},{name},50\n" for area in (1, 2) for name in ("north", "south", "west")
)


def test_a_public_table_does_as_well(table):
    study, write = table
    market = load_market(write(ROWS), study)
    record = check_market(LIMITS, market, [footprint_of(study, "t", LEVELS)])
    failed = {(check.rule, check.level, check.area_code) for check in record if not check.passed}
    assert failed == {(DOMINANCE, "LSOA", "E01010000")}, "in its MSOA the supplier has 140 homes of 250"
    assert len(record) == 2 * 6


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("E01010000,north\n", FormatError),
        ("E01010000,north,many\n", FormatError),
        ("E01010000,north,-1\n", FormatError),
        (ROWS + "E01010000,north,1\n", FormatError),
        ("E01010000,north,1\n", GeographyError),
    ],
)
def test_a_spoilt_table_is_refused(table, text, error):
    study, write = table
    with pytest.raises(error):
        load_market(write(text), study)


def test_a_table_that_is_not_there_is_refused(table, tmp_path):
    with pytest.raises(FormatError, match="lsoa21cd"):
        load_market(tmp_path / "none.csv", table[0])
