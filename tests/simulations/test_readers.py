# SPDX-License-Identifier: Apache-2.0
"""What is known of how presence errs, held against simulated homes that it was not measured on."""

import datetime

import msgspec
import numpy as np
import pytest

from skyglow_server.estimation.profiles import further_kinds_of, kinds_of
from skyglow_server.estimation.readers import BASIS, READERS, WEEKS, reader_of, weeks_of
from skyglow_shared.errors import StudyError
from skyglow_shared.models import presence
from skyglow_shared.study import Period
from skyglow_simulations.experiment import drafted
from skyglow_simulations.replicates import area_table
from skyglow_simulations.run import Parameters
from skyglow_simulations.stock import make

SCALE = 0.012  # about 1,200 homes of Southampton


@pytest.fixture(scope="module")
def drafts():
    return drafted(Parameters())


def read_by(study, model):
    return msgspec.structs.replace(study, occupancy=msgspec.structs.replace(study.occupancy, model=model))


@pytest.mark.parametrize("model", ["presence_model_v1", ""])
def test_means_and_spreads_of_other_homes_are_as_known(drafts, model):
    """The mean is off by what is known, within four of its errors; spreads within a sixth."""
    census, study = drafts
    study = read_by(study, model)
    basis, reader = presence.load(study.occupancy.basis), reader_of(study)
    stock = make(census, study, seed=77, copies=1, scale=SCALE)
    read = stock.profile.astype(float)
    gap = basis.project(stock.curve) - read
    kinds = np.bincount(stock.area) @ (kinds_of(area_table(census)) - reader.usual) / len(stock.area)
    unread = reader.unread_at(kinds)
    left = gap.mean(axis=0) - reader.gap_at(read.mean(axis=0), basis.difference(unread))
    assert (np.abs(left) < 4 * gap.std(axis=0) / np.sqrt(len(gap)) + 0.001).all()
    apart = stock.curve - basis.curve(reader.slope * read) - unread
    share = stock.curve.mean(axis=0, dtype=float)
    unseen = apart.std(axis=0) / np.sqrt(share * (1 - share))
    assert (np.abs(apart.mean(axis=0)) < 4 * apart.std(axis=0) / np.sqrt(len(gap)) + 0.001).all()
    np.testing.assert_allclose(unseen, reader.unseen, rtol=0.25)
    assert unseen.mean() == pytest.approx(reader.unseen.mean(), rel=0.05)
    np.testing.assert_allclose(read.std(axis=0), reader.profile_deviation, rtol=0.17)
    np.testing.assert_allclose(stock.diary.std(axis=0), reader.diary_deviation, rtol=0.17)


@pytest.mark.parametrize("model", ["presence_model_v1", ""])
def test_homes_of_a_kind_differ_along_the_axes_and_areas_go_with_their_kinds(drafts, model):
    """Spreads along the axes within a sixth, right angles within what 1,200 homes tell, effects within four errors."""
    census, study = drafts
    reader = reader_of(read_by(study, model))
    stock = make(census, read_by(study, model), seed=78, copies=1, scale=SCALE)
    along = stock.profile.astype(float).reshape(len(stock.size), -1) @ reader.directions.T
    kinds = np.eye(stock.composition.max() + 1)[stock.composition]
    within = along - kinds @ (kinds.T @ along / kinds.sum(axis=0)[:, None])
    np.testing.assert_allclose(within.std(axis=0), reader.lengths, rtol=0.17)
    assert np.abs(np.corrcoef(within.T) - np.eye(len(reader.lengths))).max() < 0.2
    expected = (further_kinds_of(area_table(census)) @ reader.effects(11))[stock.area]
    for axis in (0, 1):
        x, y = (values[:, axis] - values[:, axis].mean() for values in (expected, along))
        error = y.std() / np.sqrt(x @ x)
        assert abs((x @ y) / (x @ x) - 1) < 4 * error
        assert error < 0.6


