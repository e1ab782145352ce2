# SPDX-License-Identifier: Apache-2.0
"""No seed, derived key or nonce is used twice: over attempts, rounds, suppliers and uses."""

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
        self.derived, self.encrypted, self.masking, self.confirmed, self.secrets = {}, [], [], [], []
        derive, encrypt, confirmations, put_on = keys._derived, keys.encrypt, keys.confirmations, masks.put_on

        def recorded_derive(secret, session, use, names, size):
            content = derive(secret, session, use, names, size)
            for start in range(0, size, 32):
                self.derived.setdefault(content[start : start + 32], set()).add((secret, session, (use, start), names))
            return content

        def recorded_encrypt(key, content):
            self.encrypted.append(key)
            return encrypt(key, content)

        def recorded_confirmations(key, body):
            self.confirmed.append((key, body))
            return confirmations(key, body)

        def recorded_put_on(vector, bits, suppliers, *, own, plus, minus):
            self.masking.append(([own], plus, minus))
            return put_on(vector, bits, suppliers, own=own, plus=plus, minus=minus)

        monkeypatch.setattr(keys, "_derived", recorded_derive)
        monkeypatch.setattr(keys, "encrypt", recorded_encrypt)
        monkeypatch.setattr(keys, "confirmations", recorded_confirmations)
        monkeypatch.setattr(masks, "put_on", recorded_put_on)


@pytest.fixture
def used(make_attempt, make_session, monkeypatch):
    record, channels = Used(monkeypatch), {}
    for round_ in range(ROUNDS):
        rounds = {}
        for number in range(ATTEMPTS):
            session = make_session(SUPPLIERS, 1, 1, round_=round_, attempt=number)
            attempt = make_attempt(session, rounds=rounds, randomness=record.randomness, channels=channels)
            attempt.advertise()
            for one in attempt.rounds.values():
                record.secrets += [one.state.seed, one.state.recovery, one.state.polynomials]
            for _ in range(3):
                attempt.collect()
                attempt.replies = {name: attempt.answer(name) for name in attempt.requests}
            rounds = attempt.rounds
    record.channels = [channel.secret for channel in channels.values()]
    return record


def test_every_secret_is_drawn_afresh(used):
    """A channel's once a study, all else once an attempt; each from a stream of its own."""
    assert len(used.channels) == SUPPLIERS
    assert len(used.secrets) == ROUNDS * ATTEMPTS * SUPPLIERS * 3
    streams = ROUNDS * ATTEMPTS * SUPPLIERS + SUPPLIERS
    assert (
        len(set(used.randomness.labels)) == len(used.randomness.labels) == len(used.randomness.stream_keys) == streams
    )
    secrets = used.secrets + used.channels + used.randomness.stream_keys
    assert len(set(secrets)) == len(secrets)


def test_every_derived_key_has_one_use(used):
    """Of one attempt, between the same two in one direction: though all keys of a pair come from one secret."""
    assert all(len(uses) == 1 for uses in used.derived.values())
    assert not set(used.derived) & {*used.secrets, *used.channels}
    pairs = SUPPLIERS * (SUPPLIERS - 1) // 2
    found = Counter(use for uses in used.derived.values() for _, _, use, _ in uses)
    assert found == {
        (keys.CHANNEL, 0): pairs,
        **{(keys.PAIR, start): ROUNDS * ATTEMPTS * pairs for start in range(0, 4 * 32, 32)},
        **{(keys.MASK, start): ROUNDS * ATTEMPTS * pairs for start in (0, 32)},
        **{(use, start): ROUNDS * ATTEMPTS * SUPPLIERS for use in (keys.SELF, keys.RECOVERY) for start in (0, 32)},
    }


