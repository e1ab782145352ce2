# SPDX-License-Identifier: Apache-2.0
"""What shows of the number of homes while shares are added under masks: no size, and no step but the first."""

import shutil

import msgspec
import pytest

from skyglow_shared.messages import Refusal, StepRequest
from skyglow_shared.secagg import messages as secagg
from skyglow_shared.study import digest

VICTIM = "north"
STEPS = ("share_keys", "mask", "confirm", "unmask")


def conversation(league):
    """Sizes of everything that the victim says in two rounds, heads and all."""
    town, supplier, sizes = league.towns[VICTIM], league.suppliers[VICTIM], []
    for round_ in range(2):
        place = {"study": digest(league.study), "phase": "training", "round": round_, "attempt": 0}
        messages = league.advertised(round_)
        for _ in STEPS:
            request = StepRequest(**place, content=secagg.encode(messages[VICTIM]))
            sizes.append(len(supplier.handle(town.sealed(request))))
            messages = league.take(league.everybody(messages))
    return sizes


@pytest.fixture(scope="module")
def said():
    return {}


@pytest.mark.parametrize("which", ["24 homes", "23 homes"])
def test_one_home_more_or_less_changes_no_size(request, said, which):
    said[which] = conversation(request.getfixturevalue("league" if which == "24 homes" else "neighbours"))
    assert len(said[which]) == 2 * len(STEPS)
    assert len({tuple(sizes) for sizes in said.values()}) == 1
    assert said[which][: len(STEPS)] == said[which][len(STEPS) :], "nor does it show whether a ledger was seen before"


def test_steps_after_the_first_never_reach_the_store(league):
    """Their time cannot tell how many homes there are: the round ends though no supplier has a store any more."""
    messages = league.advertised()
    for town in league.towns.values():
        shutil.rmtree(town.folder / "store")
        shutil.rmtree(town.folder / "raw")
    for supplier in league.suppliers.values():
        supplier._homes.clear()
    for _ in STEPS:
        messages = league.take(league.everybody(messages))
    assert messages.survivors == tuple(league.towns)
    reply = league.begin(VICTIM, "training", 1, 0)
    assert isinstance(reply, Refusal)
    assert reply.rule == "DataError"


def test_refusals_in_any_step_never_reach_the_store(league):
    """Wrong messages in each step, to a supplier with its store and without: the same words."""
    wrong = (
        secagg.Advertisements(session=bytes(32), advertisements=()),
        secagg.Delivery(session=bytes(32), recipient=VICTIM, senders=(), shares=b""),
        secagg.SurvivorSet(session=bytes(32), survivors=(), dropped=()),
        secagg.Confirmations(session=bytes(32), recipient=VICTIM, senders=(), codes=b""),
    )
    told = {True: [], False: []}
    for there in (True, False):
        messages = league.advertised(0, 0 if there else 1)
        if not there:
            league.suppliers[VICTIM]._homes.clear()
            shutil.rmtree(league.towns[VICTIM].folder / "store")
        for _ in STEPS[:3]:
            for each in wrong:
                under = msgspec.structs.replace(each, session=messages[VICTIM].session)
                told[there] += [league.say(VICTIM, each), league.say(VICTIM, under)]
            messages = league.take(league.everybody(messages))
    assert all(isinstance(reply, Refusal) for reply in told[True])
    assert told[True] == told[False]
