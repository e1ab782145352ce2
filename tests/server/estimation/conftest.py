# SPDX-License-Identifier: Apache-2.0
"""A fast statistical simulator of a town like Southampton: homes, scores, panel, and noised sums of them."""

import datetime
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from scipy.special import ndtr

from skyglow_server import releasing, settings
from skyglow_server.estimation.inputs import COLUMNS, AreaTable
from skyglow_server.estimation.readers import Reader
from skyglow_server.settings import Settings
from skyglow_shared.models import presence
from skyglow_shared.study import COMPOSITION_CLASSES, Area, Block, Model, Occupancy, Period, Phase, Study, Supplier

BASIS = "presence_basis_v2"
TOPIC = "all_aged_66_plus"
MIX = np.array([0.11, 0.06, 0.21, 0.24, 0.25, 0.13])
POSITIVE = np.array([True, True, False, False, False, False])


@dataclass(frozen=True)
class Sum:
    values: np.ndarray
    deviation: np.ndarray | float
    shares: int = 6

    def __post_init__(self):
        object.__setattr__(self, "deviation", np.broadcast_to(self.deviation, self.values.shape[1:]))


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
    panel: int = 1700  # homes that calibrate
    both_halves: bool = False  # about as many train, answer by area too, and are counted by class
    noise: dict = field(
        default_factory=lambda: {"area_scores": 3.2, "class_scores": 3.5, "panel_labels": 3.5, "trained": 2.3}
    )
    permuted: bool = False  # panel labels handed to the wrong homes


def study_of(areas: AreaTable, suppliers: int = 6, bounds: dict[str, float] | None = None) -> Study:
    def block(name, source, model=TOPIC):
        bound = (bounds or {}).get(source, 1.5)
        return Block(name=name, source=source, model=model, l2_bound=bound, noise_multiplier=3.0)

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
    asked = rng.choice(metered, world.panel * (1 + world.both_halves), replace=False)
    half = rng.random(asked.size) < 1 / 2 if world.both_halves else np.ones(asked.size, dtype=bool)
    panel = asked[half]
    label = rng.permutation(kind[panel]) if world.permuted else kind[panel]
    sums = {
        "area_scores": grouped(area[metered], world.lsoas, np.ones(metered.size), score[metered]),
        "class_scores": grouped(label, 6, np.ones(panel.size), score[panel], score[panel] ** 2),
        "panel_labels": grouped(msoa[area[asked]], world.msoas, np.ones(asked.size), 2.0 * POSITIVE[kind[asked]] - 1),
    }
    if world.both_halves:
        sums["trained"] = grouped(kind[asked[~half]], 6, np.ones(asked.size - panel.size))
    truth = counts @ POSITIVE / size
    return truth, {name: noised(exact, world.noise[name], rng) for name, exact in sums.items()}


def every_sum(world: World, areas: AreaTable, rng: np.random.Generator) -> dict[str, Sum]:
    """The sums of one draw, and those of presence too, which are noise alone."""
    _, sums = replicate(world, areas, rng)
    components = presence.load(BASIS).components.shape[1]
    sums["profiles"] = noised(np.zeros((world.msoas, 2 * components + 1)), 1.0, rng)
    sums["diaries"] = noised(np.zeros((1, 2 * (1 + components) + 2)), 1.0, rng)
    return sums


def small(seed: int, **amounts: int) -> tuple[Study, AreaTable, dict[str, Sum]]:
    """A small town's study, areas and all sums."""
    rng, world = np.random.default_rng(seed), replace(World(), **amounts)
    areas = town(world, rng)
    return study_of(areas), areas, every_sum(world, areas, rng)


def grouped(group: np.ndarray, groups: int, *columns: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(group, weights=column, minlength=groups) for column in columns], axis=1)


def noised(exact: np.ndarray, deviation_of_share, rng: np.random.Generator, shares: int = 6) -> Sum:
    """Add the noise of six shares; its deviation is one number or one a column."""
    deviation = np.asarray(deviation_of_share) * np.sqrt(shares)
    return Sum(exact + rng.normal(0, deviation, exact.shape), deviation, shares)