def test_an_attempt_begun_again_under_its_name_has_other_keys(make_attempt, make_session, monkeypatch):
    """A ledger put back under a supplier that remembers its channels: no key encrypts or masks twice."""
    record, channels = Used(monkeypatch), {}
    for _ in range(2):
        attempt = make_attempt(make_session(SUPPLIERS, 1, 1), channels=channels)
        attempt.until("confirmed")
    assert len(channels) == SUPPLIERS
    assert len(set(record.encrypted)) == len(record.encrypted) == 2 * SUPPLIERS * SUPPLIERS
    masking = Counter(key for own, plus, _ in record.masking for key in own + plus)
    assert set(masking.values()) == {1}


def test_a_channels_own_secret_encrypts_and_masks_nothing(used):
    """It is only derived from; what leaves is under keys of one attempt."""
    pair_secrets = {key for key, uses in used.derived.items() for _, _, (use, _), _ in uses if use == keys.CHANNEL}
    masking = {key for both in used.masking for part in both for key in part}
    assert not pair_secrets & ({*used.encrypted} | masking | {key for key, _ in used.confirmed})


def test_every_encrypting_key_encrypts_once(used):
    """For each of the others once an attempt, and once what recovers the own masks."""
    assert len(used.encrypted) == ROUNDS * ATTEMPTS * SUPPLIERS * SUPPLIERS
    assert len(set(used.encrypted)) == len(used.encrypted)


def test_every_code_is_for_one_sender_and_one_set(used):
    """A pair's two codes are under one key, for two senders; each is made by its sender and by whom it is for."""
    found = Counter(used.confirmed)
    assert set(found.values()) == {2}
    assert len(found) == ROUNDS * ATTEMPTS * SUPPLIERS * (SUPPLIERS - 1) / 2
    assert len({key for key, _ in found}) == len(found)
    codes = [code for key, body in found for code in keys.confirmations(key, body)]
    assert len(set(codes)) == 2 * len(found)


def test_every_mask_is_used_once_by_each_of_its_two_ends(used):
    assert len(used.masking) == ROUNDS * ATTEMPTS * SUPPLIERS
    own, added, subtracted = (Counter(key for each in used.masking for key in each[place]) for place in range(3))
    assert set(own.values()) == set(added.values()) == set(subtracted.values()) == {1}
    assert len(own) == ROUNDS * ATTEMPTS * SUPPLIERS
    assert len(added) == ROUNDS * ATTEMPTS * SUPPLIERS * (SUPPLIERS - 1) / 2
    assert subtracted.keys() == added.keys()
    assert not own.keys() & added.keys()
    assert not (own.keys() | added.keys()) & set(used.encrypted)


def test_two_keys_that_differ_in_one_bit_give_different_masks():
    """Where a peer folds its seeds to 32 bits, seeds that differ collide: the fold is the exclusive or of words."""
    one = bytes(range(32))
    swapped = one[4:8] + one[:4] + one[8:]
    assert ByteStream(one).read(64) != ByteStream(swapped).read(64)
    for bit in range(256):
        other = (int.from_bytes(one, "little") ^ (1 << bit)).to_bytes(32, "little")
        assert ByteStream(one).read(64) != ByteStream(other).read(64)


def test_a_derived_key_depends_on_its_secret_session_use_and_names():
    base = (bytes(32), b"s" * 32, keys.RECOVERY, "north", "south")
    others = [
        (b"\1" * 32, *base[1:]),
        (base[0], b"t" * 32, *base[2:]),
        (*base[:2], "mask of", "north", "south"),
        (*base[:3], "south", "north"),
        (*base[:3], "north"),
        (*base[:3], "norths", "outh"),
    ]
    assert len({keys.derive(*each) for each in [base, *others]}) == 1 + len(others)
    pairs = [keys.pair_keys(*each[:2], *each[3:]) for each in [base, *others[:2], others[3]]]
    assert len({key for each in pairs for key in each}) == 4 * len(pairs)
    pinned = [keys.pinned(*each) for each in [base, *others]]
    assert len({part for each in pinned for part in each}) == 2 * (1 + len(others))
