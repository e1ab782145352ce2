# SPDX-License-Identifier: Apache-2.0
"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

Shamir 1979, over the field of integers modulo the least prime above 2²⁵⁶.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import combinations
from math import prod

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import ByteStream

SECRET_BYTES = 32
SHARE_BYTES = 33

PRIME = 2**256 + 297

#: How many choices of shares are tried for one secret before it is given up: a second of work or so.
MOST_TRIES = 4096


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
    secret = _value(_chosen(shares, sorted(shares), threshold), 0)
    if secret >> (8 * SECRET_BYTES):
        raise ProtocolError("the shares of a secret do not fit together; one of them is wrong")
    return secret.to_bytes(SECRET_BYTES, "little")


def recover(
    shares: Mapping[int, bytes], threshold: int, is_it: Callable[[bytes], bool], suspects: Collection[int] = ()
) -> tuple[bytes, set[int]]:
    """The secret that is known by a commitment to it, though some shares be wrong, and at which points they are.

    Parameters
    ----------
    shares : mapping of bytes
        By point.
    threshold : int
    is_it : callable
        Whether a secret is the one that was committed to.
    suspects : collection of int
        Points whose shares are used last.

    Returns
    -------
    secret : bytes
    wrong : set of int
        Points whose shares are not on the polynomial of those that gave the secret; none where the first so many gave
        it, and the others were not needed.

    Raises
    ------
    ProtocolError
        Too few shares, or no `threshold` of them, of `MOST_TRIES` tried, give the secret.
    """
    points = sorted(shares, key=lambda point: (point in suspects, point))
    tried: set[tuple[int, ...]] = set()
    left_out = (few for wrong in range(len(points) - threshold + 1) for few in combinations(points, wrong))
    for without in left_out:
        chosen = tuple(point for point in points if point not in without)[:threshold]
        if chosen in tried:
            continue
        if len(tried) == MOST_TRIES:
            break
        tried.add(chosen)
        with suppress(ProtocolError):
            if is_it(secret := join({point: shares[point] for point in chosen}, threshold)):
                return secret, _off(shares, chosen) if without else set()
    raise ProtocolError(f"no {threshold} of {len(points)} shares give the secret that was committed to")


def _off(shares: Mapping[int, bytes], chosen: tuple[int, ...]) -> set[int]:
    """Points whose shares are not on the polynomial through the chosen ones."""
    known = _chosen(shares, chosen, len(chosen))
    others = shares.keys() - known.keys()
    return {point for point in others if _value(known, point) != int.from_bytes(shares[point], "little") % PRIME}


def _chosen(shares: Mapping[int, bytes], points: Iterable[int], count: int) -> dict[int, int]:
    return {point: int.from_bytes(shares[point], "little") for point in list(points)[:count]}


def _value(known: Mapping[int, int], at: int) -> int:
    """The value at a point of the polynomial of least degree through known ones (Lagrange)."""
    weights = _weights(tuple(known), at, PRIME)
    return sum(value * weight for value, weight in zip(known.values(), weights, strict=True)) % PRIME


@lru_cache(maxsize=64)
def _weights(points: tuple[int, ...], at: int, prime: int) -> tuple[int, ...]:
    """What each value is multiplied by: the same for all secrets whose shares are at these points."""
    weights = []
    for point in points:
        others = [other for other in points if other != point]
        numerator, denominator = prod(other - at for other in others), prod(other - point for other in others)
        weights.append(numerator * pow(denominator, -1, prime) % prime)
    return tuple(weights)


def _uniform(stream: ByteStream) -> int:
    """A uniform element of the field, by rejection: half the draws of 257 bits are above the prime."""
    while True:
        value = int.from_bytes(stream.read(SHARE_BYTES), "little") >> 7
        if value < PRIME:
            return value


def _evaluate(coefficients: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = value * point + coefficient  # points are small, and one division is cheaper than many
    return value % PRIME
