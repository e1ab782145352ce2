# SPDX-License-Identifier: Apache-2.0
"""A person's command gets the ledger while somebody serves, and whoever serves gets it back as it then is."""

import contextlib
import fcntl
import os
import threading
import time

import pytest

import skyglow_server.links.grpc  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
from skyglow_client import handover
from skyglow_shared.errors import LedgerBusyError, LedgerError, RunError


@pytest.fixture
def serving(town):
    """A supplier that lends its ledger."""
    stop = threading.Event()
    with town.open() as supplier, handover.lending(supplier, stop):
        yield supplier, stop


def test_a_command_gets_the_ledger_and_gives_it_back(town, serving):
    supplier, stop = serving
    for number in range(3):
        with handover.opened(town.folder, town.open) as other:
            other.gate.ledger.append("refusal", {"study": f"{number:064x}", "name": "any"})
            head = other.gate.ledger.head
        for _ in range(200):
            with supplier._turn:
                if supplier.gate.ledger.lock.closed is False and supplier.gate.ledger.head == head:
                    break
            threading.Event().wait(0.02)
        assert supplier.gate.ledger.head == head
        assert supplier.gate.ledger.verify() == head
    assert not stop.is_set()


def test_requests_wait_while_the_ledger_is_away(town, serving):
    supplier, _ = serving
    answers = []
    with handover.opened(town.folder, town.open):
        asking = threading.Thread(target=lambda: answers.append(supplier.handle(b"not a message")))
        asking.start()
        asking.join(0.3)
        assert asking.is_alive()
    asking.join(10)
    assert answers, "a refusal, in the end"


def test_without_anyone_serving_a_held_ledger_is_busy_at_once(town):
    with town.open(), pytest.raises(LedgerBusyError):
        handover.opened(town.folder, town.open)


def test_two_do_not_serve_one_folder(town, serving):
    with (
        handover.opened(town.folder, town.open) as second,
        pytest.raises(RunError, match="another process serves"),
        handover.lending(second, threading.Event()),
    ):
        pass


def test_a_ledger_that_comes_back_spoiled_ends_the_serving(town):
    stop = threading.Event()
    with (
        pytest.raises(LedgerError, match="not a readable ledger"),
        town.open() as supplier,
        handover.lending(supplier, stop),
    ):
        descriptor = os.open(town.folder / "ledger.wanted", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for _ in range(200):
            try:
                town.open().close()
                break
            except LedgerBusyError:
                threading.Event().wait(0.02)
        (town.folder / "ledger.sqlite").write_bytes(b"spoiled" * 1000)
        os.close(descriptor)
        assert stop.wait(10)


def test_serving_ends_while_a_command_still_has_the_ledger(town):
    """A person may look at a study for an hour; a machine that shuts down waits for nobody."""
    stop = threading.Event()
    with town.open() as supplier, contextlib.ExitStack() as kept:
        with handover.lending(supplier, stop):
            kept.enter_context(handover.opened(town.folder, town.open))
            begun = time.monotonic()
        assert time.monotonic() - begun < 10
    assert not stop.is_set()
