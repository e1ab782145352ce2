# SPDX-License-Identifier: Apache-2.0
"""What few homes have and much depends on: electric heating, a car that charges at home, panels on the roof."""

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import Period
from skyglow_simulations.population import appliances, weather
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.appliances import Floats, lognormal
from skyglow_simulations.population.presence import SLOTS

_HOURS = (np.arange(SLOTS, dtype=np.float32) + 0.5) / 2
_NIGHT = (_HOURS >= 0.5) & (_HOURS < 6.5)
_DAY = (_HOURS >= 6) & (_HOURS < 22.5)


def add(  # noqa: PLR0917 - three aligned arrays, when, what and a generator
    kwh: Floats,
    composition: NDArray[np.int8],
    occupied: NDArray[np.bool_],
    period: Period,
    era: q.Era,
    rng: np.random.Generator,
) -> None:
    """Add heating and cars to kWh [homes, days, 48] and take off what panels make; readings are of what is bought."""
    _heating(kwh, occupied, period, era, rng)
    _cars(kwh, composition <= 1, occupied, era, rng)
    _panels(kwh, period, era, rng)


def _heating(kwh: Floats, occupied: NDArray[np.bool_], period: Period, era: q.Era, rng: np.random.Generator) -> None:
    cold = np.maximum(q.COMFORT_C - weather.temperature(period), 0)[:, None] / 10
    homes = np.flatnonzero(rng.random(len(kwh)) < era.electric_heating)
    strength = lognormal(rng, (len(homes), 1, 1), q.HEATING_LOG_SD) / 2  # half an hour's kWh of one kW
    storage = rng.random(len(homes)) < era.storage
    by_night = q.STORAGE_KW * np.broadcast_to(_NIGHT, occupied.shape[1:])
    by_day = q.HEATING_KW * (occupied[homes] & _DAY)
    kwh[homes] += strength * cold.astype(np.float32) * np.where(storage[:, None, None], by_night, by_day)


def _cars(
    kwh: Floats, older: NDArray[np.bool_], occupied: NDArray[np.bool_], era: q.Era, rng: np.random.Generator
) -> None:
    homes, days = len(kwh), kwh.shape[1]
    tariff = rng.random(homes) < q.CAR_NIGHT_TARIFF
    hour, sd = np.where(tariff, *np.array(q.CAR_AT)[:, :, None])
    hour = hour + sd * rng.standard_normal(homes)
    has = rng.random(homes) < era.electric_car * np.where(older, q.CAR_OLDER, 1)
    home, day = np.nonzero((rng.random((homes, days)) < q.CAR_CHANCE) & has[:, None] & occupied.any(axis=2))
    at = np.maximum(np.floor(2 * hour[home]).astype(np.int64) + day * SLOTS, 0) + home * days * SLOTS
    hours = q.CAR_HOURS * lognormal(rng, (len(home),), 0.5)
    power = np.full(len(home), q.CAR_KW, np.float32)
    appliances.run(kwh, at, np.zeros(len(home), np.float32), power, hours, rng)


def _panels(kwh: Floats, period: Period, era: q.Era, rng: np.random.Generator) -> None:
    homes = np.flatnonzero(rng.random(len(kwh)) < era.solar)
    size = q.SOLAR_KW / 2 * lognormal(rng, (len(homes), 1, 1), q.SOLAR_LOG_SD)
    patchy = lognormal(rng, (len(homes), *kwh.shape[1:]), 0.3)  # passing clouds
    kwh[homes] -= size * weather.sunshine(period) * np.minimum(patchy, 1.4)
    np.maximum(kwh, np.float32(0), out=kwh)
