# SPDX-License-Identifier: Apache-2.0
"""Which homes a round takes, and what that costs: one object says both, so that they cannot come apart.

A sampler is made from the signed study alone. The gate asks it for the homes of a round and for the event it charges;
plans, rehearsals and audits ask it for the same events. Nothing it draws ever leaves: neither a sample nor its size.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.study import Phase, Study
from skyglow_shared.vocabulary import OF_THE_PANEL

Mask = NDArray[np.bool_]
Cohort = Literal["", "panel", "others"]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`count` releases, each a Gaussian mechanism on a secret sample of the households.

    Attributes
    ----------
    noise_multiplier : float
        Noise over sensitivity; several blocks of one round are one mechanism, see `sampler_of`.
    sampling_rate : float
        Probability that a household is in a round's sample; 1 = no sampling.
    count : int
        How often it is released; a later round of an epoch that is charged already counts 0.
    numbers : int
        How many noised numbers one release holds: each adds its sampler's distance to delta.
    epoch : int
        Rounds that one release is made of, each household in exactly one of them; 1 = one round, a Poisson sample.
    distance : float
        Total variation between one release and the mechanism it is accounted as; taken off delta.
    cohort : str
        Which homes it may be of: ``panel``, ``others``, or all (empty). Through a study a home is in one of the two.
    """

    noise_multiplier: float
    sampling_rate: float
    count: int
    numbers: int
    epoch: int = 1
    distance: float = 0.0
    cohort: Cohort = ""


@dataclass(frozen=True, slots=True)
class Poisson:
    """Each home by itself, afresh each round, with the phase's chance.

    Attributes
    ----------
    round : Event
        One round.
    """

    round: Event

    @property
    def epoch(self) -> int:
        """Rounds that are drawn together."""
        return 1

    def members(self, secret: bytes, pseudonyms: NDArray[np.uint8], round_: int) -> Mask:
        """Which homes are in a round; see `poisson_sample`."""
        del round_
        return poisson_sample(secret, len(pseudonyms), self.round.sampling_rate)

    def event(self, *, begins: bool = True) -> Event:
        """What a round is charged."""
        del begins
        return self.round

    def events(self, rounds: int) -> Event:
        """What so many rounds are charged."""
        return msgspec.structs.replace(self.round, count=rounds)


@dataclass(frozen=True, slots=True)
class TruncatedPoisson(Poisson):
    """Poisson, but of a sample larger than a public cap only as many homes as the cap, drawn among them.

    Attributes
    ----------
    round : Event
        As it is there; its `distance` bounds the chance of a larger sample.
    largest : int
        The cap.
    homes : int
        Public bound on the homes of a supplier, on which that chance relies. A supplier with more homes is not held to
        the cap: its sample is plain Poisson, and the charge is right for it as well.

    Notes
    -----
    On any homes, a round differs from plain Poisson with probability `distance` at most: by Chernoff's bound for up to
    `homes` of them, not at all for more. So every pair of neighbours is as close as under plain Poisson, up to twice
    that distance, which delta is charged for (`accounting`). What a home pushes out when it enters a full sample, and
    that there was a cap to reach, need no argument of their own. Nor does it if that home is of a panel kept apart and
    the phase is of all others: the distance is taken off delta whatever cohort an event is of.
    """

    round: Event
    largest: int
    homes: int

    def members(self, secret: bytes, pseudonyms: NDArray[np.uint8], round_: int) -> Mask:
        """Which homes are in a round: of too many those with the smallest words."""
        del round_
        words = ByteStream(secret).words(len(pseudonyms))
        chosen = words < _threshold(self.round.sampling_rate)
        if chosen.sum() > self.largest and len(pseudonyms) <= self.homes:
            chosen = np.zeros(len(words), dtype=np.bool_)
            chosen[np.argpartition(words, self.largest)[: self.largest]] = True
        return chosen


