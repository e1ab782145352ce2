# SPDX-License-Identifier: Apache-2.0
"""Exhaustively, modulo 8: what anybody sees of a round depends on the honest suppliers' vectors through their sum only.

A supplier's own masking is run on words each of which stands for one choice of all the masks: all 8⁶ of them for three
suppliers, each mask uniform. Two inputs are told apart exactly if some view comes up more often under one of them.
"""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.secagg import keys, masks, shamir
from skyglow_shared.secagg.supplier import Peer, Shared

BITS = 3
MODULUS = 1 << BITS
NAMES = ("s00", "s01", "s02")
MASKS = tuple(name.encode() for name in (*NAMES, "s00 s01", "s00 s02", "s01 s02"))
SEEDS = MASKS[:3]
CHOICES = MODULUS ** len(MASKS)
INPUTS = tuple(product((-1, 0, 1), repeat=len(NAMES)))


class Stream:
    """Gives the field elements it is told to."""

    def __init__(self, elements):
        self.elements = list(elements)

    def read(self, size):
        given = [self.elements.pop(0) for _ in range(size // shamir.SHARE_BYTES)]
        return b"".join(each.to_bytes(shamir.SHARE_BYTES, "little") for each in given)


class Keystream:
    """A mask's stream, of the words it is told."""

    def __init__(self, words):
        self.content, self.place = words, 0

    def update_into(self, data, buffer):
        size = len(data)
        buffer[:size] = self.content[self.place : self.place + size] ^ np.frombuffer(data, np.uint8)
        self.place += size


@pytest.fixture
def masked(make_session, monkeypatch):
    """The masked words of a supplier with one number, under every choice of the masks."""
    drawn = dict(zip(MASKS, np.indices([MODULUS] * len(MASKS), dtype=np.uint8).reshape(len(MASKS), -1), strict=True))
    monkeypatch.setattr(keys, "pinned", lambda _seed, _session, _use, name: keys.Pinned(name.encode(), b""))
    monkeypatch.setattr(masks, "_keystream", lambda key: Keystream(drawn[key]))
    session = make_session(3, 1, 0, words=CHOICES, word_bits=BITS)

    def between(one, other):
        return Peer(inbound=b"", mask=" ".join(sorted((one, other))).encode(), mask_commitment=b"", confirming=b"")

    def mask(name, number):
        state = Shared(
            session=session,
            name=name,
            seed=b"",
            own=None,
            peers={other: between(name, other) for other in NAMES if other != name},
            heads={},
            keys_digest=b"",
        )
        return np.frombuffer(state._masked(b"", NAMES, np.full(CHOICES, number, dtype=np.int64)), np.uint8)

    sent = {(name, number): mask(name, number) for name in NAMES for number in (-1, 0, 1)}
    return drawn, sent


def distribution(masked, numbers, known, senders=NAMES):
    """How often each view comes up: the masked numbers of `senders`, and the masks that the viewer knows."""
    drawn, sent = masked
    seen = [sent[each] for each in zip(NAMES, numbers, strict=True) if each[0] in senders]
    seen += [drawn[key] for key in known]
    code = np.zeros(CHOICES, dtype=np.int64)
    for column in seen:
        code = code * MODULUS + column
    return np.bincount(code, minlength=MODULUS ** len(seen)).astype(np.uint32)


def test_equal_sums_look_the_same_and_others_do_not(masked):
    views = {numbers: distribution(masked, numbers, SEEDS) for numbers in INPUTS}
    for one, other in combinations(INPUTS, 2):
        assert np.array_equal(views[one], views[other]) == (sum(one) == sum(other))


def test_a_colluder_learns_the_sum_of_the_others_only(masked):
    """It tells its number and masks, from which its masked number follows: that one adds nothing to the view."""
    views = {n: distribution(masked, n, (*SEEDS[:2], b"s00 s02", b"s01 s02"), NAMES[:2]) for n in INPUTS}
    for one, other in combinations(INPUTS, 2):
        assert np.array_equal(views[one], views[other]) == (sum(one[:2]) == sum(other[:2]))


def test_a_dropped_suppliers_late_vector_stays_hidden(masked):
    """Seeds of the survivors and the recovered masks of the dropped one are out; its vector comes after that."""
    views = {n: distribution(masked, n, (*SEEDS[:2], b"s00 s02", b"s01 s02")) for n in INPUTS}
    for one, other in combinations(INPUTS, 2):
        assert np.array_equal(views[one], views[other]) == (sum(one[:2]) == sum(other[:2]))


def test_nothing_at_all_shows_before_unmasking(masked):
    views = [distribution(masked, numbers, ()) for numbers in INPUTS]
    assert all(np.array_equal(view, views[0]) for view in views)
    assert len(set(views[0].tolist())) == 1


def test_both_secrets_of_one_supplier_would_show_its_number(masked):
    """The check above can fail: this is why nobody may be named both surviving and dropped."""
    views = {n: distribution(masked, n, (b"s02", b"s00 s02", b"s01 s02")) for n in INPUTS}
    assert not np.array_equal(views[0, 1, -1], views[0, -1, 1])
    assert np.array_equal(views[0, 1, 1], views[0, -1, 1])


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
                both = shamir.split((bytes([secret]) + bytes(31),), drawn, points)
                shares = {point: share for point, (share,) in both.items()}
                assert shamir.join(shares, threshold) == bytes([secret]) + bytes(31)
                seen.add(tuple(shares[point] for point in few))
            assert len(seen) == 7 ** (threshold - 1)


def test_coefficients_are_uniform_in_the_field_by_rejection():
    refused, largest = shamir.PRIME, shamir.PRIME - 1
    drawn = shamir.draw(Stream([refused, 2**264 - 1, largest]), 1)
    ((share,),) = shamir.split((bytes(32),), drawn, [1]).values()
    assert int.from_bytes(share, "little") == largest


@given(st.binary(min_size=32, max_size=32), st.integers(2, 255), st.data())
def test_secrets_shared_side_by_side_are_each_on_a_polynomial_of_its_own(key, threshold, data):
    """What is evaluated at once is what each would be alone, by the plain formula, at the largest points too."""
    stream, points = ByteStream(key), data.draw(st.sets(st.integers(1, 255), min_size=1, max_size=3))
    secrets = [stream.read(32), b"\xff" * 32]
    drawn = shamir.draw(stream, 2 * (threshold - 1))
    each = [int.from_bytes(drawn[at : at + 33], "little") for at in range(0, len(drawn), 33)]
    for point, shares in shamir.split(secrets, drawn, points).items():
        for secret, share, coefficients in zip(secrets, shares, (each[::2], each[1::2]), strict=True):
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
        assert [int.from_bytes(share, "little") for share in shares] == [value % shamir.PRIME] * 2