@dataclass(frozen=True)
class Days:
    """How presence, the meters' rule and diaries are made; coefficients in root-mean-square units."""

    homes: int = 1000  # in each MSOA, scaled up to a town's size in nothing: small areas, same noise
    msoas: int = 20
    level: float = 0.02  # how far the town's curve lies from the public mean, first component; others less
    area: float = 0.005  # between areas
    home: tuple[float, ...] = (0.06, 0.03, 0.02, 0.02, 0.02)  # between homes; with more, bounds at 0 and 1 bend curves
    rule_slope: float = 0.9  # of the rule's coefficient on the truth
    rule_bias: float = 0.0075
    rule_error: float = 0.04
    beyond: float = 0.0003  # sd by slot of what the components cannot express
    diaries: int = 600
    persistence: float = 0.9  # of presence from one half-hour to the next
    follows: float = 0.6  # how much of what sets a day apart the meter sees
    noise: dict = field(default_factory=lambda: {"area_scores": 3.2, "profiles": 1.0, "diaries": 3.0})
    bounds: tuple[float, float] = (np.inf, np.inf)  # l2 bounds of profiles and diaries


#: What is known of the rule in `presence_replicate`'s towns: how far homes differ, and no more.
READER = Reader(
    gap=np.zeros((2, 4)),
    slope=np.ones((2, 4)),
    usual=np.append(MIX, 0.6),
    unread=np.zeros((8, 2, 48)),
    courses=np.zeros((1, 2, 48)),
    season=np.zeros((52, 1)),
    unseen=np.full((2, 48), 0.4),
    unseen_by_area=0.012,
    profile_deviation=np.tile([0.07, 0.05, 0.045, 0.045], (2, 1)),
    diary_deviation=np.tile([0.1, 0.06, 0.06, 0.05], (2, 1)),
    short=np.zeros((2, 4)),
    beyond=np.zeros(2),
    cut=np.zeros((2, 4)),
    moved=0.0,
    lost=0.0,
    axes=np.diag(np.tile([0.07, 0.05, 0.045, 0.045], 2)).reshape(8, 2, 4),
    kinds=np.zeros((7, 2, 4)),
    kinds_and_sizes=np.zeros((11, 2, 4)),
    lsoa_deviation=np.full(8, 0.001),
    msoa_deviation=np.full(8, 0.0004),
    own=np.ones(2),
)


