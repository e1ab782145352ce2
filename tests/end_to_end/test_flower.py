# SPDX-License-Identifier: Apache-2.0
"""Flower's simulation engine carries bytes to the right suppliers and back, and errors to whoever asked."""

import gc
import importlib
import os
import sys
import threading
from functools import partial

import pytest

from skyglow_shared.errors import LedgerBusyError, RunError

# Ray neither closes the files that it opens for its processes nor waits for those that it has ended.
RAY = pytest.mark.filterwarnings("ignore::ResourceWarning")
NAMES = ("north", "south", "harbour")
FACTORY = """
from contextlib import contextmanager

from skyglow_shared.errors import LedgerBusyError


@contextmanager
def echo(name, *, mark):
    def handle(request):
        if request == b"break":
            raise ValueError("a secret of a home")
        return mark + name.encode() + b":" + request

    if name == "south" and mark == b"busy":
        raise LedgerBusyError("another process holds the ledger")
    yield handle
"""


@pytest.fixture
def surroundings():
    """Puts the environment back: importing the server's link turns telemetry off in it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def links(surroundings):
    pytest.importorskip("flwr", reason="needs the flower extra: make test-flower")
    client = importlib.import_module("skyglow_client.links.flower")
    return client, importlib.import_module("skyglow_server.links.flower_engine")


@pytest.fixture
def app(links, tmp_path, monkeypatch):
    """Makes the nodes' app, its factory in a module that the engine's processes find where this one does."""
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    (folder / "skyglow_test_factory.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    factory = importlib.import_module("skyglow_test_factory")
    yield lambda mark: links[0].client_app(partial(factory.echo, mark=mark), NAMES)
    del sys.modules["skyglow_test_factory"]
    gc.collect()  # so that what Ray leaves behind is found while its warning is expected


@pytest.mark.parametrize(
    "name",
    [
        "skyglow_client.links.flower",
        "skyglow_client.links.flower_site",
        "skyglow_server.links.flower",
        "skyglow_server.links.flower_engine",
        "skyglow_server.links.flower_superlink",
    ],
)
def test_without_the_extra_the_error_says_what_to_install(name, surroundings, monkeypatch):
    for module in [name for name in sys.modules if ".links.flower" in name]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("flwr", "flwr.app", "ray", "httpx"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match=r"pip install 'skyglow\[flower\]'"):
        importlib.import_module(name)


@pytest.fixture
def server(links):
    """Gives the server's link a place in a run, as the engine would."""
    identity = importlib.import_module("flwr.supercore.task_identity").TaskIdentity
    identity.task_id = identity.run_id = identity.node_id = 1
    return links[1]


class Silent:
    """A grid whose nodes never answer."""

    def push_messages(self, messages):
        return [str(number) for number, _ in enumerate(messages)]

    def pull_messages(self, identities):
        return []

    def get_node_ids(self):
        return [1]


def test_asking_a_supplier_without_a_node_is_refused(server):
    federation = server.GridFederation(Silent(), {"north": 1})
    with pytest.raises(RunError, match="no node serves west"):
        federation.ask({"north": b"", "west": b""})


def test_nobody_waits_for_an_engine_that_stopped(server):
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(RunError, match="stopped"):
        server.GridFederation(Silent(), {"north": 1}, stopped=stopped).ask({"north": b""})
    with pytest.raises(RunError, match="1 of 3 nodes"):
        server.nodes_by_supplier(Silent(), NAMES, stopped)


def test_who_does_not_answer_in_time_is_left_out(server):
    assert server.GridFederation(Silent(), {"north": 1}, patience=0.05).ask({"north": b""}) == {}


@pytest.mark.slow
@RAY
def test_every_supplier_gets_its_own_bytes_and_answers_for_itself(links, app, caplog):
    before = dict(os.environ)

    def drive(federation):
        rounds = []
        for number in range(5):
            requests = {name: bytes([number]) * 100_000 + name[::-1].encode() for name in NAMES}
            rounds.append((requests, federation.ask(requests)))
        some = federation.ask({"harbour": b"alone"})
        broken = federation.ask({"north": b"break", "south": b"whole"})
        return rounds, some, broken

    rounds, some, broken = links[1].run(drive, app(b">"), NAMES)
    assert len(rounds) == 5
    for requests, replies in rounds:
        assert replies == {name: b">" + name.encode() + b":" + requests[name] for name in NAMES}
    assert some == {"harbour": b">harbour:alone"}
    assert broken == {"south": b">south:whole"}
    assert "north could not answer (ValueError)" in caplog.text
    assert "secret" not in caplog.text
    assert dict(os.environ) == before


@pytest.mark.slow
@RAY
def test_what_the_drive_raises_reaches_the_caller_as_itself(links, app):
    raised = LedgerBusyError("mine")
    seen = []

    def drive(federation):
        seen.append(federation.ask(dict.fromkeys(NAMES, b"?")))
        raise raised

    with pytest.raises(LedgerBusyError) as caught:
        links[1].run(drive, app(b"busy"), NAMES)
    assert caught.value is raised
    assert [sorted(replies) for replies in seen] == [["harbour", "north"]]


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["local", "aggregate"])
def test_the_engine_changes_no_estimate(links, skyglow, hamlet, tables, tmp_path, trust):
    for engine in ("in-process", "flower"):
        done = skyglow.run(*hamlet(tmp_path / engine, trust=trust, engine=engine))
        assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "flower") == tables(tmp_path / "in-process")
