# SPDX-License-Identifier: Apache-2.0
"""Where protecting randomness comes from: AES-256-CTR keyed by the operating system, one fresh key a stream.

A `Randomness` gives byte streams. `SystemRandomness` is the only one that a supplier's installation contains, and
nothing in a policy, study, message or environment variable can choose another; simulations bring their own seeded one.
"""

import os
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32


@dataclass(slots=True, repr=False)
class ByteStream:
    """The AES-256-CTR keystream of one key, read from the start. A key must never make two streams for two uses."""

    key: bytes
    _cipher: CipherContext = field(init=False)

    def __post_init__(self) -> None:
        self._cipher = Cipher(algorithms.AES(self.key), modes.CTR(bytes(16))).encryptor()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        return self._cipher.update(bytes(size))

    def words(self, size: int) -> NDArray[np.uint64]:
        """Return the next `size` uniform 64-bit words."""
        return np.frombuffer(self.read(8 * size), dtype="<u8")


class Randomness(Protocol):
    """A source of independent byte streams."""

    def stream(self, *label: str | int) -> ByteStream:
        """Return a stream for one use; `label` names the use."""


class SystemRandomness:
    """Streams keyed by the operating system's CSPRNG; the label is not used."""

    def stream(self, *label: str | int) -> ByteStream:
        """Return a stream with a fresh 256-bit key."""
        del label
        return ByteStream(os.urandom(KEY_BYTES))
