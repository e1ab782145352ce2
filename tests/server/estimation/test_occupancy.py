# SPDX-License-Identifier: Apache-2.0
"""Coverage, bias and robustness of the presence curves over simulated towns (fixed seeds; bands as in test_shares)."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation import readers
from skyglow_server.estimation.occupancy import GROUPS, occupancy_estimates
from skyglow_server.estimation.planning import PLANNING

QUIET = {"area_scores": 0.1, "profiles": 0.05, "diaries": 0.1}


@pytest.fixture(autouse=True)
def _towns(simulator, monkeypatch):
    """Of the towns' way of reading presence no more is known than how homes differ."""
    monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, simulator.reader))


def curves_of(simulator, days, number):
    """Arrays [M + 1, 96] of truth, estimate, deviation and covered; the district last."""
    areas, truth, sums = simulator.presence_replicate(days, np.random.default_rng([7, number]))
    estimates = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    columns = [[e.unclipped, e.deviation, e.lower, e.upper] for e in estimates]
    value, deviation, lower, upper = np.array(columns).reshape(len(truth), len(GROUPS), 4).transpose(2, 0, 1)
    return truth, value, deviation, (lower <= truth) & (truth <= upper)


def study_towns(simulator, days, towns):
    return np.array([curves_of(simulator, days, number) for number in range(towns)], dtype=float).transpose(1, 0, 2, 3)


@pytest.mark.parametrize("noise", [None, QUIET], ids=["noised", "nearly noise-free"])
def test_intervals_cover_and_estimates_are_not_biased(simulator, noise):
    days = simulator.Days() if noise is None else replace(simulator.Days(), noise=noise)
    truth, value, _, covered = study_towns(simulator, days, 30)
    assert covered[:, -1].mean() > 0.90
    assert 0.93 < covered[:, :-1].mean() < 0.999
    assert abs((value - truth).mean()) < 0.01


def test_less_noise_gives_narrower_intervals_and_smaller_errors(simulator):
    noised = study_towns(simulator, simulator.Days(), 6)
    quiet = study_towns(simulator, replace(simulator.Days(), noise=QUIET), 6)
    assert quiet[2].mean() < 0.8 * noised[2].mean()
    assert np.abs(quiet[1] - quiet[0]).mean() < 0.8 * np.abs(noised[1] - noised[0]).mean()


def test_areas_that_differ_are_told_apart(simulator):
    days = replace(simulator.Days(), area=0.04)
    truth, value, _, _ = study_towns(simulator, days, 5)
    own = truth[:, :-1] - truth[:, -1:]
    found = value[:, :-1] - value[:, -1:]
    assert np.corrcoef(own.ravel(), found.ravel())[0, 1] > 0.8


def test_district_is_the_weighted_mean_of_its_areas_and_parts_add_up(simulator):
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(1))
    estimates = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    values = np.array([item.unclipped for item in estimates]).reshape(-1, len(GROUPS))
    np.testing.assert_allclose(values[-1], values[:-1].mean(axis=0))
    assert [item.group for item in estimates[:96]] == list(GROUPS)
    assert GROUPS[22] == "weekday 11:00"
    assert GROUPS[-1] == "weekend 23:30"
    for item in estimates:
        assert sum(item.parts.values()) == pytest.approx(item.deviation**2)


def test_an_area_without_meters_gets_the_towns_curve(simulator):
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(2))
    sums["area_scores"].values[3] = (-4.0, 0.0)
    estimates = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    values = np.array([item.unclipped for item in estimates]).reshape(-1, len(GROUPS))
    assert np.abs(values[3] - values[-1]).max() < 0.02


def test_without_diaries_the_meters_own_curve_stands_with_wide_intervals(simulator):
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(3))
    usual = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    sums["diaries"].values[:] = -3.0
    blind = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    assert blind[-1].deviation > 1.5 * usual[-1].deviation
    basis = simulator.basis()
    meters = sums["profiles"].values[:, :-1].sum(axis=0) / sums["area_scores"].values[:, 0].sum()
    curve = basis.curve(meters.reshape(2, -1)).ravel()
    np.testing.assert_allclose([item.unclipped for item in blind[-96:]], curve, atol=0.02)


