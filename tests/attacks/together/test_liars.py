# SPDX-License-Identifier: Apache-2.0
"""One supplier lies to the office or to its peers: the study goes on, its log names it, and the sums are right."""

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import AttemptError, ProtocolError
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.messages import Refusal, StepReply, seal_reply
from skyglow_shared.privacy.release import step_size
from skyglow_shared.privacy.spare import deviation_steps
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.secagg.channels import ChannelKey, show
from skyglow_shared.secagg.messages import COMMITTED_BYTES
from skyglow_shared.secagg.rounds import Round
from skyglow_shared.study import digest

replace = msgspec.structs.replace
LIAR, OTHER = "south", "up"
PLACE = {"phase": "release", "round": 0, "attempt": 0, "supplier": LIAR}


def at(step, change):
    """Lie in one step, in every round."""
    return lambda now, said: change(said) if now == step else said


NAMES = ("east", "north", "south", "up", "west")


def run(league, caplog, lie):
    """The study's outcome with the liar, and what the office's log says of who was left out."""
    with caplog.at_level("WARNING", logger="skyglow_server"):
        outcome = league.run({LIAR: lie})
    return outcome, [record.getMessage() for record in caplog.records if record.name.startswith("skyglow_server")]


def goes_on_without(league, caplog, lie, why):
    outcome, told = run(league, caplog, lie)
    assert {found.shares for found in outcome.sums.values()} == {4}
    honest = [share for name, share in league.shares("release", spare=NAMES).items() if name != LIAR]
    np.testing.assert_array_equal(league.numbers(outcome), np.sum(honest, axis=0))
    assert any(LIAR in line and why in line for line in told), told


def goes_on_with(league, caplog, lie, why, spare=()):
    """Its vector is in the sum, and of whom `spare` says the noise that was made for dropouts too."""
    outcome, told = run(league, caplog, lie)
    assert {found.shares for found in outcome.sums.values()} == {5}
    np.testing.assert_array_equal(
        league.numbers(outcome), np.sum(list(league.shares("release", spare=spare).values()), axis=0)
    )
    assert any(f"without {LIAR}: " in line and why in line for line in told), told


def test_a_degenerate_key(league, caplog):
    def lie(said):
        return replace(said, channel=show(digest(league.study), LIAR, bytes(32), league.towns[LIAR].identity))

    goes_on_without(league, caplog, at("advertise", lie), "degenerate")


def test_a_key_that_it_did_not_sign(league, caplog):
    def lie(said):
        return replace(said, channel=ChannelKey(said.channel.key, bytes(64)))

    goes_on_without(league, caplog, at("advertise", lie), "not signed")


def stand_by(league, bad):
    """The liar takes for its own the advertisement that it sent in place of the honest one."""
    ledger = league.suppliers[LIAR].gate.ledger
    place, state = ledger.rows("SELECT place, state FROM exchanges ORDER BY rowid DESC LIMIT 1")[0]
    stands = Round.decode(bytes(state))
    own = Round(replace(stands.state, advertisement=bad)).encode()
    ledger.connection.execute("UPDATE exchanges SET state = ? WHERE place = ?", (own, place))
    return bad


def test_a_head_that_it_did_not_sign(league, caplog):
    """It is true, and agrees with its ledger, so nobody asks for the signature; it would prove nothing, for nobody."""

    def lie(said):
        return stand_by(league, replace(said, signature=bytes(64)))

    outcome, told = run(league, caplog, at("advertise", lie))
    assert {found.shares for found in outcome.sums.values()} == {5}
    assert not told


@pytest.mark.parametrize("size", [0, 2000])
def test_a_masked_vector_of_another_length(league, caplog, size):
    goes_on_without(league, caplog, at("mask", lambda said: replace(said, words=bytes(size))), "longer or shorter")


@pytest.mark.parametrize("how", ["signed by another", "of another attempt", "no message at all", "not decodable"])
def test_a_reply_that_is_not_one(league, caplog, how):
    """On the wire or at the supplier, a reply was put in place of its own: it is not heard, and not kept as its."""

    def spoil(said):
        place = PLACE | {"study": digest(league.study)} | ({"attempt": 3} if how == "of another attempt" else {})
        content = b"\xc1" if how == "not decodable" else secagg.encode(said)
        signer = OTHER if how == "signed by another" else LIAR
        sealed = seal_reply(StepReply(**place, content=content), LIAR, league.towns[signer].identity)
        return b"" if how == "no message at all" else sealed

    seen = []

    def lie(now, said):
        seen.append(now)
        return spoil(said) if now == "mask" and seen.count("mask") == 3 else said  # the last phase's only round

    outcome, told = run(league, caplog, lie)
    assert {found.shares for found in outcome.sums.values()} == {4}
    assert any(LIAR in line for line in told), told
    league.run()  # reads everything that was kept again


def test_wrong_secret_shares(league, caplog):
    """Every share that it sends of others' secrets is wrong: what they committed to says which choice is right."""

    def lie(said):
        return replace(said, seeds=bytes(byte ^ 1 for byte in said.seeds))

    goes_on_with(league, caplog, at("unmask", lie), "does not fit the others'")


