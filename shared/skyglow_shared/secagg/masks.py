# SPDX-License-Identifier: Apache-2.0
"""Masks: AES-256-CTR keystreams as words, added and subtracted at the speed of the keystream."""

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from skyglow_shared.secagg import codec
from skyglow_shared.secagg.codec import Words

_CHUNK_BYTES = 1 << 17  # a part of the words stays in the processor's cache while all masks are added
_BLOCK_BYTES = 16


def apply(words: Words, bits: int, *, plus: Iterable[bytes] = (), minus: Iterable[bytes] = ()) -> Words:
    """Add the masks of some keys to words and subtract those of others, modulo 2^bits, in place.

    Parameters
    ----------
    words : ndarray of unsigned integers, shape (words,), contiguous
    bits : int
    plus, minus : iterable of bytes
        256-bit keys, none of which is used for anything else.

    Privacy
    -------
    A mask is uniform modulo 2^bits for whoever lacks its key: words masked by it say nothing about themselves.

    Notes
    -----
    A word takes as much keystream as its lane has bytes. Fewer would do where `bits` are fewer, but to lay them out
    into lanes takes longer than the cipher does.
    """
    step = _CHUNK_BYTES // words.itemsize
    buffer = bytearray(_CHUNK_BYTES + _BLOCK_BYTES)
    mask = np.frombuffer(buffer, dtype=words.dtype, count=step)
    streams = [(_keystream(key), np.add) for key in plus] + [(_keystream(key), np.subtract) for key in minus]
    for start in range(0, words.size, step):
        part = words[start : start + step]
        for stream, operation in streams:
            stream.update_into(_ZEROS[: part.nbytes], buffer)
            operation(part, mask[: part.size], out=part)
    return codec.reduce(words, bits)


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK_BYTES))).encryptor()


_ZEROS = memoryview(bytes(_CHUNK_BYTES))
