# SPDX-License-Identifier: Apache-2.0
"""From raw files to sums: one household more or less moves every block by at most what is charged for it."""

import copy

import numpy as np
import polars as pl
import pytest

from skyglow_client.features import build_features
from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.homes import homes_of
from skyglow_client.readings import load_panel
from skyglow_shared.errors import InternalError
from skyglow_shared.layout import block_shape
from skyglow_shared.privacy import release
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import COMPOSITION_CLASSES

NAME = "all_aged_66_plus"
EXTREME = {
    1: np.nan,
    2: 1e30,
    3: 0.0,
    4: 15.0,
    5: -1.0,
    6: np.inf,
    7: 1e-30,
    8: 3.4e38,
}
WEIGHTS = {
    "zero": np.zeros(23),
    "some": np.random.default_rng(4).normal(0, 1, 23),
    "huge": np.random.default_rng(5).normal(0, 1, 23) * 1e300,
}


def homes_without(raw, study, number):
    """The supplier's homes, from its files, without meter `number` (-1: with all)."""
    part = copy.copy(raw)
    part.folder = raw.folder / f"without-{number}"
    if number >= 0:
        part.meters = [row for place, row in enumerate(raw.meters) if place != number]
        part.readings = raw.readings.filter(pl.col("meter_id") != raw.meter(number))
    _, store = part.ingest()
    for name in ("panel.csv", "diaries.csv"):
        rows = pl.read_csv(raw.raw / name, infer_schema=False)
        kept = rows if number < 0 else rows.filter(pl.col("meter_id") != raw.meter(number))
        kept.write_csv(part.raw / name)
    table = build_features(part.store, week_start=study.feature_week)
    panel = load_panel(part.raw, store.pseudonyms, part.key, COMPOSITION_CLASSES)
    return homes_of(study, store, table, panel)


def sums(study, homes, weights):
    found = {}
    for block in study.blocks:
        parts = contributions(study, block, homes, {NAME: weights})
        found[block.name] = release.grouped_sum(parts.vectors, parts.groups, block_shape(study, block)[0], block)
    return found


@pytest.fixture
def raw(town):
    """Homes of every kind: ordinary, empty, absurd, broken."""
    made = copy.copy(town.raw)
    periods = [f"hh{n:02d}" for n in range(1, 51)]
    for number, value in EXTREME.items():
        here = pl.col("meter_id") == made.meter(number)
        made.readings = made.readings.with_columns(
            pl.when(here & pl.col(name).is_not_null()).then(pl.lit(value, dtype=pl.Float32)).otherwise(name).alias(name)
            for name in periods
        )
    made.readings = made.readings.with_columns(
        pl.when(pl.col("meter_id") == made.meter(9)).then(pl.col(name) * 50).otherwise(name).alias(name)
        for name in periods
    )
    return made


def largest_move(study, whole, rest, weights):
    """By block: the Euclidean norm of the change, in steps over the bound in steps."""
    before, after = sums(study, whole, weights), sums(study, rest, weights)
    moves = {}
    for block in study.blocks:
        change = [int(step) for step in (before[block.name] - after[block.name]).ravel()]
        moves[block.name] = sum(step**2 for step in change) / sensitivity_steps(block.noise_multiplier) ** 2
    return moves


def test_one_home_moves_every_block_by_at_most_what_is_charged(town, raw):
    study = town.study()
    whole = homes_without(raw, study, -1)
    most = dict.fromkeys((block.name for block in study.blocks), 0.0)
    for number in range(24):
        rest = homes_without(raw, study, number)
        for weights in WEIGHTS.values():
            for name, move in largest_move(study, whole, rest, weights).items():
                assert move <= 1, (name, number)
                most[name] = max(most[name], move)
    assert all(move > 0.01 for move in most.values()), f"a test that cannot fail: {most}"


def test_other_homes_keep_every_bit_of_theirs(town, raw):
    study = town.study()
    whole, rest = homes_without(raw, study, -1), homes_without(raw, study, 10)
    kept = np.array([any((row == other).all() for other in rest.pseudonyms) for row in whole.pseudonyms])
    assert kept.sum() == len(rest) == len(whole) - 1
    same = whole.take(kept)
    for name in ("lsoa", "msoa", "profile", "metered", "composition", "diary", "calibrates"):
        np.testing.assert_array_equal(getattr(same, name), getattr(rest, name), err_msg=name)
    np.testing.assert_array_equal(same.x[NAME], rest.x[NAME])


def test_without_clipping_the_second_lock_holds_and_without_both_the_bound_is_passed(town, raw, monkeypatch):
    """The test above can fail."""
    study = town.study()
    whole = homes_without(raw, study, -1)
    monkeypatch.setattr(release, "clip_rows", lambda vectors, bound: vectors)
    with pytest.raises(InternalError):
        sums(study, whole, WEIGHTS["some"])

    def unguarded(vectors, block):
        return np.trunc(vectors * (sensitivity_steps(block.noise_multiplier) / block.l2_bound)).astype(np.int64)

    monkeypatch.setattr(release, "quantise", unguarded)
    others = (homes_without(raw, study, number) for number in range(10, 24))
    moves = [largest_move(study, whole, rest, WEIGHTS["some"]) for rest in others]
    assert max(move["gradient"] for move in moves) > 1


def test_a_reading_that_is_no_number_never_reaches_a_sum(town, raw):
    study = town.study()
    homes = homes_without(raw, study, -1)
    assert np.isfinite(homes.profile).all()
    assert np.isfinite(homes.x[NAME]).all()
    for weights in WEIGHTS.values():
        for total in sums(study, homes, weights).values():
            assert np.abs(total).max() < 2**40
