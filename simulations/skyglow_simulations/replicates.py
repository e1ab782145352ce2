# SPDX-License-Identifier: Apache-2.0
"""Many studies of one district in seconds each: areas, homes, meters, panel and noise drawn anew, without readings.

Homes are taken from a stock of simulated ones (`stock`) for areas whose composition has drifted anew; who has a meter,
with which supplier, and who is surveyed are drawn as everywhere (`population.frame`). Then the study is carried out on
them, training included, by the sweep's rehearsal, whose sums are those of a real run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_client.learning.contributions import labels
from skyglow_client.learning.homes import Homes, members
from skyglow_client.readings.panel import NOT_IN_PANEL
from skyglow_server.coordinator import Outcome
from skyglow_server.estimation import AreaTable
from skyglow_shared.errors import RunError
from skyglow_shared.layout import column_weights, sum_deviation, trains
from skyglow_shared.models import logistic
from skyglow_shared.study import Block, Study
from skyglow_simulations.frontier.levels import mapped
from skyglow_simulations.frontier.rehearsal import Party, rehearse
from skyglow_simulations.population import frame, households
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.randoms import number_of
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.stock import Stock

Array = NDArray[np.float64]
Lie = Literal["", "scores", "panel"]


@dataclass(frozen=True, slots=True)
class World:
    """What all draws of a district have in common.

    Attributes
    ----------
    census : Census
    gaps : frame.Amounts
        How far homes are not missing at random.
    panel : float
        Share of homes surveyed, of which half calibrate.
    scale : float
        Share of every area's households.
    lie : str
        ``scores``: readings are other homes', so that scores say nothing; ``panel``: the panel's answers are other
        panel homes', and the model is not trained on them.
    """

    census: Census
    gaps: frame.Amounts = frame.EVEN
    panel: float = 0.05
    scale: float = 1.0
    lie: Lie = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One district's homes.

    Attributes
    ----------
    areas : AreaTable
    shares : mapping of str to ndarray of float64, shape (A,)
        True shares of all homes by topic.
    occupied : ndarray of float64, shape (A, 96)
        True shares occupied of all homes, by slot.
    parties : sequence of Party
        The suppliers' homes.
    """

    areas: AreaTable
    shares: Mapping[str, Array]
    occupied: Array
    parties: Sequence[Party]


def area_table(census: Census) -> AreaTable:
    """The public table of a census's areas, as many households today as then."""
    codes = {
        "LSOA": tuple(area.lsoa for area in census.areas),
        "MSOA": tuple(area.msoa for area in census.areas),
        "LAD": tuple(area.lad for area in census.areas),
    }
    names = {level: tuple(census.names[code] for code in column) for level, column in codes.items()}
    counts, sizes = census.classes.astype(np.float64), census.sizes.astype(np.float64)
    return AreaTable(codes, names, counts.sum(axis=1), counts, sizes, census.employed)  # type: ignore[arg-type]