def test_less_is_believed_of_a_model_that_the_study_trained_and_of_the_rule(simulator):
    """Of the study's own least: noise may have moved it, and nobody has held it against the truth."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(3))
    study = simulator.study_of(areas)
    own = msgspec.structs.replace(study.models[0], name="own", kind="temporal")
    widths = []
    for model in ("presence_model_v1", "", "own"):
        occupancy = msgspec.structs.replace(study.occupancy, model=model)
        asked = msgspec.structs.replace(study, models=(*study.models, own), occupancy=occupancy)
        found = occupancy_estimates(asked, areas, sums, PLANNING)
        widths.append(np.mean([item.deviation for item in found]))
    assert widths == sorted(widths)
    assert widths[1] > 1.02 * widths[0]


def test_areas_differ_by_as_much_more_as_is_known_of_the_reader(simulator, monkeypatch):
    """With a tilt the first coefficient of areas' weekdays lies so much farther from the district's."""
    areas, _, sums = simulator.presence_replicate(replace(simulator.Days(), area=0.04), np.random.default_rng(4))
    first = []
    for tilt in (0.0, 0.3):
        reader = replace(simulator.reader, tilt=np.array([[tilt, 0, 0, 0], [0, 0, 0, 0]]))
        monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
        found = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
        curves = np.array([item.unclipped for item in found]).reshape(-1, 2, len(GROUPS) // 2)
        own = simulator.basis().project(curves)[:, 0, 0]
        first.append((own[:-1] - own[-1], np.mean([item.parts["privacy noise of areas"] for item in found[:96]])))
    (plain, noise), (tilted, more_noise) = first
    np.testing.assert_allclose(tilted / plain, 1.3, rtol=0.05)
    assert 1.05 < more_noise / noise < 1.8


def test_what_meters_do_not_show_goes_with_homes_and_kinds(simulator):
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(5))
    usual = areas.counts.sum(axis=0)
    counts = np.tile(usual / usual.sum() * 1000, (len(areas.counts), 1))
    counts[0] = [1000, 0, 0, 0, 0, 0]
    homes = np.where(np.arange(len(counts)) == 1, 500.0, areas.households)
    areas = replace(areas, counts=counts, households=homes)
    found = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
    units = [
        found[96 * place].parts["what meters do not show"] / (value * (1 - value))
        for place in range(3)
        for value in [found[96 * place].unclipped]
    ]
    kinds = counts / counts.sum(axis=1, keepdims=True)
    apart = np.square(kinds - np.average(kinds, axis=0, weights=homes)).sum(axis=1)
    plan = PLANNING.for_rule()
    wanted = plan.unseen_by_home**2 / homes + plan.unseen_by_area**2 + plan.unseen_by_mix**2 * apart
    np.testing.assert_allclose(units, (wanted + plan.unseen_everywhere**2)[:3], rtol=1e-6)
    assert units[0] > 2 * units[2]
    assert units[1] > 1.4 * units[2]


def test_what_is_not_known_of_homes_beyond_the_bound_is_in_every_interval(simulator, monkeypatch):
    """Where noise drowns the sum of what lies beyond, with the variance of the prior, along an empty home's curve."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(6))
    drowned = np.r_[sums["profiles"].deviation[:-1], 1e9]
    sums = {**sums, "profiles": replace(sums["profiles"], deviation=drowned)}
    reader = replace(simulator.reader, beyond=np.array([0.02, 0.0]))
    monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
    found = occupancy_estimates(simulator.study_of(areas, bounds={"area_profile": 0.3}), areas, sums, PLANNING)
    basis = simulator.basis()
    length = np.linalg.norm(basis.empty)
    expected = (length - 0.3) * 0.02
    times, chances = np.array(PLANNING.presence_multiples).T
    variance = chances @ (times * PLANNING.presence_beyond_deviation * expected) ** 2
    effect = (basis.curve(basis.empty / length) - basis.mean).ravel()
    for own in (found[:96], found[-96:]):
        parts = [item.parts["bound on profiles"] for item in own]
        np.testing.assert_allclose(parts, variance * effect**2, rtol=1e-6, atol=1e-12)
        assert all(item.deviation**2 >= item.parts["bound on profiles"] for item in own)
