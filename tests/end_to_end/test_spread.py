# SPDX-License-Identifier: Apache-2.0
"""Six suppliers' homes, their shares and nothing else: the office learns that one of them owns a neighbourhood."""

from importlib import resources

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.homes import Homes
from skyglow_server.disclosure import Spread, check_spreads
from skyglow_server.disclosure.spread import DOMINANCE, SUPPLIERS_PRESENT
from skyglow_server.draft import draft
from skyglow_server.sums import block_sums
from skyglow_shared.models import presence
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.privacy.release import add_noise
from skyglow_shared.study import Aggregation, Area, Supplier, Thresholds

AREAS, OWNED, OF_TWO = 8, 2, 5
K = presence.load("presence_basis_v2").components.shape[1]


def homes_of(counts, rng):
    """A supplier's homes, so many in each area."""
    lsoa = np.repeat(np.arange(AREAS), counts)
    return Homes(
        pseudonyms=rng.integers(0, 256, (lsoa.size, 16), dtype=np.uint8),
        lsoa=lsoa,
        msoa=np.zeros_like(lsoa),
        x={},
        profile=np.zeros((lsoa.size, 2, K)),
        metered=np.ones(lsoa.size, dtype=bool),
        composition=np.full(lsoa.size, -1, dtype=np.int8),
        diary=np.full((lsoa.size, 2, K), np.nan),
        calibrates=np.zeros(lsoa.size, dtype=bool),
    )


@pytest.fixture
def asked():
    """The second built-in study for eight areas and six suppliers, in trust mode `aggregate`."""
    with resources.as_file(resources.files("skyglow_simulations") / "studies" / "southampton-electricity.toml") as path:
        study = draft(
            path,
            areas=[Area(f"E0101000{n}", "E02000000", "E06000001") for n in range(AREAS)],
            office_key="0" * 64,
            suppliers=[Supplier(name=f"s{n}", public_key=f"{n:064x}") for n in range(6)],
        )
    return msgspec.structs.replace(study, trust_mode="aggregate", aggregation=Aggregation(dropouts=1, colluders=1))


def test_what_six_shares_add_up_to_withholds_the_owned_places_and_no_other(asked):
    """Noise is the operating system's: chance spoils this test once in ten million runs."""
    rng, (block,) = np.random.default_rng(5), [b for b in asked.phases[-1].blocks if b.source == "area_capped_count"]
    phase = msgspec.structs.replace(asked.phases[-1], blocks=(block,))
    market = np.array([0.25, 0.2, 0.18, 0.15, 0.12, 0.1])
    counts = np.stack([rng.multinomial(500, market) for _ in range(AREAS)], axis=1)
    counts[:, OWNED] = [480, 5, 5, 5, 3, 2]
    counts[:, OF_TWO] = [450, 50, 0, 0, 0, 0]
    total = np.zeros(AREAS, dtype=np.int64)
    for number, own in enumerate(counts):
        exact = block_sum(asked, block, homes_of(own, rng), {})
        total += add_noise(exact, SystemRandomness().stream(f"test {number}")).ravel()
    found = block_sums(asked, phase, total, 6, 0)["spread"]
    spreads = [
        Spread("LSOA", code, "t", float(value), float(found.deviation[0]), block.cap, 500.0, 15.0)
        for code, value in zip(asked.lsoas, found.values[:, 0], strict=True)
    ]
    failed = {(c.rule, int(c.area_code[-1])) for c in check_spreads(Thresholds(), spreads) if not c.passed}
    assert failed >= {(DOMINANCE, OWNED), (SUPPLIERS_PRESENT, OWNED), (SUPPLIERS_PRESENT, OF_TWO)}
    assert {place for _, place in failed} == {OWNED, OF_TWO}
