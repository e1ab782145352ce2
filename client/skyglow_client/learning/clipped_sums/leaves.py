# SPDX-License-Identifier: Apache-2.0
"""Cut homes into small groups by their own keys, so that one home more or less changes no other group."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BITS = 64


def leaves(keys: NDArray[np.uint64], most: int) -> Iterator[slice]:
    """The leaves of the binary tree of the keys' leading bits, grown until none has more than `most` homes.

    Parameters
    ----------
    keys : ndarray of uint64, shape (homes,)
        Ascending.
    most : int

    Yields
    ------
    slice
        Neighbouring rows, in order; none is empty.

    Notes
    -----
    A node is cut if and only if it holds more than `most` homes. One home more lies in one leaf; if that grows too
    large, it is cut, over and over until two parts have homes, and each then has at most `most`. Keys are parts of a
    keyed hash, so that more than `most` equal ones do not happen; they would be cut in order.
    """
    nodes, own = [(0, len(keys), _BITS)], keys.data  # whose numbers are Python's: searched sooner than numpy's
    while nodes:
        begin, end, bits = nodes.pop()
        if end - begin <= most:
            if end > begin:
                yield slice(begin, end)
        elif bits == 0:
            yield from (slice(place, min(place + most, end)) for place in range(begin, end, most))
        else:
            first = own[begin] >> bits << bits
            middle = bisect_left(own, first + (1 << bits - 1), begin, end)
            nodes += [(middle, end, bits - 1), (begin, middle, bits - 1)]
