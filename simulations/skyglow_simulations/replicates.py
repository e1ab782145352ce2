# SPDX-License-Identifier: Apache-2.0
"""Many studies of one district in seconds each: homes, scores, panel and noise drawn anew, without readings.

What a study's release and calibration rest on is drawn directly: households by composition as the census has them,
drifted since; scores by composition as models of real homes give them (area under the curve near .76), their means
differing between areas; meters and panel at random. Noise is the study's own at any epsilon and trust mode. Training is
not repeated, so that the scores are as good at every epsilon.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation import AreaTable
from skyglow_server.sums import BlockSum
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.privacy.release import noise_deviation
from skyglow_shared.study import COMPOSITION_CLASSES, Block, Study
from skyglow_simulations.population.census import Census

Array = NDArray[np.float64]

_SOURCES = ("area_score", "class_score", "area_label")


@dataclass(frozen=True, slots=True)
class World:
    """How a district's homes are made; standard deviations of drifts on the logit scale.

    Attributes
    ----------
    drifts : tuple of float
        Of the district, its MSOAs and its LSOAs since the census.
    mix_drift : float
        Of each composition's share, besides.
    means : ndarray, shape (6,)
        Mean score by composition; `score_deviation` within, `area_deviation` of an area's own mean.
    metered, panel : float
        Share of homes with a meter; share of homes surveyed, of which half calibrate.
    permuted : bool
        The model was trained on labels of other homes: scores have nothing to do with composition.
    """

    drifts: tuple[float, float, float] = (0.10, 0.12, 0.20)
    mix_drift: float = 0.15
    means: Array = field(default_factory=lambda: np.array([0.39, -0.05, -0.30, -0.28, -0.36, -0.25]))
    score_deviation: float = 0.5
    area_deviation: float = 0.02
    metered: float = 0.75
    panel: float = 0.05
    permuted: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """One replicate.

    Attributes
    ----------
    truth : ndarray, shape (A,)
        Share of positive homes, all homes.
    exact : mapping of source to ndarray
        Sums before noise.
    called : ndarray, shape (A,)
        Share of metered homes that score above zero: classify and count.
    caught, mistaken : float
        Share of the calibration panel's positive and other homes that do.
    """

    truth: Array
    exact: Mapping[str, Array]
    called: Array
    caught: float
    mistaken: float

    @property
    def adjusted(self) -> Array:
        """Classify and count, corrected by the panel's rates (Forman 2008); held to [0, 1]."""
        return np.clip((self.called - self.mistaken) / max(self.caught - self.mistaken, 1e-3), 0.0, 1.0)


def area_table(census: Census) -> AreaTable:
    """The public table of a census's areas, as many households today as then."""
    codes = {
        "LSOA": tuple(area.lsoa for area in census.areas),
        "MSOA": tuple(area.msoa for area in census.areas),
        "LAD": tuple(area.lad for area in census.areas),
    }
    names = {level: tuple(census.names[code] for code in column) for level, column in codes.items()}
    counts = census.classes.astype(np.float64)
    return AreaTable(codes, names, counts.sum(axis=1), counts)  # type: ignore[arg-type]


def shares_alone(study: Study) -> Study:
    """The study without its occupancy blocks, which are not drawn here; for estimation alone."""
    phases = (
        msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if block.source in _SOURCES))
        for phase in study.phases
    )
    return msgspec.structs.replace(study, phases=tuple(phase for phase in phases if phase.blocks))


def draw(world: World, areas: AreaTable, positive: NDArray[np.bool_], rng: np.random.Generator) -> Drawn:
    """Draw today's homes and their exact sums."""
    size = areas.households.astype(int)
    composition = np.array(
        [rng.multinomial(n, q) for n, q in zip(size, _mix(world, areas, positive, rng), strict=True)]
    )
    area = np.repeat(np.arange(size.size), size)
    kind = np.repeat(np.tile(np.arange(len(positive)), size.size), composition.ravel())
    local = rng.normal(0, world.area_deviation, composition.shape)
    seen = rng.permutation(kind) if world.permuted else kind
    score = world.means[seen] + local[area, kind] + rng.normal(0, world.score_deviation, kind.size)
    score = np.clip(score, -1, 1)
    metered = np.flatnonzero(rng.random(kind.size) < world.metered)
    panel = rng.choice(metered, round(world.panel * kind.size / 2), replace=False)
    label = kind[panel]
    _, msoa = np.unique(np.array(areas.codes["MSOA"]), return_inverse=True)
    homes = np.bincount(area[metered], minlength=size.size)
    high, truly = score > 0, positive[label]
    return Drawn(
        composition @ positive / size,
        {
            "area_score": _grouped(area[metered], size.size, score[metered]),
            "class_score": _grouped(label, len(positive), score[panel], score[panel] ** 2),
            "area_label": _grouped(msoa[area[panel]], int(msoa.max()) + 1, truly),
        },
        np.bincount(area[metered], high[metered], minlength=size.size) / np.maximum(homes, 1),
        float(high[panel][truly].mean()),
        float(high[panel][~truly].mean()),
    )


def _mix(world: World, areas: AreaTable, positive: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Today's composition of every area [A, 6]: the census's, with classes and shares drifted."""
    overall = areas.counts.sum(axis=0) / areas.counts.sum()
    mix = (areas.counts + overall) * np.exp(rng.normal(0, world.mix_drift, areas.counts.shape))
    mix /= mix.sum(axis=1, keepdims=True)
    share = mix @ positive
    _, msoa = np.unique(np.array(areas.codes["MSOA"]), return_inverse=True)
    lad_sd, msoa_sd, lsoa_sd = world.drifts
    drift = rng.normal(0, lad_sd) + rng.normal(0, msoa_sd, msoa.max() + 1)[msoa] + rng.normal(0, lsoa_sd, share.size)
    new = 1 / (1 + np.exp(-(np.log(share / (1 - share)) + drift)))
    mix = np.where(positive, mix * (new / share)[:, None], mix * ((1 - new) / (1 - share))[:, None])
    return np.asarray(mix / mix.sum(axis=1, keepdims=True))


def _grouped(group: NDArray[np.intp], groups: int, *columns: NDArray[np.generic]) -> Array:
    ones = np.ones(group.size)
    return np.stack([np.bincount(group, column, groups) for column in (ones, *columns)], axis=1)


def noised(drawn: Drawn, study: Study, rng: np.random.Generator, *, noise: float = 1.0) -> dict[str, BlockSum]:
    """The sums of a study's blocks with the noise of all suppliers' shares; `noise` = 0 leaves it out."""
    found = {}
    for phase in study.phases:
        for block in phase.blocks:
            if block.source in drawn.exact:
                deviation = noise * deviations(study, block)
                exact = drawn.exact[block.source]
                values = exact + deviation * rng.normal(size=exact.shape)
                found[block.name] = BlockSum(values, np.maximum(deviation, 1e-6), len(study.suppliers))
    return found


def deviations(study: Study, block: Block) -> Array:
    """Standard deviation of the noise in a block's sum over all suppliers, by column in real units."""
    whole = noise_deviation(share_block(study, block), len(study.suppliers))
    return np.asarray(whole / column_weights(study, block))


def positives(study: Study) -> NDArray[np.bool_]:
    """Which composition classes the study's first model counts as one."""
    return np.array([name in study.models[0].positive_classes for name in COMPOSITION_CLASSES])
