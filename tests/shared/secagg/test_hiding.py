# SPDX-License-Identifier: Apache-2.0
"""Exhaustively, modulo 8: what anybody sees of a round depends on the honest suppliers' vectors through their sum only.

A supplier's own masking is run on words each of which stands for one choice of all the masks: all 8⁶ of them for three
suppliers, each mask uniform. Two inputs are told apart exactly if some view comes up more often under one of them.
"""

from itertools import combinations, product

import numpy as np
import pytest

from skyglow_shared.secagg import masks
from skyglow_shared.secagg.supplier import Peer, Shared

BITS = 3
MODULUS = 1 << BITS
NAMES = ("s00", "s01", "s02")
MASKS = tuple(name.encode() for name in (*NAMES, "s00 s01", "s00 s02", "s01 s02"))
SEEDS = MASKS[:3]
CHOICES = MODULUS ** len(MASKS)
INPUTS = tuple(product((-1, 0, 1), repeat=len(NAMES)))


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
    monkeypatch.setattr(masks, "_keystream", lambda key: Keystream(drawn[key]))
    session = make_session(3, 1, 0, words=CHOICES, word_bits=BITS)

    def between(one, other):
        return Peer(inbound=b"", mask=" ".join(sorted((one, other))).encode(), mask_commitment=b"", confirming=b"")

    def mask(name, number):
        state = Shared(
            session=session,
            name=name,
            mask=name.encode(),
            own=b"",
            peers={other: between(name, other) for other in NAMES if other != name},
            heads={},
            keys_digest=b"",
        )
        return np.frombuffer(state._masked(NAMES, np.full(CHOICES, number, dtype=np.int64)), np.uint8)

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