def draw(world: World, stock: Stock, study: Study, seed: int) -> Drawn:
    """Draw today's homes of every area, their meters and the panel; RunError if the study wants their half-hours."""
    if study.presence_model is not None or any(block.source == "area_use" for block in study.blocks):
        raise RunError("a stock keeps no half-hours to train on or to add up; use a study of shares and curves alone")
    rng, nobody = np.random.default_rng(seed), np.zeros(0, np.int64)
    plans, rows = households.plan_areas(world.census, scale=world.scale, seed=seed), stock.rows()
    picked = [stock.pick(plan, rows, rng) for plan in plans]
    residents = [
        households.Households(stock.composition[own], stock.size[own], nobody, nobody.astype(np.int8)) for own in picked
    ]
    frames, survey = _asked(world, study, residents, seed, rng)
    home, size = np.concatenate(picked), np.array([len(own) for own in picked])
    lsoa = np.repeat(np.arange(len(picked)), size)
    supplier = np.concatenate([np.where(one.postcode < 0, -1, one.supplier) for one in frames])
    truly = stock.answers(home)
    asked = {"composition", *(model.question for model in study.answer_models)}
    answers = survey.answers(truly).items()
    said = members({name: np.where(survey.panel, given, NOT_IN_PANEL) for name, given in answers if name in asked})
    if world.lie == "panel":
        own = np.flatnonzero((said["composition"] >= 0) & (supplier >= 0))
        others = rng.permutation(own)
        for given in said.values():
            given[own] = given[others]
    shown = rng.permutation(home) if world.lie == "scores" else home
    keeps = np.stack([survey.weekday >= 0, survey.weekend >= 0], axis=1)
    _, msoa = np.unique([area.msoa for area in study.areas], return_inverse=True)
    parties = []
    for index, entry in enumerate(study.suppliers):
        own = np.flatnonzero(supplier == index)
        homes = Homes(
            pseudonyms=rng.integers(0, 256, (len(own), 16), np.uint8),
            lsoa=lsoa[own],
            msoa=msoa[lsoa[own]].astype(np.int64),
            x={model.name: stock.x[shown[own]].astype(np.float64) for model in study.models},
            profile=stock.profile[home[own]].astype(np.float64),
            metered=np.ones(len(own), np.bool_),
            composition=said["composition"][own],
            answers={question: given[own] for question, given in said.items() if question != "composition"},
            diary=np.where(keeps[own, :, None], stock.diary[home[own]], np.nan).astype(np.float64),
            calibrates=np.zeros(len(own), np.bool_),
        )
        parties.append(Party(entry.name, homes, SeededRandomness(seed, entry.name)))
    starts = np.cumsum(size) - size
    shares = {
        model.name: np.bincount(lsoa, labels(model, truly[model.question]), len(size)) / size
        for model in study.answer_models
    }
    curves = np.add.reduceat(stock.curve[home], starts, axis=0, dtype=np.float64).reshape(len(size), -1)
    table = replace(area_table(world.census), households=size.astype(np.float64))
    return Drawn(table, shares, curves / size[:, None], parties)


def _asked(
    world: World, study: Study, homes: Sequence[households.Households], seed: int, rng: np.random.Generator
) -> tuple[list[frame.Frame], frame.Survey]:
    """Who has a meter and who is surveyed, area by area."""
    kinds, frames, surveys = frame.diary_days(study.period), [], []
    for area, own in zip(world.census.areas, homes, strict=True):
        market = frame.market_of(seed, number_of(area.lad), world.gaps)
        frames.append(frame.draw_frame(own, number_of(area.lsoa), study.period.days, market, world.gaps, rng))
        surveys.append(frame.draw_survey(own.composition, kinds, world.panel, world.gaps, rng))
    return frames, frame.Survey.joined(surveys)


def carried_out(drawn: Drawn, studies: Sequence[Study]) -> list[Outcome]:
    """What the office gets from studies of these homes."""
    return rehearse(studies, drawn.parties)


def untrained(study: Study) -> Study:
    """The study without the phase that trains; its model stays where it begins, and the whole panel calibrates."""
    phases = (phase for phase in study.phases if not trains(phase))
    return mapped(
        msgspec.structs.replace(study, phases=tuple(phases)),
        lambda block: msgspec.structs.replace(block, counts_trainers=False),
    )


def counted(drawn: Drawn, study: Study, outcome: Outcome, topic: str) -> tuple[Array, Array]:
    """Classify and count, and its form adjusted by the panel's rates (Forman 2008): shares by LSOA [A]."""
    model, areas, weights = study.model(topic), len(study.areas), outcome.models[topic].final
    homes = [party.homes for party in drawn.parties]
    high = np.concatenate([logistic.model_logits(model, weights, one.x[model.name]) > 0 for one in homes])
    lsoa = np.concatenate([one.lsoa for one in homes])
    said = np.concatenate([one.answered(model.question) for one in homes])
    called = np.bincount(lsoa, high, areas) / np.maximum(np.bincount(lsoa, minlength=areas), 1)
    truly = labels(model, said) > 0
    caught, mistaken = (float(high[(said >= 0) & group].mean()) for group in (truly, ~truly))
    return called, np.clip((called - mistaken) / max(caught - mistaken, 1e-3), 0.0, 1.0)


def deviations(study: Study, block: Block) -> Array:
    """Standard deviation of the noise in a block's sum over all suppliers, by column in real units."""
    return np.asarray(sum_deviation(study, block, len(study.suppliers), 0) / column_weights(study, block))
