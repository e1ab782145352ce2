# SPDX-License-Identifier: Apache-2.0
"""Coverage, bias and robustness of the presence curves over simulated towns (fixed seeds; bands as in test_shares)."""

import datetime
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation import planning, readers
from skyglow_server.estimation.occupancy import GROUPS, occupancy_estimates

#: Of the towns' rule less is known than of the real one.
PLANNING = replace(planning.PLANNING, rule_deviation=0.008)
#: The same without a chance that its priors are far too narrow: intervals are normal.
NORMAL = replace(PLANNING, presence_multiples=((1.0, 1.0),))
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
    assert blind[-1].deviation > 1.1 * usual[-1].deviation
    basis = simulator.basis()
    meters = sums["profiles"].values[:, :-1].sum(axis=0) / sums["area_scores"].values[:, 0].sum()
    curve = basis.curve(meters.reshape(2, -1)).ravel()
    np.testing.assert_allclose([item.unclipped for item in blind[-96:]], curve, atol=0.02)


def test_a_small_chance_that_the_prior_is_far_too_narrow_does_not_make_intervals_wide(simulator):
    """Where diaries say nothing, a chance in a hundred of twenty times as much would double the deviation."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(3))
    sums["diaries"].values[:] = -3.0
    widths = [
        occupancy_estimates(simulator.study_of(areas), areas, sums, plan)[-1].deviation
        for plan in (NORMAL, replace(PLANNING, presence_multiples=((1.0, 0.99), (20.0, 0.01))))
    ]
    assert widths[0] < widths[1] < 1.2 * widths[0]


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


def test_what_is_not_read_in_other_weeks_of_the_year_is_added(simulator, monkeypatch):
    """To every area alike, by how many of a period's days are of which week."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(3))
    study, rng, found = simulator.study_of(areas), np.random.default_rng(7), []
    season, courses = rng.normal(0, 0.01, (52, 2)), rng.normal(0, 1, (2, 2, 48))
    reader = replace(simulator.reader, season=season, courses=courses)
    monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
    sure = replace(PLANNING, presence_model_deviation=1e-9, rule_deviation=1e-9)
    for start in (datetime.date(2026, 3, 9), datetime.date(2026, 6, 18)):
        period = msgspec.structs.replace(study.period, start=start, days=14)
        items = occupancy_estimates(msgspec.structs.replace(study, period=period), areas, sums, sure)
        found.append(np.array([item.unclipped for item in items]).reshape(-1, 2, 48))
    moved = (4 * season[14] + 7 * season[15] + 3 * season[16]) / 14 - season[:2].mean(axis=0)
    added = moved[0] * courses[0] + moved[1] * courses[1]
    np.testing.assert_allclose(found[1] - found[0], np.broadcast_to(added, found[0].shape), atol=1e-6)


