# SPDX-License-Identifier: Apache-2.0
"""Seeded randomness, for simulations only: the same seed and label give the same bytes.

No supplier has this module; `skyglow-client` contains the operating system's randomness alone.
"""

import hashlib
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.signing import Identity


@dataclass(frozen=True, slots=True)
class SeededRandomness:
    """Streams that are a function of (seed, owner, label), so that a resumed simulation repeats itself."""

    seed: int
    owner: str

    def stream(self, *label: str | int) -> ByteStream:
        """Return the stream of this seed, owner and label."""
        name = msgspec.msgpack.encode(("skyglow-simulation-v1", self.seed, self.owner, label))
        return ByteStream(hashlib.sha256(name).digest())

    def identity(self) -> Identity:
        """The owner's signing key, so that a simulated roster, and with it a study's digest, repeats."""
        return Identity(Ed25519PrivateKey.from_private_bytes(self.stream("identity").read(32)))
