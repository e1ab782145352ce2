# SPDX-License-Identifier: Apache-2.0
"""Masks: AES-256-CTR keystreams as words, put on and taken off at the speed of the keystream.

Vectors go through part by part: a part stays in the processor's cache while all that is done to it is done.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from skyglow_shared.secagg import codec
from skyglow_shared.secagg.codec import Words

_CHUNK_BYTES = 1 << 17
_BLOCK_BYTES = 16


def put_on(
    vector: NDArray[np.int64], bits: int, suppliers: int, *, plus: Iterable[bytes], minus: Iterable[bytes]
) -> Words:
    """Signed integers as words modulo 2^bits, with the masks of some keys added and those of others subtracted.

    Parameters
    ----------
    vector : ndarray of int64, shape (words,)
    bits, suppliers : int
        See `codec.encode`.
    plus, minus : iterable of bytes
        256-bit keys, none of which is used for anything else.

    Raises
    ------
    StudyError
        See `codec.encode`.

    Privacy
    -------
    A mask is uniform modulo 2^bits for whoever lacks its key: words masked by it say nothing about themselves.

    Notes
    -----
    A word takes as much keystream as its lane has bytes. Fewer would do where `bits` are fewer, but to lay them out
    into lanes takes longer than the cipher does.
    """
    words = np.empty(vector.size, dtype=codec.lane(bits))
    masks = _Masks(words.dtype, plus, minus)
    for span in _spans(words.size, words.itemsize):
        part = words[span]
        codec.encode(vector[span], bits, suppliers, out=part)
        masks.apply(part)
        codec.reduce(part, bits)
    return words


def taken_off(
    masked: Sequence[memoryview], count: int, bits: int, *, plus: Iterable[bytes], minus: Iterable[bytes]
) -> NDArray[np.int64]:
    """The sum of masked vectors, with the masks of some keys added and those of others subtracted, as signed integers.

    Parameters
    ----------
    masked : sequence of memoryview
        Words as `codec.pack` gives them.
    count, bits : int
        How many words each has, and of how many bits.
    plus, minus : iterable of bytes

    Returns
    -------
    ndarray of int64, shape (count,)
    """
    numbers, kind, width = np.empty(count, dtype=np.int64), codec.lane(bits), bits // 8
    contents = [np.frombuffer(one, dtype=np.uint8) for one in masked]
    masks, total = _Masks(kind, plus, minus), np.empty(_CHUNK_BYTES // kind.itemsize, dtype=kind)
    for span in _spans(count, kind.itemsize):
        size, octets = span.stop - span.start, slice(span.start * width, span.stop * width)
        part, (first, *others) = total[:size], (codec.unpack(one[octets], size, bits) for one in contents)
        np.copyto(part, first)
        for one in others:
            part += one
        masks.apply(part)
        numbers[span] = codec.decode(codec.reduce(part, bits), bits)
    return numbers


class _Masks:
    """The keystreams of some keys, each of which is read from its start on and once."""

    def __init__(self, kind: np.dtype[np.unsignedinteger], plus: Iterable[bytes], minus: Iterable[bytes]) -> None:
        self._streams = [(_keystream(key), np.add) for key in plus] + [(_keystream(key), np.subtract) for key in minus]
        self._buffer = bytearray(_CHUNK_BYTES + _BLOCK_BYTES)
        self._mask = np.frombuffer(self._buffer, dtype=kind, count=_CHUNK_BYTES // kind.itemsize)

    def apply(self, part: Words) -> None:
        """Add or subtract the next words of each to those of a part, in place."""
        zeros, mask = _ZEROS[: part.nbytes], self._mask[: part.size]
        for stream, operation in self._streams:
            stream.update_into(zeros, self._buffer)
            operation(part, mask, out=part)


def _spans(count: int, width: int) -> Iterator[slice]:
    step = _CHUNK_BYTES // width
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK_BYTES))).encryptor()


_ZEROS = memoryview(bytes(_CHUNK_BYTES))