def clipped(vectors: np.ndarray, bound: float) -> np.ndarray:
    return vectors * np.minimum(1, bound / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def presence_replicate(days: Days, rng: np.random.Generator):
    """One draw of a town's presence: (areas, true curves [M + 1, 96] with the district last, sums by block)."""
    basis = presence.load(BASIS)
    components = basis.components.shape[1]
    areas = town(World(lsoas=days.msoas, msoas=days.msoas), rng)
    areas = AreaTable(areas.codes, areas.names, np.full(days.msoas, float(days.homes)), areas.counts)
    area = np.repeat(np.arange(days.msoas), days.homes)
    spread = np.array([days.home[min(k, len(days.home) - 1)] for k in range(components)])
    lesser = np.array([1.0, 0.5, 0.4, 0.3])[:components]
    local = lesser * (
        rng.normal(0, days.level, (2, components)) + rng.normal(0, days.area, (days.msoas, 2, components))
    )
    own = local[area] + (rng.normal(0, 1, (area.size, 1, components)) * spread)
    beyond = rng.normal(0, days.beyond, (2, presence.SLOTS))
    curves = np.clip(basis.curve(own) + beyond, 0.01, 0.995)
    seen = basis.project(curves)
    rule = lesser * days.rule_bias + days.rule_slope * seen + rng.normal(0, days.rule_error, own.shape)
    metered = np.flatnonzero(rng.random(area.size) < 0.75)
    profiles = np.column_stack(
        [clipped(rule[metered].reshape(metered.size, -1), days.bounds[0]), np.zeros(metered.size)]
    )
    panel = rng.choice(metered, days.diaries, replace=False)
    special = basis.project(one_day(curves[panel], days.persistence, rng)) - seen[panel]
    kept = rng.random((panel.size, 2, 1)) < 0.6
    gap = (seen[panel] - rule[panel] + (1 - days.follows) * special) * kept
    cross = (gap * rule[panel])[:, :, 0].sum(axis=1)
    each = np.concatenate([kept, gap], axis=2).reshape(panel.size, -1)
    diaries = clipped(np.column_stack([each, np.square(gap).sum(axis=(1, 2)), cross]), days.bounds[1])
    sums = {
        "area_scores": grouped(area[metered], days.msoas, np.ones(metered.size), np.zeros(metered.size)),
        "profiles": grouped(area[metered], days.msoas, *profiles.T),
        "diaries": diaries.sum(axis=0, keepdims=True),
    }
    truth = np.array([curves[area == i].mean(axis=0).ravel() for i in range(days.msoas)])
    truth = np.concatenate([truth, truth.mean(axis=0, keepdims=True)])
    return areas, truth, {name: noised(exact, days.noise[name], rng) for name, exact in sums.items()}


def one_day(curves: np.ndarray, persistence: float, rng: np.random.Generator) -> np.ndarray:
    """A day of 0/1 presence [homes, 2, 48] with these slot means, persistent from slot to slot."""
    state = rng.normal(size=curves.shape[:2])
    day = np.empty(curves.shape)
    for slot in range(presence.SLOTS):
        if slot:
            state = persistence * state + np.sqrt(1 - persistence**2) * rng.normal(size=state.shape)
        day[:, :, slot] = ndtr(state) < curves[:, :, slot]
    return day


def drawn(rng: np.random.Generator, **sizes: int) -> tuple[AreaTable, dict[str, Sum]]:
    """A town of such sizes, and everything the suppliers send of it."""
    world = replace(World(), **sizes)
    areas = town(world, rng)
    return areas, replicate(world, areas, rng)[1]


def areas_csv(areas: AreaTable) -> str:
    """The table of areas as an office holds it."""
    named = [part[level] for level in ("LSOA", "MSOA", "LAD") for part in (areas.codes, areas.names)]
    numbers = np.column_stack([areas.households, areas.counts]).tolist()
    lines = [(*codes, *own) for codes, own in zip(zip(*named, strict=True), numbers, strict=True)]
    return "".join(",".join(map(str, line)) + "\n" for line in (COLUMNS, *lines))


@dataclass(frozen=True)
class Simulator:
    """What tests use: the functions above."""

    World = World
    Days = Days
    Sum = Sum
    study_of = staticmethod(study_of)
    town = staticmethod(town)
    replicate = staticmethod(replicate)
    every_sum = staticmethod(every_sum)
    small = staticmethod(small)
    reader = READER
    presence_replicate = staticmethod(presence_replicate)
    drawn = staticmethod(drawn)
    areas_csv = staticmethod(areas_csv)
    truths = staticmethod(truths)
    noised = staticmethod(noised)
    grouped = staticmethod(grouped)
    topic = TOPIC
    positive = POSITIVE
    basis = staticmethod(lambda: presence.load(BASIS))


@pytest.fixture(scope="session")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def released(tmp_path):
    """Let an office that holds some public tables make the release of a town's shares; gives the study's folder."""

    def made(name: str, areas: AreaTable, sums: dict[str, Sum], tables: dict[str, str] | None = None):
        study = study_of(areas)
        kept = [
            msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if block.model))
            for phase in study.phases
        ]
        study = msgspec.structs.replace(study, name=name, delta=1e-7, phases=tuple(kept))
        settings.save(tmp_path, Settings(address="office.test:1"))
        place = tmp_path / "studies" / name
        place.mkdir(parents=True)
        (place / "areas.csv").write_text(areas_csv(areas))
        for table, text in (tables or {}).items():
            (place / table).write_text(text)
        releasing.release(tmp_path, name, study, sums)
        return place

    return made
