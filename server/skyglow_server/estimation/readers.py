# SPDX-License-Identifier: Apache-2.0
"""What is known of how presence errs as it is read off meters, by an installed model or by the rule.

What reads presence errs in its own way, and hardly by place but for this: it draws homes towards those it was made of,
so that places where people are home more are read too low. So it is measured once, on simulated homes whose truth is
known, and is a public constant of what reads, as its weights are (``tools/measure_readers.py``).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import StudyError
from skyglow_shared.models.presence import PresenceBasis
from skyglow_shared.study import Study

Array = NDArray[np.float64]
_RULE = "rule"
_INSTALLED = "presence_model_v1"


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
    cut : ndarray, shape (2, K)
        What a bound on diaries less meters takes from their mean, likewise; good to a quarter of its length.
    moved, lost : float
        Share that it takes, likewise, of what the mean is elsewhere: of what is known to differ from place to place,
        which goes with homes that a meter reads far wrong and a bound shortens, and of anything that all homes share.
    """

    gap: Array
    at: Array
    slope: Array
    tilt: Array
    profile_deviation: Array
    diary_deviation: Array
    short: Array
    cut: Array
    moved: float
    lost: float

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
    reader = READERS.get(_INSTALLED if trained else study.occupancy.model or _RULE)
    if reader is None or study.occupancy.basis != BASIS:
        raise StudyError("this release does not know how that reader of presence errs on that basis; update the office")
    return reader.unknown() if trained else reader


BASIS = "presence_basis_v2"
#: Coefficients are those of `BASIS`; of homes in five districts.
READERS = {
    _INSTALLED: Reader(
        gap=np.array([[0.0039, -0.0018, 0.0011, -0.0016], [0.0032, 0.0023, 0.0003, -0.0011]]),
        at=np.array([[0.0332, -0.0111, -0.0019, 0.0035], [-0.0023, -0.0007, -0.0015, 0.0018]]),
        slope=np.array([[1.078, 0.996, 0.855, 0.838], [1.081, 0.852, 0.855, 0.839]]),
        tilt=np.array([[0.189, -0.05, -0.016, -0.054], [0.074, 0.077, 0.023, 0.049]]),
        profile_deviation=np.array([[0.1286, 0.0699, 0.0419, 0.0264], [0.0993, 0.0513, 0.0523, 0.0374]]),
        diary_deviation=np.array([[0.0987, 0.0626, 0.0592, 0.0507], [0.094, 0.0622, 0.0584, 0.0485]]),
        short=np.array([[-0.001, 0.0, -0.0002, 0.0005], [-0.0001, 0.0002, 0.0007, -0.0001]]),
        cut=np.array([[-0.0022, -0.0033, 0.0006, 0.0001], [-0.0044, 0.0014, 0.0008, 0.0006]]),
        moved=0.16,
        lost=0.04,
    ),
    _RULE: Reader(
        gap=np.array([[-0.0155, -0.0199, -0.0161, 0.0156], [-0.0257, -0.0261, 0.022, -0.0378]]),
        at=np.array([[0.0516, 0.0074, 0.0151, -0.0135], [0.0266, 0.0273, -0.0232, 0.0384]]),
        slope=np.array([[0.866, 0.705, 0.561, 0.306], [0.791, 0.512, 0.423, 0.629]]),
        tilt=np.array([[0.335, -0.022, -0.019, -0.091], [0.118, 0.063, -0.032, 0.098]]),
        profile_deviation=np.array([[0.1449, 0.0829, 0.0505, 0.0425], [0.1181, 0.0652, 0.0712, 0.0296]]),
        diary_deviation=np.array([[0.1321, 0.1046, 0.0874, 0.0775], [0.1283, 0.0994, 0.1015, 0.0877]]),
        short=np.array([[-0.0021, 0.0022, -0.0001, -0.0011], [-0.0009, -0.0005, -0.0027, 0.0006]]),
        cut=np.array([[-0.0029, -0.0035, 0.0001, 0.0001], [-0.0043, 0.0005, 0.0013, -0.0002]]),
        moved=0.14,
        lost=0.02,
    ),
}
