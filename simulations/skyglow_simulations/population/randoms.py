# SPDX-License-Identifier: Apache-2.0
"""Random generators keyed by what they are for, so that nothing depends on order, chunks or the number of workers."""

import numpy as np

_WELSH = 10**8  # apart from every English number


def random_of(seed: int, *labels: int) -> np.random.Generator:
    """The generator of one part of one area: the same whatever the order, chunks or number of workers."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *labels])))


def number_of(code: str) -> int:
    """A GSS code as a number: one for each code of England and Wales, of any level."""
    return int(code[1:]) + (_WELSH if code[0] == "W" else 0)


def place_of(number: int) -> int:
    """The number of an LSOA as one below 100,000, no two alike: England has 35,762 at most, Wales 2,040."""
    return number % 10**6 + (50_000 if number >= _WELSH else 0)
