# SPDX-License-Identifier: Apache-2.0
"""A supplier's ledger put back with all its marks, to have its budget again: its peers saw more, and prove it."""

import shutil

import numpy as np
import pytest

from skyglow_shared.command import main
from skyglow_shared.errors import RollbackError
from skyglow_shared.messages import Refusal, StepReply
from skyglow_shared.study import digest

NAMES = ("east", "north", "south", "up", "west")
VICTIM = "north"


def swap(league, saved, *, save=False):
    """Keep a copy of the victim's ledger at `saved`, or put it back from there."""
    supplier, folder = league.suppliers[VICTIM], league.towns[VICTIM].folder
    supplier.close()
    if save:
        saved.mkdir()
        for file in folder.glob("ledger.sqlite*"):
            shutil.copy2(file, saved)
    else:
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()
        for file in saved.iterdir():
            shutil.copy2(file, folder)
    supplier.gate = league.towns[VICTIM].open().gate


def whole_round(league, round_, attempt=0):
    messages = league.until("unmask", round_, attempt)
    return league.take(league.everybody(messages))


@pytest.fixture
def put_back(league, tmp_path):
    """One round was added; the victim's ledger is that of before, and as it should be in the folder that is given."""
    swap(league, tmp_path / "before", save=True)
    whole_round(league, 0)
    swap(league, tmp_path / "right", save=True)
    swap(league, tmp_path / "before")
    return tmp_path / "right"


def grow(league):
    """Answer the office alone, in all attempts there are: the ledger becomes longer than anybody saw it."""
    for round_ in range(2):
        for attempt in range(10):
            assert isinstance(league.begin(VICTIM, "training", round_, attempt), StepReply)


def refused(reply):
    assert isinstance(reply, Refusal)
    assert (reply.code, reply.rule, reply.about) == (52, "RollbackError", "")
    return True


def test_its_peers_share_nothing_with_a_ledger_that_is_behind(league, put_back):
    messages = league.advertised(1)
    for name, reply in league.everybody(messages, lost=(VICTIM,)).items():
        assert isinstance(reply, Refusal), name
        assert (reply.code, reply.rule, reply.about) == (41, "PeerError", VICTIM)


def test_one_that_has_grown_since_masks_nothing_and_leaves_nothing(league, put_back):
    grow(league)
    messages = league.take(league.everybody(league.advertised(1, 10)))
    entries = league.entries(VICTIM)
    reply = league.say(VICTIM, messages[VICTIM])
    assert refused(reply)
    assert "than east and south and up and west saw it" in reply.message
    assert refused(league.say(VICTIM, messages[VICTIM]))
    assert refused(league.begin(VICTIM, "training", 1, 11))
    assert refused(league.begin(VICTIM, "training", 0, 0)), "not even what was sealed"
    town, supplier = league.towns[VICTIM], league.suppliers[VICTIM]
    assert refused(town.ask(supplier, town.proposal(league.study)))
    with pytest.raises(RollbackError):
        supplier.approve(digest(league.study))
    assert league.entries(VICTIM) == entries
    for _ in range(3):
        messages = league.take(league.everybody(messages, lost=(VICTIM,)))
    assert messages.survivors == tuple(name for name in NAMES if name != VICTIM)
    shares = league.shares("training", 1, spare=NAMES)
    np.testing.assert_array_equal(messages.values, sum(share for name, share in shares.items() if name != VICTIM))


def test_only_the_right_ledger_ends_it(league, put_back, capsys):
    """It says so to its own people too, and in another process; with the right ledger the supplier goes on."""
    grow(league)
    messages = league.take(league.everybody(league.advertised(1, 10)))
    assert refused(league.say(VICTIM, messages[VICTIM]))
    supplier, town = league.suppliers[VICTIM], league.towns[VICTIM]
    words = ["supplier", "ledger", "verify", "--folder", str(town.folder)]
    supplier.close()
    assert main(words) == RollbackError.exit_code
    assert "older than others saw it" in capsys.readouterr().err
    supplier.gate = town.open().gate
    assert refused(league.begin(VICTIM, "training", 1, 12))
    swap(league, put_back)
    supplier.close()
    assert main(words) == 0
    supplier.gate = town.open().gate
    assert whole_round(league, 1, 13).survivors == NAMES
