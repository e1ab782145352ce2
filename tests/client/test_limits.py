# SPDX-License-Identifier: Apache-2.0
"""A round that takes too much of the machine is stopped: its charge stands, nothing is sealed, the supplier goes on."""

import resource
import signal
import threading
import time

import numpy as np
import pytest
import torch

from skyglow_client.gate import limits
from skyglow_shared.errors import LimitError
from skyglow_shared.messages import Refusal, Share


def forever():
    while True:
        np.ones(1000).sum()


def swallowing():
    """A library that lets one exception not pass."""
    try:
        forever()
    except LimitError:
        forever()


def too_much():
    return [np.ones(16 * 2**20 // 8) for _ in range(100)]


def too_much_for_torch():
    return torch.ones(2**30, dtype=torch.float64)


@pytest.mark.parametrize("work", [forever, swallowing])
def test_what_takes_too_long_is_stopped(work):
    begun = time.monotonic()
    with pytest.raises(LimitError, match="most_seconds"), limits.within(0.2, None):
        work()
    assert 0.2 <= time.monotonic() - begun < 3.0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    time.sleep(0.05)  # no alarm is left to ring


def test_an_alarm_that_rings_while_it_is_turned_off_is_the_last(monkeypatch):
    """Else the next would ring a second later, wherever the process then is, and end the serving."""
    real, former = signal.setitimer, signal.getsignal(signal.SIGALRM)
    rung = []

    def ringing(which, seconds, again=0.0):
        if not seconds and not rung:
            rung.append(True)
            signal.raise_signal(signal.SIGALRM)
        return real(which, seconds, again)

    monkeypatch.setattr(limits.signal, "setitimer", ringing)
    with pytest.raises(LimitError, match="most_seconds"), limits.within(60.0, None):
        pass
    assert rung and signal.getsignal(signal.SIGALRM) is former
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("work", [too_much, too_much_for_torch])
def test_what_needs_too_much_memory_is_stopped_and_there_is_as_much_as_before_after_it(work):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(LimitError, match="most_memory_mib"), limits.within(None, 256):
        work()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert sum(part.size for part in too_much()[:50])


def test_what_stays_within_is_left_alone():
    with limits.within(60.0, 512):
        kept = np.ones(2**20)
    assert kept.sum() == 2**20
    with limits.within(None, None):
        pass


def test_errors_of_the_computation_keep_their_kind():
    with pytest.raises(RuntimeError, match="something else"), limits.within(5.0, 512):
        raise RuntimeError("something else")


def test_in_another_thread_only_memory_is_held_to():
    found = []

    def work():
        with limits.within(0.01, None):
            time.sleep(0.1)
        found.append("ended")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["ended"]


@pytest.mark.parametrize(
    ("policy", "work", "rule"),
    [
        ({"most_seconds": 0.3}, forever, "most_seconds"),
        ({"most_memory_mib": 64}, too_much, "most_memory_mib"),
    ],
)
def test_a_supplier_refuses_keeps_its_charge_and_lives_on(town, monkeypatch, policy, work, rule):
    study = town.study()
    town.write_policy(**policy)
    with town.open() as supplier:
        town.approve(supplier, study)
        monkeypatch.setattr(type(supplier), "homes", lambda self, study: work())
        for _ in range(2):
            reply = town.ask(supplier, town.request(study))
            assert isinstance(reply, Refusal)
            assert (reply.code, reply.rule) == (36, rule)
        ledger = supplier.gate.ledger
        assert [entry.kind for entry in ledger.entries("charge", "seal")] == ["charge"]
        monkeypatch.undo()
    town.write_policy()
    with town.open() as supplier:
        assert isinstance(town.ask(supplier, town.request(study)), Share)
        assert [entry.kind for entry in supplier.gate.ledger.entries("charge", "seal")] == ["charge", "seal"]
        supplier.gate.ledger.verify()
