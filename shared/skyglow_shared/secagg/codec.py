# SPDX-License-Identifier: Apache-2.0
"""Signed integers as words modulo 2^bits, and words as bytes: the narrowest whole bytes that hold the sum."""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError, StudyError

#: Unsigned words, each below 2^bits, in lanes of the least machine width that holds them.
Words: TypeAlias = NDArray[np.unsignedinteger[Any]]


def word_bits(largest: int, suppliers: int) -> int:
    """Bits a word needs for a sum of `suppliers` integers, none beyond ±`largest`; a multiple of eight.

    Raises
    ------
    StudyError
        More than 64.
    """
    bits = -(-((largest * suppliers).bit_length() + 1) // 8) * 8
    if bits > 64:
        raise StudyError("a block's sums need more than 64 bits; use fewer homes a study or more noise")
    return bits


@cache
def lane(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The machine type that words of so many bits are computed in."""
    return np.dtype(f"<u{1 << ((bits - 1) // 8).bit_length()}")


def encode(vector: NDArray[np.int64], bits: int, suppliers: int, *, out: Words) -> None:
    """Signed integers as words modulo 2^bits, but for the bits that the lane has beyond these.

    Raises
    ------
    StudyError
        One is too large for a sum of `suppliers` such vectors to be told from its remainder.
    """
    largest = ((1 << (bits - 1)) - 1) // suppliers
    if int(np.maximum.reduce(vector)) > largest or int(np.minimum.reduce(vector)) < -largest:
        raise StudyError("a number is beyond the study's public bounds; raise the households it says it covers")
    np.copyto(out, vector, casting="unsafe")


def decode(words: Words, bits: int) -> NDArray[np.signedinteger[Any]]:
    """The signed integers, from −2^(bits − 1) on, that words stand for, in lanes of the same width."""
    width = lane(bits).itemsize
    shift = 8 * width - bits
    signed = words.view(f"<i{width}")
    return signed << shift >> shift if shift else signed


def reduce(words: Words, bits: int) -> Words:
    """Words modulo 2^bits, in place."""
    kind = lane(bits)
    if bits < 8 * kind.itemsize:
        words &= kind.type((1 << bits) - 1)
    return words


def width(bits: int) -> int:
    """The bytes of a packed word."""
    return -(-bits // 8)


def pack(words: Words, bits: int) -> memoryview:
    """Words as bytes, little-endian, `width` of them a word: the words' own memory, where that is their layout."""
    size, kind = width(bits), words.dtype
    if size == kind.itemsize:
        return words.data.cast("B")
    octets = words.view(np.uint8).reshape(words.size, kind.itemsize)
    packed = np.empty((words.size, size), dtype=np.uint8)
    for place in range(size):  # three times as fast as a copy of rows of a few bytes
        packed[:, place] = octets[:, place]
    return packed.data.cast("B")


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> Words:
    """The `count` words that so many bytes hold, but for the bits that the lane has beyond these.

    Where that is their layout, in the same memory; else the bytes are followed by more, for as wide as a lane.
    """
    size, kind = width(bits), lane(bits)
    if size == kind.itemsize:
        return packed[: count * size].view(kind)
    return np.ndarray(count, dtype=kind, buffer=packed, strides=(size,))


def check_length(content: memoryview, count: int, bits: int) -> None:
    """ProtocolError unless bytes hold exactly `count` words."""
    if len(content) != count * width(bits):
        raise ProtocolError("a masked vector is longer or shorter than the study's; drop it")
