# SPDX-License-Identifier: Apache-2.0
"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

Shamir 1979, over the field of integers modulo the least prime above 2²⁵⁶.
"""

from collections.abc import Iterable, Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import ByteStream

SECRET_BYTES = 32
SHARE_BYTES = 33

PRIME = 2**256 + 297


def split(secret: bytes, threshold: int, points: Iterable[int], stream: ByteStream) -> dict[int, bytes]:
    """Shares of a secret at the given points: a random polynomial of degree `threshold` − 1 through it at zero.

    Parameters
    ----------
    secret : bytes
        32 of them.
    threshold : int
    points : iterable of int
        Distinct, from 1 on.
    stream : ByteStream
        Gives the polynomial's other coefficients.

    Returns
    -------
    dict of bytes
        33 bytes by point, little-endian.
    """
    coefficients = [int.from_bytes(secret, "little"), *(_uniform(stream) for _ in range(threshold - 1))]
    return {point: _evaluate(coefficients, point).to_bytes(SHARE_BYTES, "little") for point in points}


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret that shares by point determine; what to check it against is the caller's to know.

    Raises
    ------
    ProtocolError
        Fewer than `threshold` shares, or they determine nothing of 32 bytes.
    """
    if len(shares) < threshold:
        raise ProtocolError(f"{threshold} shares are needed to recover a secret; ask more suppliers")
    chosen = {point: int.from_bytes(shares[point], "little") for point in sorted(shares)[:threshold]}
    secret = 0
    for point, value in chosen.items():
        numerator = denominator = 1
        for other in chosen:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        secret += value * numerator * pow(denominator, -1, PRIME)
    secret %= PRIME
    if secret >> (8 * SECRET_BYTES):
        raise ProtocolError("the shares of a secret do not fit together; one of them is wrong")
    return secret.to_bytes(SECRET_BYTES, "little")


def _uniform(stream: ByteStream) -> int:
    """A uniform element of the field, by rejection: half the draws of 257 bits are above the prime."""
    while True:
        value = int.from_bytes(stream.read(SHARE_BYTES), "little") >> 7
        if value < PRIME:
            return value


def _evaluate(coefficients: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
