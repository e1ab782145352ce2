# SPDX-License-Identifier: Apache-2.0
"""Masks: AES-256-CTR keystreams as words, added and subtracted at the speed of the keystream."""

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from skyglow_shared.secagg import codec
from skyglow_shared.secagg.codec import Words

_CHUNK_BYTES = 1 << 16  # stays in the processor's nearest cache between cipher and addition
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
    """
    for key in plus:
        _mask(words, key, np.add)
    for key in minus:
        _mask(words, key, np.subtract)
    return codec.reduce(words, bits)


def _mask(words: Words, key: bytes, operation: np.ufunc) -> None:
    keystream = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK_BYTES))).encryptor()
    buffer = bytearray(_CHUNK_BYTES + _BLOCK_BYTES)
    mask = np.frombuffer(buffer, dtype=words.dtype, count=_CHUNK_BYTES // words.itemsize)
    step = _CHUNK_BYTES // words.itemsize
    for start in range(0, words.size, step):
        part = words[start : start + step]
        keystream.update_into(_ZEROS[: part.nbytes], buffer)
        operation(part, mask[: part.size], out=part)


_ZEROS = memoryview(bytes(_CHUNK_BYTES))