def test_of_everything_that_reads_presence_something_is_known(drafts):
    _, study = drafts
    shape = presence.load(BASIS).components.shape[:2]
    for name in (study.occupancy.model, ""):
        reader = reader_of(read_by(study, name))
        for values in (reader.gap, reader.slope, reader.cut, reader.profile_deviation):
            assert values.shape == shape
        assert reader.axes.shape == (8, *shape)
        assert ((reader.own > 0.7) & (reader.own < 1.2)).all()
        assert (reader.kinds.shape, reader.kinds_and_sizes.shape) == ((7, *shape), (11, *shape))
        np.testing.assert_allclose(reader.directions @ reader.directions.T, np.eye(8), atol=1e-12)
        np.testing.assert_allclose(reader.directions, reader.axes.reshape(8, -1) / reader.lengths[:, None], atol=0.002)
        assert (reader.unread.shape, reader.unseen.shape, reader.usual.shape) == ((8, 2, 48), (2, 48), (7,))
        known = READERS[name or "rule"]
        assert (known.season.shape[0], known.courses.shape[1:]) == (WEEKS, (2, 48))
        np.testing.assert_allclose(known.season[:4].sum(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.square(known.courses).mean(axis=(1, 2)), 1, atol=0.01)
        assert reader.usual[:6].sum() == pytest.approx(1, abs=1e-3)
        sent, cut, left = reader.sent(reader.gap + 0.01, 0.0)
        np.testing.assert_allclose(sent, reader.gap + 0.01)
        assert not cut.any()
        assert left == 1
    assert set(READERS) == {study.occupancy.model, "rule"}


@pytest.mark.parametrize(
    ("start", "days", "weeks"),
    [
        ("2026-03-09", 28, {0: 7, 1: 7, 2: 7, 3: 7}),
        ("2026-03-11", 7, {0: 5, 1: 2}),
        ("2027-03-08", 7, {51: 1, 0: 6}),  # a year has a day more than 52 weeks
        ("2026-02-23", 28, {50: 6, 51: 8, 0: 7, 1: 7}),
        ("2020-09-21", 14, {28: 7, 29: 7}),
    ],
)
def test_every_day_of_a_period_is_of_a_week_that_readers_know(start, days, weeks):
    """Whatever the year, to a day."""
    share = weeks_of(Period(datetime.date.fromisoformat(start), days))
    np.testing.assert_allclose(days * share, [weeks.get(week, 0) for week in range(WEEKS)], atol=1)
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(weeks_of(Period(datetime.date.fromisoformat(start), 365)), 1 / WEEKS, atol=0.006)


@pytest.mark.parametrize("model", ["presence_model_v1", ""])
@pytest.mark.parametrize("start", [datetime.date(2026, 11, 30), datetime.date(2027, 5, 17)])
def test_what_is_not_read_moves_with_the_season_as_known(drafts, start, model):
    """Of the same homes in other weeks, which readers were not measured in: within four errors and a fifth."""
    census, study = drafts
    left, known = [], []
    for asked in (study, msgspec.structs.replace(study, period=Period(start, 28), feature_week=start)):
        reader = reader_of(read_by(asked, model))
        basis, stock = presence.load(BASIS), make(census, read_by(asked, model), seed=79, copies=1, scale=SCALE)
        left.append(stock.curve - basis.curve(reader.slope * stock.profile.astype(float)))
        known.append(reader.unread[0])
    moved, expected = left[1] - left[0], known[1] - known[0]
    error = moved.std(axis=0) / np.sqrt(len(moved))
    assert np.abs(expected).max() > 0.01
    assert (np.abs(moved.mean(axis=0) - expected) < 4 * error + 0.2 * np.abs(expected).max()).all()
    assert np.square(moved.mean(axis=0) - expected).sum() < 0.3 * np.square(moved.mean(axis=0)).sum()


def test_an_unknown_reader_or_basis_is_refused(drafts):
    _, study = drafts
    with pytest.raises(StudyError, match="update the office"):
        reader_of(read_by(study, "presence_model_v0"))
    other = msgspec.structs.replace(study.occupancy, basis="presence_basis_v0")
    with pytest.raises(StudyError, match="update the office"):
        reader_of(msgspec.structs.replace(study, occupancy=other))
