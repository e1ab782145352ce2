# SPDX-License-Identifier: Apache-2.0
"""A fast statistical simulator of a town like Southampton: homes, scores, panel, and noised sums of them."""

import datetime
from dataclasses import dataclass, field

import numpy as np
import pytest

from skyglow_server.estimation.inputs import AreaTable
from skyglow_shared.models import presence
from skyglow_shared.study import COMPOSITION_CLASSES, Area, Block, Model, Occupancy, Period, Phase, Study, Supplier

BASIS = "presence_basis_v1"
TOPIC = "all_aged_66_plus"
MIX = np.array([0.11, 0.06, 0.21, 0.24, 0.25, 0.13])
POSITIVE = np.array([True, True, False, False, False, False])


@dataclass(frozen=True)
class Sum:
    values: np.ndarray
    deviation: float
    shares: int = 6


@dataclass(frozen=True)
class World:
    """How a town is made; standard deviations on the logit scale unless said otherwise."""

    lsoas: int = 152
    msoas: int = 33
    drifts: tuple[float, float, float] = (0.10, 0.12, 0.20)  # district, MSOA, LSOA
    mix_drift: float = 0.15
    means: np.ndarray = field(default_factory=lambda: np.array([0.39, -0.05, -0.30, -0.28, -0.36, -0.25]))
    score_deviation: float = 0.5
    area_deviation: float = 0.02  # of a class's mean score, in score units
    metered: float = 0.75
    panel: int = 1700
    noise: dict = field(default_factory=lambda: {"area_scores": 3.2, "class_scores": 3.5, "panel_labels": 3.5})
    permuted: bool = False  # panel labels handed to the wrong homes


def study_of(areas: AreaTable, suppliers: int = 6) -> Study:
    def block(name, source, model=TOPIC):
        return Block(name=name, source=source, model=model, l2_bound=1.5, noise_multiplier=3.0)

    blocks = (
        block("class_scores", "class_score"),
        block("panel_labels", "area_label"),
        block("diaries", "diary_profile", ""),
        block("area_scores", "area_score"),
        block("profiles", "area_profile", ""),
    )
    codes = zip(areas.codes["LSOA"], areas.codes["MSOA"], areas.codes["LAD"], strict=True)
    return Study(
        name="town",
        title="A town",
        purpose="research",
        legal_gateway="Simulated data: no gateway needed",
        public_good="none",
        reference_date=datetime.date(2026, 3, 9),
        expires=datetime.date(2027, 1, 1),
        trust_mode="local",
        epsilon=4.0,
        delta=1e-6,
        period=Period(datetime.date(2026, 3, 9), 28),
        feature_week=datetime.date(2026, 3, 16),
        areas=tuple(Area(*code) for code in codes),
        households=102_290,
        models=(
            Model(
                name=TOPIC,
                features="f",
                features_digest="0" * 64,
                positive_classes=COMPOSITION_CLASSES[:2],
                learning_rate=1.0,
                score_centre=0.0,
                score_width=1.0,
            ),
        ),
        occupancy=Occupancy(basis=BASIS, basis_digest="0" * 64),
        phases=(
            Phase(name="calibration", expected_homes=1700, blocks=blocks[:3]),
            Phase(name="release", expected_homes=76_000, blocks=blocks[3:]),
        ),
        office_key="0" * 64,
        suppliers=tuple(Supplier(name=f"s{i}", public_key=f"{i:064x}") for i in range(suppliers)),
    )


