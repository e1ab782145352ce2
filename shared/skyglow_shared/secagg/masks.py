# SPDX-License-Identifier: Apache-2.0
"""Masks: AES-256 keystreams in counter mode, put on and taken off at the speed of the keystream.

A mask between two suppliers is added to words by one and subtracted by the other: it cancels in their sum. A
supplier's own mask cancels in no sum, and need not add up with anything: it goes over the words' bytes by exclusive or,
as a stream cipher does. So one pass of the cipher reads a vector, and puts that mask on or takes it off.

Vectors go through part by part: a part stays in the processor's cache while all that is done to it is done.

A keystream is what AES-256-GCM encrypts zeros to: AES-256-CTR from the counter's second value on (NIST SP 800-38D).
OpenSSL computes GCM in registers of 512 bits where a processor has them, CTR never: it then takes half as long, though
it authenticates in passing, and else longer. So a process tries both once, and takes the faster way to the same bytes.
No tag is made: whose words they are, and that they are as sent, the envelope's signature says.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from skyglow_shared.secagg import codec
from skyglow_shared.secagg.codec import Words

_CHUNK_BYTES = 3 << 16
_MOST_BYTES = 3 * _CHUNK_BYTES // 2 + 64  # of a part: see `_spans`; with a block to spare
_BLOCK_BYTES = 16
_LINE_BYTES = 64


def put_on(
    vector: NDArray[np.int64], bits: int, suppliers: int, *, own: bytes, plus: Iterable[bytes], minus: Iterable[bytes]
) -> memoryview:
    """Signed integers as packed words modulo 2^bits, under the masks of some keys.

    Parameters
    ----------
    vector : ndarray of int64, shape (words,)
    bits, suppliers : int
        See `codec.encode`.
    own : bytes
        256-bit key of the mask that goes over the packed words by exclusive or.
    plus, minus : iterable of bytes
        Likewise of those that are added to the words, and subtracted. No key is used for anything else.

    Returns
    -------
    memoryview
        Read-only, of as many bytes as `codec.width` says a word has.

    Raises
    ------
    StudyError
        See `codec.encode`.

    Privacy
    -------
    Each mask alone makes the result uniform for whoever lacks its key, whatever is known of the vector and of the
    others: one that is added or subtracted modulo 2^bits, and one that goes over all of these bits.

    Notes
    -----
    A word takes as much keystream of a mask that is added as its lane has bytes. Fewer would do where `bits` are fewer,
    but to lay them out into lanes takes longer than the cipher does.
    """
    kind, width, count = codec.lane(bits), codec.width(bits), vector.size
    packed = np.empty(count * width + _BLOCK_BYTES, dtype=np.uint8)  # what the cipher wants beyond what it writes
    with _scratch(kind, count) as (mask, room):
        masks, stream = _Masks(mask, plus, minus), _keystream(own)
        for span in _spans(count, kind.itemsize):
            part = room[: span.stop - span.start]
            codec.encode(vector[span], bits, suppliers, out=part)
            masks.apply(part)
            words = codec.pack(codec.reduce(part, bits), bits)
            stream.update_into(words, packed[span.start * width :].data)
    return packed[:-_BLOCK_BYTES].data.toreadonly()


def taken_off(
    masked: Sequence[memoryview],
    owns: Sequence[bytes],
    count: int,
    bits: int,
    *,
    plus: Iterable[bytes],
    minus: Iterable[bytes],
) -> NDArray[np.int64]:
    """The sum of masked vectors, without the masks of some keys, as signed integers.

    Parameters
    ----------
    masked : sequence of memoryview
        As `put_on` gives them.
    owns : sequence of bytes
        The key of each one's own mask.
    count, bits : int
        How many words each has, and of how many bits.
    plus, minus : iterable of bytes
        Keys of masks that are added to the sum, and subtracted.

    Returns
    -------
    ndarray of int64, shape (count,)
    """
    numbers, kind, width = np.empty(count, dtype=np.int64), codec.lane(bits), codec.width(bits)
    (first, opening), *others = [(_keystream(own), one) for own, one in zip(owns, masked, strict=True)]
    with _scratch(kind, count) as (mask, total):
        masks, in_place = _Masks(mask, plus, minus), width == kind.itemsize
        for span in _spans(count, kind.itemsize):
            size, octets = span.stop - span.start, slice(span.start * width, span.stop * width)
            part, words = total[:size], codec.unpack(mask, size, bits)
            first.update_into(opening[octets], total.view(np.uint8).data if in_place else mask.data)
            if not in_place:
                np.copyto(part, words)
            for stream, one in others:
                stream.update_into(one[octets], mask.data)
                np.add(part, words, out=part)
            masks.apply(part)
            numbers[span] = codec.decode(codec.reduce(part, bits), bits)
    return numbers


class _Masks:
    """The keystreams of some keys, each of which is read from its start on and once, by way of a buffer."""

    def __init__(self, buffer: NDArray[np.uint8], plus: Iterable[bytes], minus: Iterable[bytes]) -> None:
        self._streams = [(_keystream(key), np.add) for key in plus] + [(_keystream(key), np.subtract) for key in minus]
        self._buffer = buffer

    def apply(self, part: Words) -> None:
        """Add or subtract the next words of each to those of a part, in place."""
        zeros, mask = _ZEROS[: part.nbytes], self._buffer[: part.nbytes].view(part.dtype)
        for stream, operation in self._streams:
            stream.update_into(zeros, self._buffer.data)
            operation(part, mask, out=part)


@contextmanager
def _scratch(kind: np.dtype[np.unsignedinteger], count: int) -> Iterator[tuple[NDArray[np.uint8], Words]]:
    """Room for a mask and for words, of a part of so many at most, wiped afterwards.

    It is the same from call to call: to be given fresh memory takes as long as half a mask.
    """
    room = _rooms.pop() if _rooms else _room()
    used = room[:, : count * kind.itemsize + _BLOCK_BYTES]
    try:
        yield room[0], room[1].view(kind)
    finally:
        used.fill(0)
        _rooms.append(room)


def _room() -> NDArray[np.uint8]:
    """Two rows that each begin where a line of the processor's cache does: sums of others take half as long again."""
    octets = np.zeros(2 * _MOST_BYTES + _LINE_BYTES, dtype=np.uint8)
    start = -octets.ctypes.data % _LINE_BYTES
    return octets[start : start + 2 * _MOST_BYTES].reshape(2, _MOST_BYTES)


