# SPDX-License-Identifier: Apache-2.0
"""Secret shares: too few say nothing, enough right ones give the secret, whichever of the others are wrong."""

import contextlib
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import ByteStream, SystemRandomness
from skyglow_shared.secagg import shamir

SIZE = shamir.SHARE_BYTES


class Stream:
    """Gives the field elements it is told to."""

    def __init__(self, elements):
        self.elements = list(elements)

    def read(self, size):
        given = [self.elements.pop(0) for _ in range(size // SIZE)]
        return b"".join(each.to_bytes(SIZE, "little") for each in given)


def one_by_one(shares):
    return [shares[start : start + SIZE] for start in range(0, len(shares), SIZE)]


@pytest.mark.parametrize("threshold", [2, 3])
def test_fewer_shares_than_the_threshold_are_exactly_uniform(monkeypatch, threshold):
    """Exhaustively in a field of seven elements: any secret, any shares too few, all equally often."""
    monkeypatch.setattr(shamir, "PRIME", 7)
    points = range(1, 5)
    for few in combinations(points, threshold - 1):
        for secret in range(7):
            seen = set()
            for coefficients in product(range(7), repeat=threshold - 1):
                drawn = shamir.draw(Stream(coefficients), threshold - 1)
                shares = shamir.split((bytes([secret]) + bytes(31),), drawn, points)
                assert shamir.join(shares, threshold) == bytes([secret]) + bytes(31)
                seen.add(tuple(shares[point] for point in few))
            assert len(seen) == 7 ** (threshold - 1)


def test_coefficients_are_uniform_in_the_field_by_rejection():
    refused, largest = shamir.PRIME, shamir.PRIME - 1
    drawn = shamir.draw(Stream([refused, 2**264 - 1, largest]), 1)
    (share,) = shamir.split((bytes(32),), drawn, [1]).values()
    assert int.from_bytes(share, "little") == largest


@given(st.binary(min_size=32, max_size=32), st.integers(2, 255), st.data())
def test_secrets_shared_side_by_side_are_each_on_a_polynomial_of_its_own(key, threshold, data):
    """What is evaluated at once is what each would be alone, by the plain formula, at the largest points too."""
    stream, points = ByteStream(key), data.draw(st.sets(st.integers(1, 255), min_size=1, max_size=3))
    secrets = [stream.read(32), b"\xff" * 32]
    drawn = shamir.draw(stream, 2 * (threshold - 1))
    each = [int.from_bytes(drawn[at : at + 33], "little") for at in range(0, len(drawn), 33)]
    for point, shares in shamir.split(secrets, drawn, points).items():
        for secret, share, coefficients in zip(secrets, one_by_one(shares), (each[::2], each[1::2]), strict=True):
            value = int.from_bytes(secret, "little")
            for power, coefficient in enumerate(reversed(coefficients), start=1):
                value += coefficient * point**power
            assert int.from_bytes(share, "little") == value % shamir.PRIME


def test_a_share_room_holds_the_largest_polynomial():
    """All coefficients as large as can be, at the largest point: nothing of one secret's share gets into another's."""
    most = (shamir.PRIME - 1).to_bytes(33, "little")
    for threshold in (2, 13, 255):
        shares = shamir.split([b"\xff" * 32] * 2, most * 2 * (threshold - 1), [255])[255]
        value = 2**256 - 1 + sum((shamir.PRIME - 1) * 255**power for power in range(1, threshold))
        assert [int.from_bytes(share, "little") for share in one_by_one(shares)] == [value % shamir.PRIME] * 2


def test_too_few_or_wrong_shares_do_not_give_the_secret(make_attempt):
    stream = SystemRandomness().stream()
    secret = stream.read(32)
    shares = shamir.split((secret,), shamir.draw(stream, 3), range(1, 7))
    assert shamir.join({point: shares[point] for point in (1, 3, 5, 6)}, 4) == secret
    with pytest.raises(ProtocolError, match="needed"):
        shamir.join({point: shares[point] for point in (1, 3, 5)}, 4)
    for point in (1, 3, 5, 6):
        wrong = {**{p: shares[p] for p in (1, 3, 5, 6)}, point: shares[2]}
        with contextlib.suppress(ProtocolError):  # what they determine may not be of 32 bytes
            assert shamir.join(wrong, 4) != secret


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.integers(0, 3), st.integers(0, 4))
def test_several_secrets_at_once_are_what_each_is_alone(key, threshold, more, count):
    """From the points that come first; where these determine more than 32 bytes, as wrong ones do, nothing."""
    stream, points = ByteStream(key), range(1, threshold + more + 1)
    each = [shamir.split([stream.read(32)], shamir.draw(stream, threshold - 1), points) for _ in range(count)]
    each.append({point: (2**256 + 1).to_bytes(SIZE, "little") for point in points})
    together = {point: b"".join(shares[point] for shares in each) for point in reversed(points)}
    assert shamir.join_each(together, threshold) == [*[shamir.join(shares, threshold) for shares in each[:-1]], None]
    assert shamir.join_each(dict.fromkeys(points, b""), threshold) == []


@given(st.binary(min_size=32, max_size=32), st.integers(2, 5), st.integers(0, 4), st.data())
def test_a_secret_is_recovered_from_any_enough_right_shares(key, threshold, more, data):
    stream = ByteStream(key)
    secret, points = stream.read(32), range(1, threshold + more + 1)
    both = shamir.split((secret, stream.read(32)), shamir.draw(stream, 2 * (threshold - 1)), points)
    shares, others = {at: each[:SIZE] for at, each in both.items()}, {at: each[SIZE:] for at, each in both.items()}
    bad = data.draw(st.sets(st.sampled_from(points), max_size=more + 1))
    given_ = shares | {point: others[point] for point in bad}
    if len(bad) > more:
        with pytest.raises(ProtocolError):
            shamir.recover(given_, threshold, secret.__eq__)
        return
    found, wrong = shamir.recover(given_, threshold, secret.__eq__)
    assert found == secret
    assert wrong in (bad, set())
    assert wrong or not bad & set(sorted(points)[:threshold])
    assert shamir.recover(given_, threshold, secret.__eq__, suspects=bad) == (secret, set())


def test_the_search_for_wrong_shares_ends(monkeypatch):
    monkeypatch.setattr(shamir, "MOST_TRIES", 10)
    stream, asked = SystemRandomness().stream(), []
    shares = shamir.split((stream.read(32),), shamir.draw(stream, 4), range(1, 12))
    with pytest.raises(ProtocolError):
        shamir.recover(shares, 5, lambda secret: bool(asked.append(secret)))
    assert len(asked) <= 10
