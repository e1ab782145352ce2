# SPDX-License-Identifier: Apache-2.0
"""No step of secure aggregation that an office makes up crashes a supplier or moves its ledger."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared import messages
from skyglow_shared.messages import Refusal, StepReply, StepRequest
from skyglow_shared.secagg import messages as steps
from skyglow_shared.secagg.channels import ChannelKey
from skyglow_shared.signing import Identity
from skyglow_shared.study import Aggregation, Supplier, digest

ODD = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PEERS = {name: Identity.generate() for name in ("east", "south")}
NAMES = st.sampled_from(("north", *PEERS, "west"))
WORD = st.binary(min_size=32, max_size=32)
LONG = st.binary(min_size=64, max_size=64)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | st.binary()
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@pytest.fixture
def begun(town):
    """A supplier that has sealed a round's share and advertised its keys; and what it advertised."""
    town.write_policy(trust_modes=["aggregate"], rivals=[one.public_key for one in PEERS.values()], least_colluders=0)
    roster = tuple(Supplier(name=name, public_key=one.public_key) for name, one in PEERS.items())
    plain = town.study()
    study = msgspec.structs.replace(
        plain,
        trust_mode="aggregate",
        aggregation=Aggregation(dropouts=1, colluders=0),
        suppliers=(*plain.suppliers[:1], *roster),
    )
    with town.open() as supplier:
        town.approve(supplier, study)
        reply = town.ask(supplier, town.request(study, step="advertise"))
        assert isinstance(reply, StepReply), reply
        yield supplier, study, steps.decode_reply(reply.content)
        supplier.gate.ledger.verify()


def nothing_moves(town, begun, content, **changes):
    supplier, study, _ = begun
    plain = {"study": digest(study), "phase": "training", "round": 0, "attempt": 0, "content": content} | changes
    head = supplier.gate.ledger.head
    reply = town.ask(supplier, messages.seal_request(StepRequest(**plain), town.office))
    assert isinstance(reply, Refusal), reply
    assert reply.code != 70, "only a bug can be blamed for it"
    assert supplier.gate.ledger.head == head


@ODD
@given(content=st.binary(max_size=200) | TREES.map(msgspec.msgpack.encode))
def test_any_bytes_as_a_step(town, begun, content):
    nothing_moves(town, begun, content)


@ODD
@given(data=st.data())
def test_advertisements_that_peers_did_not_make(town, begun, data):
    """Of suppliers on the roster and not, signed by themselves over something else, by nobody, or as they were."""
    _, _, own = begun
    made = [own] if data.draw(st.booleans()) else []
    for name in data.draw(st.lists(NAMES, max_size=3)):
        changes = {
            "sender": name,
            "channel": ChannelKey(data.draw(WORD | st.just(own.channel.key)), data.draw(LONG)),
            "seed_commitment": data.draw(WORD),
            "recovery_commitment": data.draw(WORD),
            "ledger_entries": data.draw(st.integers(1, 2**40)),
            "signature": data.draw(LONG | st.just(own.signature)),
        }
        kept = data.draw(st.sets(st.sampled_from(sorted(changes))))
        changes = {field: value for field, value in changes.items() if field not in kept or field == "sender"}
        made.append(msgspec.structs.replace(own, **changes))
    message = steps.Advertisements(session=data.draw(st.just(own.session) | WORD), advertisements=tuple(made))
    nothing_moves(town, begun, steps.encode(message))


@ODD
@given(data=st.data())
def test_steps_that_do_not_follow(town, begun, data):
    """Deliveries, survivor sets and codes of the attempt's own session, before anything was shared."""
    session = begun[2].session
    names = st.lists(NAMES, max_size=4).map(tuple)
    message = data.draw(
        st.builds(
            steps.Delivery,
            session=st.just(session),
            recipient=NAMES,
            senders=names,
            shares=st.integers(0, 4).map(lambda count: bytes(count * steps.COMMITTED_BYTES)),
        )
        | st.builds(steps.SurvivorSet, session=st.just(session), survivors=names, dropped=names)
        | st.builds(
            steps.Confirmations,
            session=st.just(session),
            recipient=NAMES,
            senders=names,
            codes=st.integers(0, 4).map(lambda count: bytes(count * 32)),
        )
    )
    place = {"attempt": data.draw(st.sampled_from((0, 1, -1, 2**62))), "round": data.draw(st.integers(-1, 3))}
    nothing_moves(town, begun, steps.encode(message), **place)


def test_what_the_policy_has_come_to_forbid_leaves_under_no_mask(town, begun):
    """The share is sealed, and has not left: whoever forbids the study now expects that it never does."""
    supplier, study, _ = begun
    town.write_policy(trust_modes=["local"])
    again = town.ask(supplier, town.request(study, step="advertise", attempt=1))
    step = StepRequest(study=digest(study), phase="training", round=0, attempt=0, content=b"")
    for reply in (again, town.ask(supplier, messages.seal_request(step, town.office))):
        assert isinstance(reply, Refusal)
        assert (reply.code, reply.rule.split(", ")[0]) == (31, "trust_modes")