def test_areas_differ_by_as_much_more_as_is_known_of_the_reader(simulator, monkeypatch):
    """With a slope of 1.3 areas' curves lie so much farther from the district's, and their noise is so much wider."""
    areas, _, sums = simulator.presence_replicate(replace(simulator.Days(), area=0.04), np.random.default_rng(4))
    first = []
    for slope in (1.0, 1.3):
        reader = replace(simulator.reader, slope=np.full((2, 4), slope))
        monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
        found = occupancy_estimates(simulator.study_of(areas), areas, sums, PLANNING)
        curves = np.array([item.unclipped for item in found]).reshape(-1, 2, len(GROUPS) // 2)
        own = simulator.basis().project(curves)[:, 0, 0]
        first.append((own[:-1] - own[-1], found[22].parts["privacy noise of areas"]))
    (plain, noise), (steep, more_noise) = first
    np.testing.assert_allclose(steep / plain, 1.3, rtol=0.05)
    assert more_noise / noise == pytest.approx(1.3**2, rel=0.1)


def test_what_kinds_of_homes_do_beyond_what_is_read_is_added(simulator, monkeypatch):
    """To every area by how much more of each kind it has than is usual; so that levels agree, and with its doubt."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(5))
    rng = np.random.default_rng(6)
    unread = np.concatenate([rng.normal(0, 0.01, (1, 2, 48)), rng.normal(0, 0.1, (7, 2, 48))])
    found = {}
    for known in (0 * unread, unread):
        reader = replace(simulator.reader, unread=known)
        monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
        items = occupancy_estimates(simulator.study_of(areas), areas, sums, NORMAL)
        found[known.any()] = np.array([(i.unclipped, i.parts["what meters do not show"]) for i in items])
    more = areas.counts / areas.counts.sum(axis=1, keepdims=True) - simulator.reader.usual[:6]
    more = np.vstack([more, np.average(more, axis=0, weights=areas.households)])
    added = (found[True] - found[False])[:, 0].reshape(len(more), 96)
    wanted = (unread[0] + np.tensordot(more, unread[1:7], axes=1)).reshape(len(more), 96)
    apart = wanted - added  # diaries say what they say: all areas are moved alike, within what components express
    np.testing.assert_allclose(apart, np.broadcast_to(apart[-1], apart.shape), rtol=0, atol=1e-6)
    basis = simulator.basis()
    coefficients = basis.difference(apart[-1].reshape(2, 48))
    np.testing.assert_allclose(basis.curve(coefficients) - basis.mean, apart[-1].reshape(2, 48), rtol=0, atol=1e-9)
    value, part = found[True].T.reshape(2, len(more), 96)
    homes = np.append(areas.households, areas.households.sum())
    doubt = PLANNING.unread_deviation**2 * np.square(unread[1:]).mean(axis=0).ravel()
    assert (part > np.outer(np.square(more).sum(axis=1), doubt)).all()
    alone = part - np.outer(np.square(more).sum(axis=1), doubt)
    own = np.append(np.ones(len(areas.households)), np.square(areas.households).sum() / homes[-1] ** 2)
    expected = 0.4**2 / homes + 0.012**2 * own + PLANNING.unseen_everywhere**2
    np.testing.assert_allclose(alone, expected[:, None] * np.clip(value * (1 - value), 0.0196, None), rtol=1e-6)


def test_of_what_sets_areas_apart_only_what_is_true_is_in_an_interval(simulator, monkeypatch):
    """Weekdays and weekends each by their own part; nothing else moves."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(7))
    found = []
    for own in ([1.0, 1.0], [0.9, 0.6]):
        reader = replace(simulator.reader, own=np.array(own))
        monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
        found.append(occupancy_estimates(simulator.study_of(areas), areas, sums, NORMAL))
    whole, part = ([item.parts["area model"] for item in items] for items in found)
    assert min(whole) > 0
    np.testing.assert_allclose(
        np.divide(part, whole).reshape(-1, 96), np.tile(np.repeat([0.81, 0.36], 48), (len(areas.households) + 1, 1))
    )
    for one, other in zip(*found, strict=True):
        assert one.unclipped == other.unclipped
        noise = one.parts["privacy noise of areas"]
        assert noise == pytest.approx(other.parts["privacy noise of areas"])


def test_an_area_where_the_old_census_found_nobody_has_everybodys_kinds(simulator):
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(8))
    counts = areas.counts.copy()
    counts[2] = 0
    usual = replace(areas, counts=np.where(counts.any(axis=1, keepdims=True), counts, counts.sum(axis=0)))
    found, wanted = (
        [item.unclipped for item in occupancy_estimates(simulator.study_of(one), one, sums, PLANNING)]
        for one in (replace(areas, counts=counts), usual)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_what_is_not_known_of_homes_beyond_the_bound_is_in_every_interval(simulator, monkeypatch):
    """Where noise drowns the sum of what lies beyond, with the variance of the prior, along an empty home's curve."""
    areas, _, sums = simulator.presence_replicate(simulator.Days(), np.random.default_rng(6))
    drowned = np.r_[sums["profiles"].deviation[:-1], 1e9]
    sums = {**sums, "profiles": replace(sums["profiles"], deviation=drowned)}
    reader = replace(simulator.reader, beyond=np.array([0.02, 0.0]))
    monkeypatch.setattr(readers, "READERS", dict.fromkeys(readers.READERS, reader))
    found = occupancy_estimates(simulator.study_of(areas, bounds={"area_profile": 0.3}), areas, sums, NORMAL)
    basis = simulator.basis()
    length = np.linalg.norm(basis.empty)
    expected = (length - 0.3) * 0.02
    variance = (PLANNING.presence_beyond_deviation * expected) ** 2
    effect = (basis.curve(basis.empty / length) - basis.mean).ravel()
    for own in (found[:96], found[-96:]):
        parts = [item.parts["bound on profiles"] for item in own]
        np.testing.assert_allclose(parts, variance * effect**2, rtol=1e-6, atol=1e-12)
        assert all(item.deviation**2 >= item.parts["bound on profiles"] for item in own)
