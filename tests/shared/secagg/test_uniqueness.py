# SPDX-License-Identifier: Apache-2.0
"""No seed, key or nonce is used twice: over attempts, rounds, suppliers and uses."""

from collections import Counter

import pytest

from skyglow_shared.privacy.randomness import ByteStream, SystemRandomness
from skyglow_shared.secagg import keys, masks

SUPPLIERS = 5
ATTEMPTS = 3
ROUNDS = 2


class Recording:
    """A supplier's randomness, with a record of what it gave."""

    def __init__(self):
        self.stream_keys, self.labels = [], []

    def stream(self, *label):
        stream = SystemRandomness().stream()
        self.labels.append(label)
        self.stream_keys.append(stream.key)
        return stream


class Used:
    """What was drawn, derived, encrypted with and masked with in all attempts."""

    def __init__(self, monkeypatch):
        self.randomness = Recording()
        self.derived, self.encrypted, self.masking, self.nonces, self.secrets = {}, [], [], [], []
        derive, encrypt, apply = keys.derive, keys.encrypt, masks.apply

        def recorded_derive(secret, session, use, *names):
            key = derive(secret, session, use, *names)
            self.derived.setdefault(key, set()).add((secret, session, use, names))
            return key

        def recorded_encrypt(key, content, bound_to):
            self.encrypted.append(key)
            return encrypt(key, content, bound_to)

        def recorded_apply(words, bits, *, plus=(), minus=()):
            plus, minus = list(plus), list(minus)
            self.masking.append((plus, minus))
            return apply(words, bits, plus=plus, minus=minus)

        monkeypatch.setattr(keys, "derive", recorded_derive)
        monkeypatch.setattr(keys, "encrypt", recorded_encrypt)
        monkeypatch.setattr(masks, "apply", recorded_apply)


@pytest.fixture
def used(make_attempt, make_session, monkeypatch):
    record = Used(monkeypatch)
    for round_ in range(ROUNDS):
        rounds = {}
        for number in range(ATTEMPTS):
            session = make_session(SUPPLIERS, 1, 1, round_=round_, attempt=number)
            attempt = make_attempt(session, rounds=rounds, randomness=record.randomness)
            attempt.advertise()
            for one in attempt.rounds.values():
                state = one.state
                record.secrets += [state.exchange, state.mask, state.seed, state.polynomials]
            for _ in range(3):
                attempt.collect()
                attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
            rounds = attempt.rounds
    return record


def test_every_secret_is_drawn_afresh(used):
    secrets = used.secrets + used.randomness.stream_keys
    assert len(secrets) == ROUNDS * ATTEMPTS * SUPPLIERS * 5
    assert len(set(secrets)) == len(secrets)
    assert len(set(used.randomness.labels)) == len(used.randomness.labels) == ROUNDS * ATTEMPTS * SUPPLIERS


def test_every_derived_key_has_one_use(used):
    assert all(len(uses) == 1 for uses in used.derived.values())
    assert not set(used.derived) & set(used.secrets)


def test_every_encrypting_key_encrypts_once(used):
    assert len(used.encrypted) == ROUNDS * ATTEMPTS * SUPPLIERS * (SUPPLIERS - 1)
    assert len(set(used.encrypted)) == len(used.encrypted)


def test_every_mask_is_used_once_by_each_of_its_two_ends(used):
    assert len(used.masking) == ROUNDS * ATTEMPTS * SUPPLIERS
    added = Counter(key for plus, _ in used.masking for key in plus)
    subtracted = Counter(key for _, minus in used.masking for key in minus)
    assert set(added.values()) == set(subtracted.values()) == {1}
    assert len(added) == ROUNDS * ATTEMPTS * SUPPLIERS * (1 + (SUPPLIERS - 1) / 2)
    assert len(subtracted) == ROUNDS * ATTEMPTS * SUPPLIERS * (SUPPLIERS - 1) / 2
    assert subtracted.keys() <= added.keys()
    assert not added.keys() & set(used.encrypted)


def test_two_keys_that_differ_in_one_bit_give_different_masks():
    """Where a peer folds its seeds to 32 bits, seeds that differ collide: the fold is the exclusive or of words."""
    one = bytes(range(32))
    swapped = one[4:8] + one[:4] + one[8:]
    assert ByteStream(one).read(64) != ByteStream(swapped).read(64)
    for bit in range(256):
        other = (int.from_bytes(one, "little") ^ (1 << bit)).to_bytes(32, "little")
        assert ByteStream(one).read(64) != ByteStream(other).read(64)


def test_a_derived_key_depends_on_its_secret_session_use_and_names():
    base = (bytes(32), b"s" * 32, keys.DELIVERY, "north", "south")
    others = [
        (b"\1" * 32, *base[1:]),
        (base[0], b"t" * 32, *base[2:]),
        (*base[:2], "mask of", "north", "south"),
        (*base[:3], "south", "north"),
        (*base[:3], "north"),
        (*base[:3], "norths", "outh"),
    ]
    assert len({keys.derive(*each) for each in [base, *others]}) == 1 + len(others)
    commitments = [keys.commitment(secret, session, name) for secret, session, _, name, *_ in [base, *others[:2]]]
    assert len(set(commitments)) == 3
