# SPDX-License-Identifier: Apache-2.0
"""Exhaustively, modulo 8: what anybody sees of a round depends on the honest suppliers' vectors through their sum only.

A supplier's own masking is run on words each of which stands for one choice of all the masks: all 8⁶ of them for three
suppliers, each mask uniform. Two inputs are told apart exactly if some view comes up more often under one of them.
"""

from itertools import combinations, product

import numpy as np
import pytest

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
        return (self.elements.pop(0) << 7).to_bytes(size, "little")


class Keystream:
    """A mask's stream, of the words it is told."""

    def __init__(self, words):
        self.content, self.place = words.tobytes(), 0

    def update_into(self, zeros, buffer):
        size = len(zeros)
        assert not any(zeros)
        buffer[:size] = self.content[self.place : self.place + size]
        self.place += size


@pytest.fixture
def masked(make_session, monkeypatch):
    """The masked words of a supplier with one number, under every choice of the masks."""
    drawn = dict(zip(MASKS, np.indices([MODULUS] * len(MASKS), dtype=np.uint8).reshape(len(MASKS), -1), strict=True))
    monkeypatch.setattr(keys, "self_mask_key", lambda _seed, _session, name: name.encode())
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
        return state._masked(b"", NAMES, np.full(CHOICES, number, dtype=np.int64))

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
                shares = shamir.split(bytes([secret]) + bytes(31), threshold, points, Stream(coefficients))
                assert shamir.join(shares, threshold) == bytes([secret]) + bytes(31)
                seen.add(tuple(shares[point] for point in few))
            assert len(seen) == 7 ** (threshold - 1)


def test_coefficients_are_uniform_in_the_field_by_rejection():
    refused, largest = shamir.PRIME, shamir.PRIME - 1
    shares = shamir.split(bytes(32), 2, [1], Stream([refused, 2**257 - 1, largest]))
    assert int.from_bytes(shares[1], "little") == largest
