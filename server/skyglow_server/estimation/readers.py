# SPDX-License-Identifier: Apache-2.0
"""What is known of how presence errs as it is read off meters, by an installed model or by the rule.

What reads presence errs in its own way, and by place as places have other kinds of homes: who sits quietly at night is
read as out, so that where many homes are of people of 66 and over more are at home than is read. And by season: lights
tell on a dark evening who is home. So it is measured once, on simulated homes whose truth is known, and is a public
constant of what reads, as its weights are (``readers.json``, by ``tools/measure_readers.py``).
"""

import datetime
from dataclasses import dataclass, replace
from importlib import resources

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError
from skyglow_shared.models.presence import PresenceBasis
from skyglow_shared.study import Period, Study

Array = NDArray[np.float64]
RULE, INSTALLED = "rule", "presence_model_v1"
#: Of a year, as readers know it.
WEEKS = 52
_YEAR_DAYS = 365.2425


@dataclass(frozen=True, slots=True)
class Reader:
    """How far off presence is by one reader, in coefficients of a basis.

    Attributes
    ----------
    gap : ndarray, shape (2, K)
        Mean of the share of days somebody is home, less what is read, weekday and weekend, where it was measured.
    slope : ndarray, shape (2, K)
        How much the truth goes with what is read, from home to home.
    usual : ndarray, shape (7,)
        Mean old shares of the composition classes, and of residents in employment, of the places where it was measured.
    unread : ndarray, shape (8, 2, 48)
        By how much the share of homes occupied, by half-hour, is above the basis' curve of `slope` times what is read:
        of a place whose kinds of homes are the usual ones, in weather as it is on average; and for each unit by which a
        place has more of each of them.
    courses : ndarray, shape (C, 2, 48)
        Principal ways in which that moves through a year, whatever kinds of homes a place has: root-mean-square 1.
    season : ndarray, shape (52, C)
        How far along each of them, by week of a year of which the first four are those that all else was measured in.
    unseen : ndarray, shape (2, 48)
        Sd, by half-hour, of what is read of one home neither so nor otherwise, in units of sqrt(p (1 - p)) of the share
        p of homes occupied: of coin tosses it would be 1.
    unseen_by_area : float
        Likewise, of what is left of an area's mean beyond which homes there happen to be; of all half-hours alike.
    profile_deviation, diary_deviation : ndarray, shape (2, K)
        Sd between homes of a profile's coefficients, and of those of one day's diary less what is read of that day.
    short : ndarray, shape (2, K)
        What a bound on profiles takes from their mean beside what is given back of homes beyond it, for each unit by
        which it is shorter than an empty home's profile.
    beyond : ndarray, shape (2,)
        How far homes go beyond a bound on profiles along an empty home's, on average, likewise, where the mean of what
        is held lies at zero along it, and how much farther for each unit that this lies higher: the less people are
        home, the more homes stand empty. Good to a quarter of the bound's length.
    cut : ndarray, shape (2, K)
        What a bound on diaries less meters takes from their mean, likewise; good to a quarter of its length.
    moved, lost : float
        Share that it takes, likewise, of what the mean is elsewhere: of what is known to differ from place to place,
        which goes with homes that a meter reads far wrong and a bound shortens, and of anything that all homes share.
    axes : ndarray, shape (2 K, 2, K)
        Principal axes of how homes of one kind differ in what is read, over weekdays and weekends together: at right
        angles to each other, each as long as the sd along it. A home that is out on weekdays is on some weekends too.
    kinds : ndarray, shape (7, 2, K)
        How much more is read, from area to area, for each unit of an area's old share of a composition class, and of
        residents in employment.
    kinds_and_sizes : ndarray, shape (11, 2, K)
        The same beside old shares of households of two, three, four, and five or more people.
    lsoa_deviation, msoa_deviation : ndarray, shape (2 K,)
        Sd along each axis of what the mean profiles of LSOAs of a MSOA, and of MSOAs, further differ by, beside which
        homes there happen to be.
    own : ndarray, shape (2,)
        How much of both, on weekdays and on weekends, is true, as a share of `slope`: of what sets an area apart from
        others of its kinds of homes a part is that its meters are read wrong.
    """

    gap: Array
    slope: Array
    usual: Array
    unread: Array
    courses: Array
    season: Array
    unseen: Array
    unseen_by_area: float
    profile_deviation: Array
    diary_deviation: Array
    short: Array
    beyond: Array
    cut: Array
    moved: float
    lost: float
    axes: Array
    kinds: Array
    kinds_and_sizes: Array
    lsoa_deviation: Array
    msoa_deviation: Array
    own: Array

    @property
    def lengths(self) -> Array:
        """Sd between homes of a kind along each axis [2 K]."""
        return np.asarray(np.linalg.norm(self.axes, axis=(1, 2)))

    @property
    def directions(self) -> Array:
        """Axes [2 K, 2 K] of length one, one a row, at right angles to the last digit."""
        rows, _, columns = np.linalg.svd(self.axes.reshape(len(self.axes), -1) / self.lengths[:, None])
        return np.asarray(rows @ columns)

    def effects(self, number: int) -> Array:
        """Of so many kinds of homes, 6, 7 or with sizes 11, along the axes [number, 2 K]."""
        kinds = self.kinds[:number] if number <= len(self.kinds) else self.kinds_and_sizes
        return np.asarray(kinds.reshape(number, -1) @ self.directions.T)

    def unknown(self) -> "Reader":
        """The same of a reader of the same kind that a study has trained: nothing is known of its mean."""
        unread = np.concatenate([np.zeros_like(self.unread[:1]), self.unread[1:]])
        return replace(self, gap=np.zeros_like(self.gap), slope=np.ones_like(self.slope), unread=unread)

    def during(self, period: Period) -> "Reader":
        """The same of a period in other weeks of the year."""
        unread = self.unread.copy()
        unread[0] += np.tensordot(weeks_of(period) @ self.season, self.courses, axes=1)
        return replace(self, unread=unread, season=np.zeros_like(self.season))

    def unread_at(self, kinds: Array) -> Array:
        """`unread` [..., 2, 48] of places that have so much more of each kind [..., 6 or 7] than is usual."""
        effects = self.unread[1 : 1 + kinds.shape[-1]]
        return np.asarray(self.unread[0] + np.tensordot(kinds, effects, axes=1))

    def gap_at(self, read: Array, unread: Array) -> Array:
        """ρ0 [2, K] where the mean of what is read, and the coefficients of what is not, are [2, K]."""
        return np.asarray(unread + (self.slope - 1) * read)

    def beyond_at(self, held: Array) -> Array:
        """`beyond` where the mean of what is held lies so far along an empty home's; some homes always stand empty."""
        usual, farther = self.beyond
        return np.maximum(usual + farther * held, usual / 4)

    def sent(self, known: Array, lack: float) -> tuple[Array, Array, float]:
        """What is known of diaries less meters as homes send them, held to a bound that lacks so much.

        Returns
        -------
        tuple of ndarray, ndarray, float
            Their mean [2, K] where the known gap is [2, K], what of it the bound cuts off everywhere, and the share
            that it leaves of what the mean lies elsewhere than is known.
        """
        cut = self.cut * lack
        return self.gap - cut + (1 - self.moved * lack) * (known - self.gap), cut, 1 - self.lost * lack


