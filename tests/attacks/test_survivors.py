# SPDX-License-Identifier: Apache-2.0
"""Attacks on who is in a sum: lies about dropouts, two views of the survivors, a second attempt, strangers."""

from itertools import combinations

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import OrderError, PeerError, ProtocolError, StudyError
from skyglow_shared.layout import share_block
from skyglow_shared.privacy.noise import SIGMA_STEPS
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_shared.privacy.spare import spare_steps
from skyglow_shared.secagg import keys, messages
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.messages import Confirmations, SurvivorSet
from skyglow_shared.secagg.session import Parameters
from skyglow_shared.study import Supplier


def survivors(begun, alive, gone):
    return SurvivorSet(session=begun.session.identifier(), survivors=tuple(alive), dropped=tuple(gone))


def test_more_dropouts_than_the_noise_was_made_for(attempt):
    """The office says that more suppliers dropped than allowed, to thin the noise: no survivor signs or unmasks."""
    begun = attempt(1, 1)
    begun.masked()
    names = tuple(begun.rounds)
    for gone in ([*combinations(names, 2)], [*combinations(names, 3)]):
        for dropped in gone:
            alive = [name for name in names if name not in dropped]
            with pytest.raises(ProtocolError, match="noise is made for no fewer"):
                begun.say(alive[0], survivors(begun, alive, dropped))


@pytest.mark.parametrize(("suppliers", "dropouts", "colluders"), [(5, 1, 1), (7, 2, 2), (6, 2, 1), (3, 1, 0)])
def test_thinned_noise_with_colluders_among_the_survivors(town, suppliers, dropouts, colluders):
    """The office cuts suppliers off, and c colluders take their noise out: no less is left than was charged.

    Of a sum of everybody all spare noise may be known; if somebody is missing, none of it is.
    """
    roster = [{"name": f"supplier-{n}", "public_key": f"{n:02x}" * 32} for n in range(suppliers)]
    withstood = {"dropouts": dropouts, "colluders": colluders}
    study = town.study(trust_mode="aggregate", aggregation=withstood, suppliers=roster)
    left = suppliers - dropouts - colluders
    with_spare = 1 + (spare_steps(study) / SIGMA_STEPS) ** 2
    for block in study.blocks:
        part = share_block(study, block)
        assert (suppliers - colluders) * part.noise_multiplier**2 >= block.noise_multiplier**2
        for gone in range(1, dropouts + 1):
            honest = suppliers - gone - colluders
            assert honest * with_spare * part.noise_multiplier**2 >= block.noise_multiplier**2
            assert honest * part.noise_multiplier**2 < block.noise_multiplier**2, "what is spare is needed then"
        assert (left - 1) * with_spare * part.noise_multiplier**2 < block.noise_multiplier**2
        unprovisioned = block.noise_multiplier**2 / suppliers
        assert left * unprovisioned < block.noise_multiplier**2, "without provision the attack would succeed"


def codes_for(begun, name, confirmed):
    """The office's hand-out for one of what others confirmed."""
    codes = {other: codes[name] for other, codes in confirmed.items() if name in codes}
    told = b"".join(codes.values())
    return Confirmations(session=begun.session.identifier(), recipient=name, senders=tuple(codes), codes=told)


def codes_of(begun, name, message):
    """A survivor's codes for the other survivors, by name."""
    names = [other for other in message.survivors if other != name]
    return messages.by_name(names, begun.say(name, message).codes, 32)


def test_a_split_view_of_the_survivors(attempt):
    """The office shows two halves two survivor sets, the colluder confirms to each its own: neither gets enough."""
    begun = attempt(1, 1)
    begun.masked()
    names, colluder = tuple(begun.rounds), "supplier-4"
    views = {"first": survivors(begun, names, ()), "second": survivors(begun, names[1:], names[:1])}
    told = {"first": names[:2], "second": names[2:4]}
    states = {name: begun.rounds[name].state for name in names}
    said = {view: {name: codes_of(begun, name, message) for name in told[view]} for view, message in views.items()}
    transcript = states[colluder].transcript
    for view, message in views.items():
        body = messages.survivors_body(begun.session.identifier(), transcript, message.survivors)
        both = {name: keys.confirmations(key, body) for name, key in states[colluder].confirming.items()}
        lies = {name: own for name, (_, own) in both.items()}  # the colluder is last on the roster
        for name in told[view]:
            with pytest.raises(ProtocolError, match="fewer than"):
                begun.say(name, codes_for(begun, name, said[view] | {colluder: lies}))
    name = told["first"][1]  # the other one is not in the second set: nobody who was told that has a code for it
    with pytest.raises(PeerError, match="confirmed another survivor set"):
        begun.say(name, codes_for(begun, name, said["second"] | said["first"]))


@pytest.mark.parametrize("suppliers", range(2, 13))
def test_no_two_views_can_both_be_completed(suppliers):
    """For every roster to 12: two views need more behind them than the honest, and the colluders twice, can give."""
    allowed = 0
    for dropouts in range(suppliers):
        for colluders in range(suppliers):
            try:
                parameters = Parameters(suppliers, dropouts, colluders)
            except StudyError:
                continue
            allowed += 1
            assert 2 * parameters.threshold > suppliers + colluders
            assert parameters.threshold <= parameters.floor
            assert parameters.honest >= 2
    assert allowed