@pytest.mark.parametrize("step", ["confirm", "unmask"])
def test_silence_or_rubbish_once_its_vector_is_in_the_sum(league, caplog, step):
    change = {"confirm": {"codes": b""}, "unmask": {"seeds": b""}}[step]
    spare = {"confirm": NAMES, "unmask": (LIAR,)}[step]
    goes_on_with(league, caplog, at(step, lambda said: replace(said, **change)), "", spare)


@pytest.mark.parametrize("size", [0, 31])
def test_a_spare_key_that_is_none(league, caplog, size):
    """Its noise stays in the sum, which is known to hold it; the others' is taken out."""
    lie = at("unmask", lambda said: replace(said, spare=bytes(size)))
    outcome, told = run(league, caplog, lie)
    np.testing.assert_array_equal(
        league.numbers(outcome), np.sum(list(league.shares("release", spare=(LIAR,)).values()), axis=0)
    )
    for block in league.study.phases[-1].blocks:
        steps = deviation_steps(league.study, 5, 1) * step_size(share_block(league.study, block))
        np.testing.assert_allclose(outcome.sums[block.name].deviation, steps / column_weights(league.study, block))
    assert any("spare" in line for line in told) == bool(size)


def test_confirmations_of_another_survivor_set(league, caplog):
    """The office cannot tell, its peers can: with enough others they go on, and say whose was wrong."""

    def lie(said):
        return replace(said, codes=bytes(len(said.codes)))

    others = [name for name in NAMES if name != LIAR]  # who tell nothing of their spare noise without its code
    goes_on_with(league, caplog, at("confirm", lie), "it confirmed another survivor set, says", others)


def test_a_mask_that_it_did_not_commit_to(league, caplog):
    """What it commits to is not what its peers derive: they name it, and the next attempt is without it."""

    def lie(said):
        shares = bytearray(said.shares)
        for end in range(COMMITTED_BYTES, len(shares) + 1, COMMITTED_BYTES):
            shares[end - 32 : end] = bytes(32)
        return replace(said, shares=bytes(shares))

    goes_on_without(league, caplog, at("share_keys", lie), f"{LIAR} committed to another mask")


@pytest.mark.parametrize("how", ["rubbish", "of an attempt before"])
def test_nothing_to_recover_its_masks_from(league, how):
    """It sends what opens for nobody, and drops out: the round has no sum, and says whose masks are in it."""
    before = []

    def lie(now, said):
        if now == "share_keys":
            before.append(said.recovery)
            return replace(said, recovery=bytes(len(said.recovery)) if how == "rubbish" else before[0])
        return b"" if now == "mask" and (how == "rubbish" or len(before) > 1) else said

    with pytest.raises(AttemptError, match=f"the masks of {LIAR} cannot be recovered; this round has no sum"):
        league.run({LIAR: lie})


def test_rubbish_for_its_peers(league, caplog):
    """What it encrypts for others opens for nobody: they refuse and name it, and the next attempt is without it."""

    def lie(said):
        return replace(said, shares=bytes(len(said.shares)))

    goes_on_without(league, caplog, at("share_keys", lie), f"what {LIAR} shared was changed")


def test_rubbish_for_one_peer(league, caplog):
    """Its victim refuses and is missing; that is one dropout, and both names are in the log."""

    def lie(said):
        at = [one.name for one in league.study.suppliers if one.name != LIAR].index(OTHER) * COMMITTED_BYTES
        rubbish = bytes(COMMITTED_BYTES)
        return replace(said, shares=said.shares[:at] + rubbish + said.shares[at + COMMITTED_BYTES :])

    outcome, told = run(league, caplog, at("share_keys", lie))
    assert {found.shares for found in outcome.sums.values()} == {4}
    assert any(f"without {OTHER}" in line and f"what {LIAR} shared was changed" in line for line in told)


def test_a_false_accusation(league, caplog):
    """It refuses, and says that another is why: that costs it its own place in the sum, and not the other's."""
    refusal = Refusal(code=41, rule="PeerError", message="no", about=OTHER)
    sealed = seal_reply(refusal, LIAR, league.towns[LIAR].identity)
    goes_on_without(league, caplog, at("mask", lambda said: sealed), "refused: no")


def test_a_head_made_up(league, caplog):
    """It tells its peers that their ledgers are other than it saw them: they believe their ledgers, and name it."""
    connection = league.suppliers[LIAR].gate.ledger.connection

    def lie(now, said):
        if now == "unmask":
            connection.execute("UPDATE witnessed SET digest = ?", ("ab" * 32,))
        return said

    goes_on_without(league, caplog, lie, f"{LIAR} shows a head of this supplier's ledger that this supplier never")


def test_words_that_are_no_share_at_all(league):
    """Masked or random, words look alike; but no shares add up to so much, and nothing is made of such a sum."""
    drawn = np.random.default_rng(3)

    def lie(said):
        return replace(said, words=drawn.bytes(len(said.words)))

    with pytest.raises(ProtocolError, match="beyond the study's public bounds"):
        league.run({LIAR: at("mask", lie)})


def test_a_seed_that_it_committed_to_otherwise(league):
    """Its seed is not what its commitment says, so no shares of it are right: the round has no sum, and says whose."""

    def lie(said):
        return stand_by(league, replace(said, seed_commitment=bytes(32)))

    with pytest.raises(AttemptError, match=f"the seed of {LIAR} cannot be recovered.*{LIAR} shared it out wrongly"):
        league.run({LIAR: at("advertise", lie)})