def lack(basis: PresenceBasis, bound: float) -> float:
    """By how much a bound is shorter than the profile of a home that stands empty; 0 if it is not."""
    return max(float(np.linalg.norm(basis.empty)) - bound, 0.0)


def reader_of(study: Study) -> Reader:
    """What is known of what reads presence in a study.

    Raises
    ------
    StudyError
        Nothing is known of it, or not on the study's basis.
    """
    trained = study.presence_model is not None
    reader = READERS.get(INSTALLED if trained else study.occupancy.model or RULE)
    if reader is None or study.occupancy.basis != BASIS:
        raise StudyError("this release does not know how that reader of presence errs on that basis; update the office")
    known = reader.during(study.period)
    return known.unknown() if trained else known


def weeks_of(period: Period) -> Array:
    """Share of a period's days in each week of the year that readers know [52]; the year's last day is of its last."""
    since = (period.start - _FILE.start).days + np.arange(period.days)
    week = np.minimum(since % _YEAR_DAYS // 7, WEEKS - 1).astype(np.int64)
    return np.bincount(week, minlength=WEEKS) / period.days


class _File(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    basis: str
    start: datetime.date
    readers: dict[str, Reader]


def _load() -> _File:
    content = (resources.files("skyglow_server.estimation") / "readers.json").read_bytes()
    return msgspec.json.decode(content, type=_File, dec_hook=lambda _, numbers: np.array(numbers))


_FILE = _load()
#: The basis of all coefficients, and what is known of each reader on it.
BASIS, READERS = _FILE.basis, _FILE.readers
