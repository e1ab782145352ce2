# SPDX-License-Identifier: Apache-2.0
"""Attacks on the masks of secure aggregation: seeds that collide, keys that the office swapped, masks it learns."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import PeerError, ProtocolError, SignatureError
from skyglow_shared.secagg import keys, masks, office
from skyglow_shared.secagg.channels import ChannelKey, show
from skyglow_shared.secagg.messages import (
    COMMITTED_BYTES,
    Advertisements,
    Delivery,
    SurvivorSet,
    by_name,
    encode,
)
from skyglow_shared.secagg.shamir import SHARE_BYTES


@pytest.mark.slow
def test_flower_two_seeds_one_mask(peer):
    """Flower folds a 256-bit mask seed to 32 bits: two different seeds give one mask, and all can be tried."""
    assert peer("flower_seeds")["succeeded"]


def test_two_seeds_never_one_mask():
    """The same two seeds, and seeds that differ in any one bit, give masks here that have nothing in common."""
    seed = bytes(range(32))
    folded = seed[4:8] + seed[:4] + bytes(byte ^ 0xA5 for byte in seed[8:16]) + seed[16:]
    flipped = [(int.from_bytes(seed, "big") ^ (1 << bit)).to_bytes(32, "big") for bit in range(256)]
    found = {}
    for each in (seed, folded, *flipped):
        key = keys.pinned(each, bytes(32), keys.SELF, "north").key
        packed = masks.put_on(np.zeros(64, np.int64), 32, 2, own=key, plus=[], minus=[])
        found[each] = np.frombuffer(packed, np.uint32)
    stacked = np.stack(list(found.values()))
    assert len({row.tobytes() for row in stacked}) == len(found) == 258
    assert (stacked[1:] == stacked[0]).mean() < 0.001


@pytest.mark.slow
def test_flower_server_swaps_keys(peer):
    """Flower's server relays public keys that nobody signed: it gives a node its own and reads the node's vector."""
    assert peer("flower_key_substitution")["succeeded"]


def test_office_cannot_swap_keys(attempt):
    """The office gives one supplier keys of its own for the others, under their names: no signature holds."""
    begun, victim = attempt(1, 1), "supplier-2"
    swapped = []
    for name, advert in begun.adverts.items():
        ours = ChannelKey(keys.public_key(name.encode().ljust(32, b"o")), advert.channel.signature)
        fake = msgspec.structs.replace(advert, channel=ours)
        swapped.append(advert if name == victim else fake)
    message = Advertisements(session=begun.session.identifier(), advertisements=tuple(swapped))
    before = begun.rounds[victim]
    with pytest.raises(SignatureError):
        begun.say(victim, message)
    resigned = []
    for one in swapped:
        shown = show(begun.session.study, one.sender, one.channel.key, begun.identities[victim])
        resigned.append(one if one.sender == victim else msgspec.structs.replace(one, channel=shown))
    with pytest.raises(SignatureError):
        begun.say(victim, Advertisements(session=begun.session.identifier(), advertisements=tuple(resigned)))
    assert begun.rounds[victim] is before, "nothing was shared"


def test_office_cannot_swap_one_suppliers_keys_between_two_views(attempt):
    """A colluder signs two sets of keys and the office shows each half one: what they share can't be opened."""
    begun, twice = attempt(1, 1), attempt(1, 1)
    first, second = begun.adverts, begun.adverts | {"supplier-4": twice.adverts["supplier-4"]}
    replies = {}
    states = dict(begun.rounds)
    session = begun.session.identifier()
    for name in list(begun.adverts)[:4]:
        shown = second if name == "supplier-0" else first
        replies[name] = begun.say(name, Advertisements(session=session, advertisements=tuple(shown.values())))
    for name in ("supplier-0", "supplier-1"):
        around = {other: reply for other, reply in replies.items() if other != name}
        shares = b"".join(
            by_name([one for one in shown if one != other], reply.shares, COMMITTED_BYTES)[name]
            for other, reply in around.items()
        )
        delivery = Delivery(session=session, recipient=name, senders=tuple(around), shares=shares)
        with pytest.raises(PeerError, match="changed on the way") as refusal:
            begun.say(name, delivery)
        assert refusal.value.peer == ("supplier-1" if name == "supplier-0" else "supplier-0")
    begun.rounds = states  # the same shown to all opens: it is the second view that does not
    _, vectors = begun.masked()
    assert set(vectors) == set(begun.adverts)


@pytest.mark.slow
def test_openfl_aggregator_learns_the_masks(peer):
    """OpenFL's collaborators send every share of every secret to the aggregator, which takes any mask off."""
    found = peer("openfl_masks")
    assert found["succeeded"]
    assert found["distinct_mask_values"] == 1, "one number masks the whole tensor"


def test_office_never_gets_what_unmasks_one(attempt):
    """All that the office is ever sent holds neither a secret in clear nor enough shares to unmask one supplier."""
    begun = attempt(1, 1)
    secrets = {name: round_.state for name, round_ in begun.rounds.items()}
    collecting, message = office.begin(begun.session).advertised(begun.adverts)
    seen = [encode(advert) for advert in begun.adverts.values()]
    shared = begun.say_all(dict.fromkeys(begun.adverts, message))
    adding, deliveries = collecting.shared(shared)
    vectors = begun.say_all(deliveries)
    del vectors["supplier-4"]
    asking, survivors = adding.masked(vectors)
    confirmed = begun.say_all(dict.fromkeys(vectors, survivors))
    recovering, handed_out = asking.confirmed(confirmed)
    unmasking = begun.say_all(handed_out)
    for replies in (shared, vectors, confirmed, unmasking):
        seen += [encode(reply) for reply in replies.values()]
    for state in secrets.values():
        for secret in (state.channel, state.seed, state.recovery, state.polynomials):
            assert not any(secret in message for message in seen)
    for reply in unmasking.values():
        assert len(reply.seeds) == 4 * SHARE_BYTES
        assert len(reply.recovery_keys) == SHARE_BYTES
    total = recovering.unmasked(unmasking)
    np.testing.assert_array_equal(total.values, sum(begun.vectors[name] for name in vectors))


def test_a_masked_vector_alone_is_noise(attempt):
    """One vector under masks, for the same vector in many attempts: every word looks uniform."""
    words = []
    for _ in range(20):
        begun = attempt(0, 0, suppliers=3)
        _, vectors = begun.masked()
        words.append(np.frombuffer(vectors["supplier-1"].words, "<u4"))
    high = (np.concatenate(words) >> 31).mean()
    assert len(np.unique(np.concatenate(words))) > 395
    assert 0.35 < high < 0.65


@pytest.mark.slow
def test_flower_node_both_active_and_dropped(peer):
    """Flower's nodes answer a server that names one node both active and dropped: both its secrets, its vector bare."""
    assert peer("flower_both_lists")["succeeded"]


def test_nobody_is_both_surviving_and_dropped(attempt):
    """The office names one supplier both surviving and dropped: every supplier refuses, and gives no share."""
    begun = attempt(1, 1)
    begun.masked()
    names = tuple(begun.rounds)
    both = SurvivorSet(session=begun.session.identifier(), survivors=names, dropped=("supplier-2",))
    for name in names:
        with pytest.raises(ProtocolError, match="both surviving and dropped"):
            begun.say(name, both)
