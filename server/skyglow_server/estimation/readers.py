# SPDX-License-Identifier: Apache-2.0
"""What is known of how presence errs as it is read off meters, by an installed model or by the rule.

What reads presence errs in its own way, and hardly by place but for this: it draws homes towards those it was made of,
so that places where people are home more are read too low. So it is measured once, on simulated homes whose truth is
known, and is a public constant of what reads, as its weights are (``readers.json``, by ``tools/measure_readers.py``).
"""

from dataclasses import dataclass, replace
from importlib import resources

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError
from skyglow_shared.models.presence import PresenceBasis
from skyglow_shared.study import Study

Array = NDArray[np.float64]
RULE, INSTALLED = "rule", "presence_model_v1"


@dataclass(frozen=True, slots=True)
class Reader:
    """How far off presence is by one reader, in coefficients of a basis.

    Attributes
    ----------
    gap : ndarray, shape (2, K)
        Mean of the share of days somebody is home, less what is read, weekday and weekend, where the mean of what is
        read is `at`.
    at : ndarray, shape (2, K)
    slope : ndarray, shape (2, K)
        How much the truth goes with what is read, from home to home.
    tilt : ndarray, shape (2, K)
        How much more it is, from area to area, for each unit that the first of a weekday lies higher: what all homes of
        an area have in common draws a model towards the homes it was made of.
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
    """

    gap: Array
    at: Array
    slope: Array
    tilt: Array
    profile_deviation: Array
    diary_deviation: Array
    short: Array
    beyond: Array
    cut: Array
    moved: float
    lost: float
    axes: Array
    kinds: Array

    @property
    def lengths(self) -> Array:
        """Sd between homes of a kind along each axis [2 K]."""
        return np.asarray(np.linalg.norm(self.axes, axis=(1, 2)))

    @property
    def directions(self) -> Array:
        """Axes [2 K, 2 K] of length one, one a row, at right angles to the last digit."""
        rows, _, columns = np.linalg.svd(self.axes.reshape(len(self.axes), -1) / self.lengths[:, None])
        return np.asarray(rows @ columns)

    @property
    def effects(self) -> Array:
        """Of kinds of homes, along the axes [7, 2 K]."""
        return np.asarray(self.kinds.reshape(len(self.kinds), -1) @ self.directions.T)

    def unknown(self) -> "Reader":
        """The same of a reader of the same kind that a study has trained: nothing is known of its mean."""
        nothing = np.zeros_like(self.gap)
        return replace(self, gap=nothing, tilt=nothing, slope=nothing + 1)

    def gap_at(self, read: Array) -> Array:
        """ρ0 [2, K] where the mean of what is read is [2, K]."""
        return np.asarray(self.gap - (read - self.at) + self.carried(read - self.at))

    def carried(self, read: Array) -> Array:
        """What differences [..., 2, K] in what is read of areas say of differences in the truth."""
        return np.asarray(self.slope * read + self.tilt * read[..., :1, :1])

    def beyond_at(self, held: Array) -> Array:
        """`beyond` where the mean of what is held lies so far along an empty home's; some homes always stand empty."""
        usual, farther = self.beyond
        return np.maximum(usual + farther * held, usual / 4)

    def sent(self, read: Array, lack: float) -> tuple[Array, Array, float]:
        """What is known of diaries less meters as homes send them, held to a bound that lacks so much.

        Returns
        -------
        tuple of ndarray, ndarray, float
            Their mean [2, K] where that of what is read is [2, K], what of it the bound cuts off everywhere, and the
            share that it leaves of what the mean lies elsewhere than is known.
        """
        cut = self.cut * lack
        return self.gap - cut + (1 - self.moved * lack) * (self.gap_at(read) - self.gap), cut, 1 - self.lost * lack


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
    return reader.unknown() if trained else reader


class _File(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    basis: str
    readers: dict[str, Reader]


def _load() -> _File:
    content = (resources.files("skyglow_server.estimation") / "readers.json").read_bytes()
    return msgspec.json.decode(content, type=_File, dec_hook=lambda _, numbers: np.array(numbers))


_FILE = _load()
#: The basis of all coefficients, and what is known of each reader on it.
BASIS, READERS = _FILE.basis, _FILE.readers