def town(world: World, rng: np.random.Generator) -> AreaTable:
    """A town's geography, households and old census."""
    msoa = np.sort(np.concatenate([np.arange(world.msoas), rng.integers(0, world.msoas, world.lsoas - world.msoas)]))
    households = np.maximum(rng.normal(670, 120, world.lsoas), 300).round()
    old = np.array([rng.dirichlet(22 * MIX + 0.3) for _ in range(world.lsoas)])
    counts = np.array([rng.multinomial(int(n), q) for n, q in zip(households, old, strict=True)], dtype=float)
    codes = {
        "LSOA": tuple(f"E01{i:06d}" for i in range(world.lsoas)),
        "MSOA": tuple(f"E02{i:06d}" for i in msoa),
        "LAD": ("E06000045",) * world.lsoas,
    }
    names = {
        "LSOA": tuple(f"Town {m:03d}{i}" for i, m in enumerate(msoa)),
        "MSOA": tuple(f"Town {m:03d}" for m in msoa),
        "LAD": ("Town",) * world.lsoas,
    }
    return AreaTable(codes, names, households, counts)


def truths(areas: AreaTable, shares: np.ndarray) -> dict[tuple[str, str], float]:
    """True share by (level, area code)."""
    return {
        (level, code): float(value)
        for level in ("LSOA", "MSOA", "LAD")
        for (code, _), value in zip(areas.areas(level), areas.weights(level) @ shares, strict=True)
    }


def replicate(world: World, areas: AreaTable, rng: np.random.Generator):
    """One draw of today's town and of everything the suppliers send: (true share by LSOA, sums by block)."""
    size = areas.households.astype(int)
    mix = areas.counts + MIX
    mix = mix * np.exp(rng.normal(0, world.mix_drift, mix.shape))
    mix /= mix.sum(axis=1, keepdims=True)
    share = mix @ POSITIVE
    msoa = areas.membership("MSOA").argmax(axis=0)
    lad_sd, msoa_sd, lsoa_sd = world.drifts
    drift = rng.normal(0, lad_sd) + rng.normal(0, msoa_sd, world.msoas)[msoa] + rng.normal(0, lsoa_sd, world.lsoas)
    new = 1 / (1 + np.exp(-(np.log(share / (1 - share)) + drift)))
    mix = np.where(POSITIVE, mix * (new / share)[:, None], mix * ((1 - new) / (1 - share))[:, None])
    counts = np.array([rng.multinomial(n, q / q.sum()) for n, q in zip(size, mix, strict=True)])
    area = np.repeat(np.arange(world.lsoas), size)
    kind = np.repeat(np.tile(np.arange(6), world.lsoas), counts.ravel())
    deviation = rng.normal(0, world.area_deviation, counts.shape)
    score = np.clip(world.means[kind] + deviation[area, kind] + rng.normal(0, world.score_deviation, kind.size), -1, 1)
    metered = np.flatnonzero(rng.random(kind.size) < world.metered)
    panel = rng.choice(metered, world.panel, replace=False)
    label = rng.permutation(kind[panel]) if world.permuted else kind[panel]
    sums = {
        "area_scores": grouped(area[metered], world.lsoas, np.ones(metered.size), score[metered]),
        "class_scores": grouped(label, 6, np.ones(panel.size), score[panel], score[panel] ** 2),
        "panel_labels": grouped(msoa[area[panel]], world.msoas, np.ones(panel.size), POSITIVE[kind[panel]]),
    }
    truth = counts @ POSITIVE / size
    return truth, {name: noised(exact, world.noise[name], rng) for name, exact in sums.items()}


def grouped(group: np.ndarray, groups: int, *columns: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(group, weights=column, minlength=groups) for column in columns], axis=1)


def noised(exact: np.ndarray, deviation_of_share: float, rng: np.random.Generator, shares: int = 6) -> Sum:
    deviation = deviation_of_share * np.sqrt(shares)
    return Sum(exact + rng.normal(0, deviation, exact.shape), float(deviation), shares)


@dataclass(frozen=True)
class Simulator:
    """What tests use: the functions above."""

    World = World
    Sum = Sum
    study_of = staticmethod(study_of)
    town = staticmethod(town)
    replicate = staticmethod(replicate)
    truths = staticmethod(truths)
    noised = staticmethod(noised)
    grouped = staticmethod(grouped)
    topic = TOPIC
    positive = POSITIVE
    basis = staticmethod(lambda: presence.load(BASIS))


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    return Simulator()