@dataclass(frozen=True, slots=True)
class RandomAllocation:
    """Each home in exactly one round of every epoch, drawn for itself from the epoch's secret.

    Attributes
    ----------
    whole : Event
        One epoch.

    Notes
    -----
    A home's round is a number that the block cipher makes of the home's own pseudonym under the epoch's secret. So it
    stays what it is when the supplier is started again, or loads other homes beside it, in the middle of an epoch.
    """

    whole: Event

    @property
    def epoch(self) -> int:
        """Rounds that are drawn together."""
        return self.whole.epoch

    def members(self, secret: bytes, pseudonyms: NDArray[np.uint8], round_: int) -> Mask:
        """Which homes are in a round, by the secret of its epoch; see `allocated`."""
        return np.asarray(allocated(secret, pseudonyms, self.epoch) == round_ % self.epoch)

    def event(self, *, begins: bool = True) -> Event:
        """What a round is charged: the first that is answered of an epoch the whole of it, the others nothing more."""
        return msgspec.structs.replace(self.whole, count=int(begins))

    def events(self, rounds: int) -> Event:
        """What so many rounds, of whole epochs, are charged."""
        return msgspec.structs.replace(self.whole, count=-(-rounds // self.epoch))


Sampler = Poisson | RandomAllocation


def sampler_of(study: Study, phase: Phase, numbers: int) -> Sampler:
    """The sampler of a phase.

    Parameters
    ----------
    study : Study
        Gives the public bound on a supplier's homes.
    phase : Phase
    numbers : int
        Noised numbers that one round releases, `layout.round_numbers`.

    Notes
    -----
    The blocks of a round are computed on the same sample, and a home's vectors in all of them are one vector under
    noise that is alike: they are one Gaussian mechanism, of `combined_multiplier`.
    """
    event = Event(combined_multiplier(phase), phase.sampling_rate, 1, numbers, cohort=_cohort(study, phase))
    if phase.sampling == "random_allocation":
        rounds = epoch_of(phase)
        return RandomAllocation(msgspec.structs.replace(event, numbers=rounds * numbers, epoch=rounds))
    if not phase.largest_batch:
        return Poisson(event)
    homes = largest_supplier(study)
    distance = excess(homes, phase.sampling_rate, phase.largest_batch)
    return TruncatedPoisson(msgspec.structs.replace(event, distance=distance), phase.largest_batch, homes)


def combined_multiplier(phase: Phase) -> float:
    """The multiplier of all blocks of a phase as one: that of their common bound, or z of 1/z² = Σ 1/zᵢ²."""
    return phase.noise_multiplier or sum(block.noise_multiplier**-2 for block in phase.blocks) ** -0.5


def _cohort(study: Study, phase: Phase) -> Cohort:
    """Which homes may be in a phase's blocks, where a study keeps its panel apart; all of them otherwise."""
    if not study.panel_apart:
        return ""
    of_panel = {block.source in OF_THE_PANEL for block in phase.blocks}
    return "" if len(of_panel) > 1 else "panel" if of_panel == {True} else "others"


def epoch_of(phase: Phase) -> int:
    """Rounds of an epoch of a random allocation: in how many each home is in one."""
    return round(1 / phase.sampling_rate)


def largest_supplier(study: Study) -> int:
    """Public bound on the homes that any one supplier has in the study."""
    return study.supplier_households or study.households


def excess(homes: int, rate: float, largest: int) -> float:
    """Upper bound on the chance that more than `largest` of `homes` are in a Poisson sample.

    Notes
    -----
    Chernoff & Hoeffding: P(X ≥ k) ≤ exp(-n KL(k/n ‖ q)) for k/n > q, with k = largest + 1.
    """
    if largest >= homes:
        return 0.0
    share = (largest + 1) / homes
    if share <= rate:
        return 1.0
    rest = (1 - share) * math.log((1 - share) / (1 - rate)) if share < 1 else 0.0
    return math.exp(-homes * (share * math.log(share / rate) + rest))


def poisson_sample(secret: bytes, homes: int, rate: float) -> Mask:
    """Which homes are in a round's sample: each by itself with chance `rate`, by one word of the secret's keystream.

    Parameters
    ----------
    secret : bytes
        32 bytes, used for this sample alone.
    homes : int
        Homes in the order of their pseudonyms.
    rate : float

    Returns
    -------
    ndarray of bool, shape (homes,)

    Privacy
    -------
    Neither the sample nor its size may leave: the charge counts on the sample being secret. The chance is `rate`
    rounded down to a multiple of 2⁻⁶⁴, never more.
    """
    if rate >= 1:
        return np.ones(homes, dtype=bool)
    return np.asarray(ByteStream(secret).words(homes) < _threshold(rate))


def allocated(secret: bytes, pseudonyms: NDArray[np.uint8], rounds: int) -> NDArray[np.int64]:
    """In which of an epoch's rounds each home is.

    Parameters
    ----------
    secret : bytes
        32 bytes, used for this epoch alone.
    pseudonyms : ndarray of uint8, shape (homes, 16)
        All different.
    rounds : int
        At most 2³¹.

    Returns
    -------
    ndarray of int64, shape (homes,)

    Privacy
    -------
    Neither the allocation nor how many homes a round has may leave. Each home's round is uniform up to 2⁻⁹⁷ or so for
    an adversary who cannot tell AES-256 from a random permutation: 128 bits of it, times `rounds`, less the fraction.
    """
    cipher = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()  # noqa: S305 - one block a home: a function of it
    blocks = np.frombuffer(cipher.update(np.ascontiguousarray(pseudonyms).tobytes()), dtype="<u4").reshape(-1, 4)
    carry = np.zeros(len(blocks), dtype=np.uint64)
    for limb in blocks.T:
        carry = (limb.astype(np.uint64) * np.uint64(rounds) + carry) >> np.uint64(32)
    return carry.astype(np.int64)


def _threshold(rate: float) -> np.uint64:
    return np.uint64(min(int(Fraction(rate) * 2**64), 2**64 - 1))