def _spans(count: int, width: int) -> Iterator[slice]:
    """Parts of about one size, the last of which is no short one."""
    parts = max(1, round(count * width / _CHUNK_BYTES))
    step = -(-count // (parts * _BLOCK_BYTES)) * _BLOCK_BYTES
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), _fastest()).encryptor()


@cache
def _fastest() -> modes.GCM | modes.CTR:
    """The way to a keystream that takes less time on this processor."""
    return min(_WAYS, key=_seconds)


def _seconds(way: modes.GCM | modes.CTR) -> float:
    stream, room, taken = Cipher(algorithms.AES(bytes(32)), way).encryptor(), bytearray(_MOST_BYTES), []
    for _ in range(_TRIES):
        start = time.perf_counter()
        stream.update_into(_ZEROS[:_CHUNK_BYTES], room)
        taken.append(time.perf_counter() - start)
    return min(taken)


#: Ways to the same keystream. A key makes one, so its nonce says nothing.
_WAYS: tuple[modes.GCM | modes.CTR, ...] = modes.GCM(bytes(12)), modes.CTR((2).to_bytes(_BLOCK_BYTES, "big"))
_TRIES = 5
_ZEROS = memoryview(bytes(_MOST_BYTES))
_rooms: list[NDArray[np.uint8]] = []
