# SPDX-License-Identifier: Apache-2.0
"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

Shamir 1979, over the field of integers modulo the largest prime of 33 bytes: so many random bytes are an element of it
but for once in 2²⁵⁵ draws.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import prod

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import ByteStream

SECRET_BYTES = 32
SHARE_BYTES = 33

PRIME = 2**264 - 275

_MANY_ONES = b"\xff" * (SHARE_BYTES - 2)

#: How many choices of shares are tried for one secret before it is given up: a second of work or so.
MOST_TRIES = 4096


def draw(stream: ByteStream, count: int) -> bytes:
    """So many uniform elements of the field, by rejection, as `SHARE_BYTES` little-endian bytes each."""
    found = b""
    while missing := count * SHARE_BYTES - len(found):
        drawn = stream.read(missing)
        if _MANY_ONES in drawn:  # as in all that is beyond the prime
            drawn = b"".join([one for one in _each(drawn) if _number(one) < PRIME])
        found += drawn
    return found


def split(secrets: Sequence[bytes], polynomials: bytes, points: Iterable[int]) -> dict[int, bytes]:
    """Shares of some secrets at the given points, each on a polynomial of its own through it at zero.

    Parameters
    ----------
    secrets : sequence of bytes
        32 of each.
    polynomials : bytes
        The other coefficients, as `draw` gives them: as many for each secret as the threshold less one.
    points : iterable of int
        Distinct, from 1 on, below 256.

    Returns
    -------
    dict of bytes
        By point, a share of each secret in turn: 33 bytes, little-endian.

    Notes
    -----
    The polynomials go through one evaluation side by side, as the digits of one number, each with room for the largest
    value that is not yet reduced: points are small, and one division is cheaper than many.
    """
    drawn, count = _each(polynomials), len(secrets)
    room = SHARE_BYTES + 1 + len(drawn) // count
    beside, size = bytes(room - SHARE_BYTES).join(drawn), room * count
    higher = [_number(beside[start : start + size]) for start in range(0, len(beside), size)]
    constant = _number(bytes(room - SECRET_BYTES).join(secrets))
    shares, digit, places = {}, (1 << 8 * room) - 1, range(0, 8 * size, 8 * room)
    for point in points:
        value = 0
        for coefficient in higher:
            value = (value + coefficient) * point
        value += constant
        each = [(value >> place & digit) % PRIME for place in places]
        shares[point] = b"".join([share.to_bytes(SHARE_BYTES, "little") for share in each])
    return shares


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret that shares by point determine; what to check it against is the caller's to know.

    Raises
    ------
    ProtocolError
        Fewer than `threshold` shares, or they determine nothing of 32 bytes.
    """
    if len(shares) < threshold:
        raise ProtocolError(f"{threshold} shares are needed to recover a secret; ask more suppliers")
    if (secret := _joined(shares, tuple(sorted(shares)[:threshold]))) is None:
        raise ProtocolError("the shares of a secret do not fit together; one of them is wrong")
    return secret


def join_each(shares: Mapping[int, bytes], threshold: int) -> list[bytes | None]:
    """What the shares at the first `threshold` points determine, where at each point there is one of several secrets.

    Parameters
    ----------
    shares : mapping of bytes
        By point, `SHARE_BYTES` for each secret in turn.
    threshold : int

    Returns
    -------
    list of bytes
        Nothing for a secret that they determine nothing of 32 bytes for.
    """
    chosen = tuple(sorted(shares)[:threshold])
    weighted = list(zip([shares[point] for point in chosen], _weights(chosen, 0, PRIME), strict=True))
    secrets, number = list[bytes | None](), int.from_bytes
    for start in range(0, len(weighted[0][0]), SHARE_BYTES):
        end = start + SHARE_BYTES
        secret = sum([number(content[start:end], "little") * weight for content, weight in weighted]) % PRIME
        secrets.append(_secret(secret))
    return secrets


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
    points = sorted(shares)
    if suspects:
        points.sort(key=lambda point: point in suspects)
    for tries, chosen in enumerate(_choices(points, threshold)):
        secret = _joined(shares, chosen)
        if secret is not None and is_it(secret):
            return secret, _off(shares, chosen) if tries else set()
    raise ProtocolError(f"no {threshold} of {len(points)} shares give the secret that was committed to")


def _choices(points: Sequence[int], threshold: int) -> Iterator[tuple[int, ...]]:
    """So many of the points in every way, each once, that leaves out none of those before them, then one, and so on."""
    first = tuple(points[:threshold])
    if len(points) >= threshold:
        yield first
    tried = {first}
    for wrong in range(1, len(points) - threshold + 1):
        for without in combinations(points, wrong):
            chosen = tuple(point for point in points if point not in without)[:threshold]
            if chosen in tried:
                continue
            if len(tried) == MOST_TRIES:
                return
            tried.add(chosen)
            yield chosen


def _joined(shares: Mapping[int, bytes], chosen: tuple[int, ...]) -> bytes | None:
    """The secret that the shares at the chosen points determine, if it has 32 bytes."""
    return _secret(_value(shares, chosen, 0))


def _secret(value: int) -> bytes | None:
    """A value of a polynomial at zero as a secret, if it has 32 bytes."""
    return None if value >> (8 * SECRET_BYTES) else value.to_bytes(SECRET_BYTES, "little")


def _off(shares: Mapping[int, bytes], chosen: tuple[int, ...]) -> set[int]:
    """Points whose shares are not on the polynomial through the chosen ones."""
    others = shares.keys() - set(chosen)
    return {point for point in others if _value(shares, chosen, point) != _number(shares[point]) % PRIME}


def _value(shares: Mapping[int, bytes], chosen: tuple[int, ...], at: int) -> int:
    """The value at a point of the polynomial of least degree through the shares at the chosen ones (Lagrange)."""
    weighted = zip(chosen, _weights(chosen, at, PRIME), strict=True)
    return sum([int.from_bytes(shares[point], "little") * weight for point, weight in weighted]) % PRIME


def _number(share: bytes) -> int:
    return int.from_bytes(share, "little")


def _each(content: bytes) -> list[bytes]:
    return [content[start : start + SHARE_BYTES] for start in range(0, len(content), SHARE_BYTES)]


@lru_cache(maxsize=64)
def _weights(points: tuple[int, ...], at: int, prime: int) -> tuple[int, ...]:
    """What each value is multiplied by: the same for all secrets whose shares are at these points."""
    weights = []
    for point in points:
        others = [other for other in points if other != point]
        numerator, denominator = prod(other - at for other in others), prod(other - point for other in others)
        weights.append(numerator * pow(denominator, -1, prime) % prime)
    return tuple(weights)
