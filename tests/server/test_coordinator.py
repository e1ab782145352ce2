# SPDX-License-Identifier: Apache-2.0
"""A study as the office runs it: arithmetic, whom it believes, what it keeps, where it goes on."""

import msgspec
import numpy as np
import pytest

from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_server.coordinator import Coordinator, Training
from skyglow_server.refusals import refusal_error
from skyglow_shared import errors, signing
from skyglow_shared.errors import ProtocolError, RefusalError, RunError, SignatureError, SkyglowError
from skyglow_shared.layout import column_weights
from skyglow_shared.messages import Approval, Refusal, Share, decode_weights, encode_integers, seal_reply
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import digest

APPROVALS, ROUND, RELEASE = "approvals", ("training", 1), ("release", 0)


@pytest.fixture
def coordinator(checkpoints):
    """Makes the office of a federation; checkpoints last through a test."""

    def make(federation, seen=None):
        def progress(*step):
            if seen is not None:
                seen.append(step)

        return Coordinator(federation.study, federation.office, federation, checkpoints, progress)

    return make


def stored(coordinator, kind):
    phase, round_ = (kind, 0) if kind == APPROVALS else kind
    return coordinator.checkpoints.load(Place(digest(coordinator.study), phase, round_))


def reference(study, numbers, rounds):
    """Momentum gradient descent in so many words: the parameters of every round, and their late average."""
    phase, model = study.phases[0], study.models[0]
    step, homes = step_size(phase.blocks[0]), phase.expected_homes * phase.sampling_rate
    weights, velocity, path = np.zeros(23), np.zeros(23), []
    for round_ in range(rounds):
        shares = [numbers(study, phase, one.name, round_)["gradient"][0] for one in study.suppliers]
        velocity = model.momentum * velocity + np.sum(shares, axis=0) * step / homes
        weights = weights - model.learning_rate * velocity
        path.append(weights)
    late = path[-(rounds // 2) :]
    return path, np.mean(late, axis=0)


@pytest.mark.parametrize("rounds", [1, 2, 4, 5, 9])
def test_training_is_momentum_descent_and_the_average_of_the_last_half(
    rounds, make_study, numbers, puppets, coordinator
):
    study = make_study(rounds)
    federation = puppets(study)
    outcome = coordinator(federation).run()
    path, average = reference(study, numbers, rounds)
    found = outcome.models["all_aged_66_plus"]
    np.testing.assert_allclose(found.weights, path[-1], rtol=1e-12)
    np.testing.assert_allclose(found.final, average, rtol=1e-12)
    sent = [decode_weights(request.weights["all_aged_66_plus"], 23) for kind, request in federation.asked[1:]]
    np.testing.assert_allclose(sent, [np.zeros(23), *path[:-1], average], rtol=1e-12)


def test_before_the_last_half_the_current_parameters_are_final(make_study):
    model = make_study().models[0]
    begun = Training.start(model)
    assert (begun.final == 0).all()
    stepped = begun.step(model, np.ones(23), late=False)
    assert (stepped.final == stepped.weights).all()
    assert (begun.weights == 0).all(), "a state is never changed in place"


def test_the_released_sums_are_the_shares_added_in_real_units(puppets, coordinator, numbers):
    federation = puppets()
    outcome = coordinator(federation).run()
    phase = federation.study.phases[1]
    assert outcome.sums.keys() == {"area_scores", "profiles"}
    for one in phase.blocks:
        shares = [
            numbers(federation.study, phase, supplier.name, 0)[one.name] for supplier in federation.study.suppliers
        ]
        expected = np.sum(shares, axis=0) * step_size(one) / column_weights(federation.study, one)
        np.testing.assert_allclose(outcome.sums[one.name].values, expected, rtol=1e-12)
        assert outcome.sums[one.name].shares == 3


def test_every_supplier_is_asked_the_same_in_the_studys_order(puppets, coordinator):
    federation, seen = puppets(), []
    coordinator(federation, seen).run()
    assert [kind for kind, _ in federation.asked] == [APPROVALS, *(("training", n) for n in range(4)), RELEASE]
    assert seen == [*(("training", n, 4) for n in range(5)), ("release", 0, 1), ("release", 1, 1)]


# --- whom the office believes -----------------------------------------------------------------------------------------


def resigned(**changes):
    """A reply with other content, properly signed by its sender."""
    return lambda name, reply, key: seal_reply(msgspec.structs.replace(reply, **changes), name, key)


def with_blocks(change):
    return lambda name, reply, key: seal_reply(
        msgspec.structs.replace(reply, blocks=change(dict(reply.blocks))), name, key
    )


def of_another_sender(name, reply, key):
    return seal_reply(reply, "south", key)


def signed_by_another(name, reply, key):
    return seal_reply(reply, name, signing.Identity.generate())


def one_bit_off(name, reply, key):
    message = bytearray(seal_reply(reply, name, key))
    message[len(message) // 2] ^= 1
    return bytes(message)


def cut_short(name, reply, key):
    return seal_reply(reply, name, key)[:-9]


def no_message(name, reply, key):
    return b"<html>502 Bad Gateway</html>"


#: Found out by the envelope alone.
FORGED = {
    "of another sender": (of_another_sender, ProtocolError),
    "signed by another": (signed_by_another, SignatureError),
    "one bit off": (one_bit_off, (ProtocolError, SignatureError)),
    "cut short": (cut_short, ProtocolError),
    "no message at all": (no_message, ProtocolError),
}


def longer(blocks):
    return {name: content + bytes(8) for name, content in blocks.items()}


def shorter(blocks):
    return {name: content[:-8] for name, content in blocks.items()}


def renamed(blocks):
    return {f"{name}-2": content for name, content in blocks.items()}


#: Signed as they should be, by the right supplier, and yet not an answer to what was asked.
ELSEWHERE = {
    "of another study": resigned(study="ab" * 32),
    "of another phase": resigned(phase="release"),
    "of another round": resigned(round=2),
    "of another attempt": resigned(attempt=1),
    "of another step": resigned(step="unmask"),
    "in another's name": resigned(supplier="south"),
    "without its blocks": with_blocks(lambda blocks: {}),
    "with one block more": with_blocks(lambda blocks: {**blocks, "more": encode_integers(np.zeros(3, np.int64))}),
    "with other blocks": with_blocks(renamed),
    "with longer blocks": with_blocks(longer),
    "with shorter blocks": with_blocks(shorter),
}


@pytest.mark.parametrize("kind", [APPROVALS, ROUND, RELEASE], ids=str)
@pytest.mark.parametrize("fault", FORGED)
def test_a_forged_reply_is_refused_and_not_kept(fault, kind, puppets, coordinator):
    spoil, error = FORGED[fault]
    office = coordinator(puppets(spoil=spoil, spoilt=[("north", kind)]))
    with pytest.raises(error, match=r"north|message"):
        office.run()
    assert stored(office, kind) is None


@pytest.mark.parametrize("kind", [ROUND, ("training", 3)], ids=str)
@pytest.mark.parametrize("fault", ELSEWHERE)
def test_a_share_of_something_else_is_refused(fault, kind, puppets, coordinator):
    office = coordinator(puppets(spoil=ELSEWHERE[fault], spoilt=[("west", kind)]))
    with pytest.raises(ProtocolError):
        office.run()
    assert office.federation.asked[-1][0] == kind


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_a_share_of_something_else_is_not_kept(fault, puppets, coordinator):
    """What was stored would be read again at every resumption, and stop the study for ever."""
    office = coordinator(puppets(spoil=ELSEWHERE[fault], spoilt=[("west", ROUND)]))
    with pytest.raises(ProtocolError):
        office.run()
    assert stored(office, ROUND) is None
    coordinator(puppets()).run()


#: Answers to a proposed study that are no approval of it by that supplier.
NO_APPROVAL = {
    "of another study": resigned(study="ab" * 32),
    "signed by another": lambda name, reply, key: approval(name, key, reply.study, signing.Identity.generate()),
    "signed for another purpose": lambda name, reply, key: approval(name, key, reply.study, key, signing.REPLY),
    "signed for another study": lambda name, reply, key: seal_reply(
        msgspec.structs.replace(reply, signature=key.sign(signing.APPROVAL, b"ab" * 32)), name, key
    ),
    "not signed": resigned(signature=b""),
    "a share": lambda name, reply, key: seal_reply(share_of(name, reply.study), name, key),
}


def approval(name, key, study, signer, domain=signing.APPROVAL):
    reply = Approval(study=study, supplier=name, signature=signer.sign(domain, study.encode()))
    return seal_reply(reply, name, key)


def share_of(name, study):
    return Share(study=study, phase="training", round=0, attempt=0, step="share", supplier=name, blocks={})


@pytest.mark.parametrize("fault", NO_APPROVAL)
def test_what_is_no_approval_is_refused(fault, puppets, coordinator):
    office = coordinator(puppets(spoil=NO_APPROVAL[fault], spoilt=[("south", APPROVALS)]))
    with pytest.raises((ProtocolError, SignatureError), match="south"):
        office.run()
    assert [kind for kind, _ in office.federation.asked] == [APPROVALS], "no round is asked for before all agree"


@pytest.mark.parametrize("fault", NO_APPROVAL)
def test_what_is_no_approval_is_not_kept(fault, puppets, coordinator):
    office = coordinator(puppets(spoil=NO_APPROVAL[fault], spoilt=[("south", APPROVALS)]))
    with pytest.raises((ProtocolError, SignatureError)):
        office.run()
    assert stored(office, APPROVALS) is None
    coordinator(puppets()).run()


def test_an_approval_in_place_of_a_share(puppets, coordinator):
    def spoil(name, reply, key):
        return approval(name, key, reply.study, key)

    office = coordinator(puppets(spoil=spoil, spoilt=[("west", ROUND)]))
    with pytest.raises(ProtocolError, match="west answered a round with something other than a share"):
        office.run()


def test_a_supplier_that_does_not_answer(puppets, coordinator):
    for kind in (APPROVALS, ROUND, RELEASE):
        office = coordinator(puppets(spoil=lambda name, reply, key: None, spoilt=[("south", kind)]))
        with pytest.raises(RunError, match=r"south did not answer; .* resume"):
            office.run()
        assert stored(office, kind) is None


def kinds():
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SkyglowError)]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_refusal_becomes_the_error_of_its_code(kind):
    error = refusal_error("south", Refusal(code=kind.exit_code, rule="some_rule", message="this and that"))
    assert type(error) is kind
    assert str(error) == "south refused: this and that"
    if isinstance(error, RefusalError):
        assert error.rule == "some_rule"


@pytest.mark.parametrize("code", [0, -1, 2, 99, 10**6])
def test_a_refusal_of_no_known_code_is_a_protocol_error(code):
    assert type(refusal_error("south", Refusal(code=code, rule="", message="?"))) is ProtocolError


@pytest.mark.parametrize("kind", [APPROVALS, ROUND, RELEASE], ids=str)
def test_a_refused_round_is_not_kept_and_may_be_asked_again(kind, puppets, coordinator):
    def spoil(name, reply, key):
        return seal_reply(Refusal(code=32, rule="epsilon", message="no"), name, key)

    office = coordinator(puppets(spoil=spoil, spoilt=[("south", kind)]))
    with pytest.raises(errors.BudgetError, match="south refused: no"):
        office.run()
    assert stored(office, kind) is None
    later = coordinator(puppets())
    later.run()
    assert later.federation.asked[0][0] == kind


# --- what the office keeps --------------------------------------------------------------------------------------------


def same(one, other):
    for name, training in one.models.items():
        for field in ("weights", "velocity", "average"):
            np.testing.assert_array_equal(getattr(training, field), getattr(other.models[name], field))
    assert one.sums.keys() == other.sums.keys()
    for name, total in one.sums.items():
        np.testing.assert_array_equal(total.values, other.sums[name].values)


def test_a_finished_study_is_never_asked_for_again(puppets, coordinator):
    first = coordinator(puppets()).run()
    again = coordinator(puppets())
    same(again.run(), first)
    assert again.federation.asked == []


@pytest.mark.parametrize("answered", range(6))
def test_it_goes_on_with_the_first_round_it_has_not(answered, puppets, coordinator, tmp_path):
    whole = Coordinator(
        puppets().study, puppets().office, puppets(), Checkpoints.in_file(tmp_path / "whole.sqlite"), lambda *step: None
    ).run()
    order = [APPROVALS, *(("training", n) for n in range(4)), RELEASE]
    silent = coordinator(puppets(spoil=lambda name, reply, key: None, spoilt=[("west", order[answered])]))
    with pytest.raises(RunError):
        silent.run()
    later = coordinator(puppets())
    same(later.run(), whole)
    assert [kind for kind, _ in later.federation.asked] == order[answered:]


def test_stored_replies_are_checked_again(puppets, coordinator, tmp_path):
    """What lies in the file is believed no more than what comes over the wire."""
    office = coordinator(puppets())
    office.run()
    other = Checkpoints.in_file(tmp_path / "other.sqlite")
    identity = digest(office.study)
    for phase, rounds in ((APPROVALS, 1), ("training", 4), ("release", 1)):
        for round_ in range(rounds):
            kept = dict(office.checkpoints.load(Place(identity, phase, round_)))
            if (phase, round_) == ("training", 2):
                kept["north"], kept["south"] = kept["south"], kept["north"]
            other.save(Place(identity, phase, round_), kept)
    with pytest.raises(ProtocolError, match="names another sender"):
        Coordinator(office.study, office.office, puppets(), other, lambda *step: None).run()


def test_another_study_does_not_find_the_first_ones_replies(make_study, puppets, coordinator):
    coordinator(puppets(make_study(4))).run()
    other = coordinator(puppets(make_study(5)))
    other.run()
    assert len(other.federation.asked) == 7


def test_training_begins_where_the_study_says(make_study):
    model = make_study().models[0]
    zeros = Training.start(model).weights
    assert not zeros.any()
    start = tuple(float(number) for number in range(1, len(zeros) + 1))
    begun = Training.start(msgspec.structs.replace(model, start=start))
    assert begun.weights.tolist() == list(start)
    stepped = begun.step(model, np.zeros(len(start)), late=True)
    assert stepped.final.tolist() == list(start), "the average is of parameters reached, not of zeros before them"
