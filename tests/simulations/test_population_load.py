# SPDX-License-Identifier: Apache-2.0
"""Parts of the load model: energy is kept, nothing reaches another home, weather is one for all."""

import dataclasses
import datetime

import numpy as np
import pytest

from skyglow_shared.study import Period
from skyglow_simulations.population import appliances, equipment, load, presence, standing, weather
from skyglow_simulations.population import load_parameters as q
from skyglow_simulations.population.households import Households

MARCH = Period(datetime.date(2026, 3, 9), 28)
ALL_YEAR = Period(datetime.date(2026, 1, 1), 365)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_block_has_its_energy_and_stays_in_its_home():
    kwh = np.zeros((3, 2, 48), np.float32)
    at = np.array([5, 20, 90, 96 + 95])  # the last begins in the second home's last half-hour
    hours = np.array([0.1, 3.0, 0.4, 6.0], np.float32)
    appliances.run(kwh, at, np.zeros(4, np.float32), np.full(4, 2.0, np.float32), hours, rng())
    assert kwh[0].sum() == pytest.approx(2 * 3.5, rel=1e-4)
    assert 0 < kwh[1].sum() <= 1.0
    assert (kwh[2] == 0).all()
    assert kwh.max() <= 2.0 + 1e-5  # at two kilowatts a half-hour holds one kWh; two blocks may share it
    assert kwh[0].reshape(-1)[22:25] == pytest.approx(1.0)


def test_delays_move_a_block_and_one_past_the_end_is_dropped():
    kwh = np.zeros((2, 1, 48), np.float32)
    at, hours = np.array([10, 47]), np.full(2, 0.25, np.float32)
    appliances.run(kwh, at, np.full(2, 3.0, np.float32), np.ones(2, np.float32), hours, rng())
    assert kwh[0, 0, 16:18].sum() == pytest.approx(0.25, rel=1e-4)
    assert kwh.sum() == pytest.approx(0.25, rel=1e-4)


def test_things_start_as_often_as_said_when_people_are_up_and_never_when_not():
    homes, days = 800, 20
    kwh = np.zeros((homes, days, 48), np.float32)
    up = np.zeros(kwh.shape, np.float32)
    up[:, :, 12:46] = 1
    kettle = q.KETTLE._replace(blocks=(q.Block(60.0, 0.001, 0.0),), own_log_sd=0.0)
    appliances.add(
        kwh, kettle, np.full(homes, 2.0, np.float32), np.zeros(homes, np.float32), up, np.arange(days) > 14, rng()
    )
    mean = np.exp(q.STARTS_LOG_SD**2 / 2)
    assert kwh.sum() / (homes * days * 0.06) == pytest.approx(2 * mean, rel=0.15)
    assert (kwh[:, :, :12] == 0).all()
    assert (kwh[:, :, 47:] == 0).all()


def test_compressors_use_what_they_are_said_to_and_cycle():
    base = standing.base(np.ones(600, np.float32), np.ones(600, np.float32), 4, rng())
    always = q.ALWAYS_MEDIAN * np.exp(q.ALWAYS_LOG_SD**2 / 2)
    cold = (1 + q.SECOND_FRIDGE) * q.FRIDGE_KWH * np.exp(q.FRIDGE_LOG_SD**2 / 2)
    assert base.mean() == pytest.approx(always * (1 - q.SWITCHES_OFF) + cold, rel=0.12)
    flat = base.reshape(600, -1)
    assert np.median(flat.std(axis=1)) > 0.006
    assert np.median(flat.max(axis=1) - flat.min(axis=1)) < 0.1


def test_timers_keep_their_hour():
    kwh = np.zeros((3000, 6, 48), np.float32)
    standing.add_timers(kwh, rng())
    used = (kwh > 0).any(axis=2)
    assert used.any(axis=1).mean() == pytest.approx(q.TIMER_OWNERS, abs=0.03)
    first = np.where(used, (kwh > 0).argmax(axis=2), -1)[used.all(axis=1) & ((kwh > 0).sum(axis=2) < 6).all(axis=1)]
    assert len(first) > 20
    assert (np.ptp(first, axis=1) <= 1).mean() > 0.8


def test_a_day_has_one_weather_whatever_the_period():
    part = slice(67, 67 + 28)
    for of in (weather.temperature, weather.clearness, weather.darkness, weather.sunshine):
        assert np.array_equal(of(ALL_YEAR)[part], of(MARCH))
    warm = weather.temperature(ALL_YEAR)
    assert warm[181:243].mean() - warm[:59].mean() == pytest.approx(12, abs=4)
    assert -8 < warm.min() < warm.max() < 28


def test_light_follows_the_sun_and_the_clock():
    dark, sun = weather.darkness(ALL_YEAR), weather.sunshine(ALL_YEAR)
    assert dark[:, 26].max() == 0
    assert dark[:, :6].min() == 1
    assert dark[354].sum() > dark[171].sum() + 14
    assert (sun[:, :6] == 0).all()
    assert sun[150:210].sum() > 3 * sun[330:].sum() * 60 / 35
    assert 0.5 < sun.max() <= 1
    before, after = dark[86], dark[88]  # clocks go forward on the 29th of March
    assert after[36] < before[36]
    assert [weather.summer_time(datetime.date(2026, *day)) for day in ((3, 28), (3, 29), (10, 24), (10, 25))] == [
        False,
        True,
        True,
        False,
    ]


def test_only_an_era_with_them_has_cars_panels_and_heaters():
    occupied, kinds = np.ones((600, 28, 48), bool), np.full(600, 2, np.int8)
    none = q.Era(electric_heating=0, storage=0, electric_car=0, solar=0)
    for change, more in (({"electric_heating": 1.0}, True), ({"electric_car": 1.0}, True), ({"solar": 1.0}, False)):
        kwh = np.full(occupied.shape, 0.2, np.float32)
        equipment.add(kwh, kinds, occupied, MARCH, none, rng())
        assert (kwh == np.float32(0.2)).all()
        equipment.add(kwh, kinds, occupied, MARCH, none._replace(**change), rng())
        assert (kwh.mean() > 0.25) if more else (0.08 < kwh.mean() < 0.18)
        assert kwh.min() >= 0


def homes_of(count: int) -> Households:
    return Households(np.full(count, 2, np.int8), np.ones(count, np.int8), np.arange(count), np.zeros(count, np.int8))


def test_a_home_with_its_mains_off_reads_zero_and_an_empty_one_only_what_never_sleeps():
    there = presence.simulate(homes_of(300), MARCH, rng())
    off = np.zeros((300, 28), bool)
    off[:100] = True
    nobody = dataclasses.replace(
        there, active=np.zeros_like(there.active), occupied=np.zeros_like(there.occupied), switched_off=off
    )
    lived, empty = (load.simulate(homes_of(300), at, MARCH, rng(4), era=q.TRIAL_2009) for at in (there, nobody))
    assert (empty[:100] == 0).all()
    assert 0 < empty[100:].mean() < 0.6 * lived[100:].mean()


def test_homes_that_stand_empty_for_months_are_few_and_some_are_switched_off():
    there = presence.simulate(homes_of(6000), MARCH, rng())
    nights = ~there.occupied[:, :, 4:8].any(axis=2)
    assert 0.006 < (nights.mean(axis=1) > 0.8).mean() < 0.025
    assert 0.002 < there.switched_off.mean() < 0.014
    assert not there.occupied[there.switched_off].any()