def test_a_survivor_set_is_confirmed_once(attempt):
    """The office comes back to one supplier with a second survivor set: it has confirmed one and confirms no other."""
    begun = attempt(1, 1)
    begun.masked()
    names = tuple(begun.rounds)
    begun.say("supplier-1", survivors(begun, names, ()))
    with pytest.raises(OrderError):
        begun.say("supplier-1", survivors(begun, names[1:], names[:1]))


def test_a_survivor_is_not_called_dropped_to_its_face(attempt):
    """The office tells a supplier that sent its vector that it dropped, to have its masks recovered: it refuses."""
    begun = attempt(1, 1)
    begun.masked()
    with pytest.raises(ProtocolError, match="said to have dropped"):
        begun.say("supplier-0", survivors(begun, list(begun.rounds)[1:], ["supplier-0"]))


def test_a_second_attempt_without_one_supplier(attempt):
    """A round unmasked with everybody, then asked again without one: the difference would be that one's vector."""
    begun = attempt(1, 1)
    adding, vectors = begun.masked()
    asking, message = adding.masked(vectors)
    recovering, handed_out = asking.confirmed(begun.say_all(dict.fromkeys(vectors, message)))
    recovering.unmasked(begun.say_all(handed_out))
    again = msgspec.structs.replace(begun.session, attempt=1)
    for name, round_ in begun.rounds.items():
        with pytest.raises(OrderError, match="no other"):
            given = begun.identities[name], Head(9, "cd" * 32), SystemRandomness()
            round_.again(again, *given, channel=begun.channels[name], seen={})


def test_an_attempt_that_stopped_gives_nothing_to_the_next(attempt):
    """The office drops an attempt when the vectors are in: the next has other secrets, and old messages do not fit."""
    begun = attempt(1, 1)
    _, first = begun.masked()
    words = {name: reply.words for name, reply in first.items()}
    again = msgspec.structs.replace(begun.session, attempt=1)
    old = dict(begun.adverts)
    for name, round_ in begun.rounds.items():
        given = begun.identities[name], Head(9, "cd" * 32), SystemRandomness()
        begun.rounds[name], begun.adverts[name] = round_.again(again, *given, channel=begun.channels[name], seen={})
    for name, advert in begun.adverts.items():
        assert advert.seed_commitment != old[name].seed_commitment
        assert advert.recovery_commitment != old[name].recovery_commitment
    with pytest.raises(ProtocolError, match="another study, round or attempt"):
        begun.say("supplier-0", survivors(begun, list(begun.rounds), ()))
    begun.session = again
    _, second = begun.masked()
    for name, reply in second.items():
        same = np.frombuffer(reply.words, "<u4") == np.frombuffer(words[name], "<u4")
        assert same.sum() <= 1


@pytest.mark.parametrize("change", [{"study": "ba" * 32}, {"phase": "release"}, {"round": 1}, {"attempt": 1}])
def test_messages_of_another_study_phase_round_or_attempt(attempt, change):
    """Keys and shares of one exchange replayed in another, each signed and encrypted by the right supplier: refused."""
    begun, other = attempt(1, 1), attempt(1, 1, **change)
    foreign = messages.Advertisements(session=other.session.identifier(), advertisements=tuple(other.adverts.values()))
    relabelled = msgspec.structs.replace(foreign, session=begun.session.identifier())
    mixed = msgspec.structs.replace(
        relabelled, advertisements=(*list(begun.adverts.values())[:4], other.adverts["supplier-4"])
    )
    for message in (foreign, relabelled, mixed):
        with pytest.raises(ProtocolError):
            begun.say("supplier-0", message)


def test_steps_out_of_turn_or_twice(attempt):
    """A step skipped, taken twice or taken back: every supplier answers each once, in order."""
    begun = attempt(1, 1)
    names = tuple(begun.rounds)
    for message in (survivors(begun, names, ()), codes_for(begun, "supplier-0", {})):
        with pytest.raises(OrderError):
            begun.say("supplier-0", message)
    _, deliveries = begun.shared()
    begun.say("supplier-0", deliveries["supplier-0"])
    with pytest.raises(OrderError):
        begun.say("supplier-0", deliveries["supplier-0"])


def test_sybils_on_a_roster(attempt):
    """One supplier twice on the roster, by name or by key, is fewer honest suppliers than it looks: refused."""
    begun = attempt(1, 1)
    first, *rest = begun.session.roster
    for twin in (Supplier(name="ghost", public_key=first.public_key), Supplier(name=first.name, public_key="0c" * 32)):
        with pytest.raises(StudyError, match="each with a key of its own"):
            msgspec.structs.replace(begun.session, roster=(first, twin, *rest[1:]))


def test_a_stranger_among_the_keys(attempt):
    """The office adds an invented supplier to the advertised keys, or repeats one: refused."""
    begun = attempt(1, 1)
    adverts = tuple(begun.adverts.values())
    ghost = msgspec.structs.replace(adverts[0], sender="ghost")
    for given in ((*adverts, ghost), (*adverts[:4], ghost), (*adverts, adverts[0]), adverts[1:]):
        with pytest.raises(ProtocolError):
            begun.say("supplier-0", messages.Advertisements(session=begun.session.identifier(), advertisements=given))
