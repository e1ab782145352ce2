# SPDX-License-Identifier: Apache-2.0
"""Flower deployed, a real SuperLink and two SuperNodes: sites run installed code alone, whoever else dies or lies."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from skyglow_shared.bundle import bundle, digest
from skyglow_shared.errors import RunError
from skyglow_simulations import deployed, deployed_flower
from skyglow_simulations.run import Folder

NAMES = ("north", "south")
SITE = """
import sys, time
from contextlib import contextmanager
from pathlib import Path

from skyglow_client.links.flower import client_app
from skyglow_client.links.flower_site import Site
from skyglow_shared.signals import stop_at_signals

name, address, secret, asked = sys.argv[1:]


@contextmanager
def opened(name):
    def handle(request):
        with Path(asked).open("a") as log:
            log.write(f"{name} {request.decode()}\\n")
        if request.startswith(b"slowly"):
            time.sleep(4)
        return name.encode() + b" heard " + request

    yield handle


Site(address, client_app(opened, (name,)), Path(secret).read_bytes()).serve(stop_at_signals())
"""
CODE = "from pathlib import Path\nfrom flwr.clientapp import ClientApp\n\nPath({!r}).touch()\ninstalled = ClientApp()\n"


def test_the_bundle_holds_no_code_and_is_the_same_everywhere():
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        assert archive.namelist() == ["pyproject.toml"]
    assert digest(bundle()) == "f20134c0392bd8d0773fea67d5339d06c2cd1638b483c6c8179a0e3067cf5002"


class Lost:
    """A SuperNode's runtime whose task is of a run that is gone: its message is announced, and never there."""

    def __init__(self, runtime, message):
        self.runtime, self.message, self.said, self.closed = runtime, message, [], False

    def PullTaskInput(self, request):  # noqa: N802 - Flower's names
        return self.runtime.PullTaskInputResponse()

    def PullMessages(self, request):  # noqa: N802
        tree = self.message.ObjectTree(object_id="ab" * 32)
        return self.runtime.PullAppMessagesResponse(messages_list=[self.message.Message()], message_object_trees=[tree])

    def PullObject(self, request):  # noqa: N802
        return self.message.PullObjectResponse(object_found=True, object_available=False)

    def ConfirmMessageReceived(self, request):  # noqa: N802
        raise AssertionError("nothing was received")

    def SendTaskHeartbeat(self, request):  # noqa: N802
        return None

    def PushTaskOutput(self, request):  # noqa: N802
        self.said.append((request.sub_status, request.details))

    def close(self):
        self.closed = True


def test_flower_does_not_wait_for_a_message_that_never_comes(monkeypatch, caplog):
    pytest.importorskip("flwr", reason="needs the flower extra: make test-flower")
    flower_site = importlib.import_module("skyglow_client.links.flower_site")
    lost = Lost(importlib.import_module("flwr.proto.runtime_pb2"), importlib.import_module("flwr.proto.message_pb2"))
    monkeypatch.setattr(flower_site, "_PULL_SECONDS", 0.5)
    monkeypatch.setattr(flower_site.Site, "_client", lambda *_: lost)
    begun = time.monotonic()
    flower_site.Site("127.0.0.1:1", None, b"")._answer("token")
    assert time.monotonic() - begun < 30
    assert [(status, "does not arrive" in why) for status, why in lost.said] == [("failed", True)]
    assert lost.closed
    assert "does not arrive" in caplog.text


@pytest.fixture(scope="module")
def superlink():
    pytest.importorskip("flwr", reason="needs the flower extra: make test-flower")
    before = dict(os.environ)
    yield importlib.import_module("skyglow_server.links.flower_superlink")
    os.environ.clear()
    os.environ.update(before)


class House:
    """Two SuperNodes with echoing sites, and the office's end; `asked` is what suppliers were asked."""

    def __init__(self, superlink, folder):
        self.superlink, self.folder = superlink, Folder(folder)
        self.deployment = deployed_flower.enrol(self.folder, NAMES)
        self.log = folder / "asked"
        self.log.touch()
        self.running = {}

    @property
    def asked(self):
        return self.log.read_text().splitlines()

    def site(self, name):
        place = self.deployment.place
        words = [
            sys.executable,
            "-c",
            SITE,
            name,
            f"127.0.0.1:{self.deployment.ports[name]}",
            place / "secret",
            self.log,
        ]
        environment = self.deployment._environment(f"site-{name}")
        with (self.folder.path / "logs" / f"site-{name}.log").open("ab") as log:
            self.running["site", name] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def federation(self, content=None, **changes):
        authority = (deployed.office_folder(self.folder) / "ca.pem").read_bytes()
        secret = changes.pop("secret", self.deployment.secret)
        at = self.superlink.SuperLink(self.deployment.address, authority, secret, content or bundle())
        return self.superlink.SuperLinkFederation(at, **{"patience": 150.0, "again": 8.0} | changes)

    def kill(self, *who):
        self.running[who].kill()
        assert self.running[who].wait() == -signal.SIGKILL

    def until_asked(self, line):
        deadline = time.monotonic() + 60
        while line not in self.asked:
            assert time.monotonic() < deadline, "the request did not arrive"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def house(superlink, tmp_path_factory):
    made = House(superlink, tmp_path_factory.mktemp("house"))
    with deployed_flower.started(made.deployment, "node") as made.running:
        for name in NAMES:
            made.site(name)
        yield made


@contextlib.contextmanager
def meanwhile(work):
    """Do something in a thread; what it returned is in the list once this is left."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


@pytest.mark.slow
def test_installed_code_answers(house):
    with house.federation() as office:
        for number in range(2):
            replies = office.ask({name: f"{number} for {name}".encode() for name in NAMES})
            assert replies == {name: f"{name} heard {number} for {name}".encode() for name in NAMES}
        assert office.ask({"north": b"alone"}) == {"north": b"north heard alone"}


@pytest.mark.slow
def test_another_bundle_is_refused_unopened(house, caplog):
    marker, changed = house.folder.path / "ran", io.BytesIO(bundle())
    with zipfile.ZipFile(changed, "a") as archive:
        archive.writestr("skyglow.py", CODE.format(str(marker)))
    before = house.asked
    with house.federation(changed.getvalue()) as office:
        assert office.ask(dict.fromkeys(NAMES, b"now?")) == {}
    assert caplog.text.count("refuses the bundle") == len(NAMES)
    assert house.asked == before, "no supplier was asked"
    assert not marker.exists(), "nothing of a bundle ran at a site"
    assert not list(house.deployment.place.glob("*/apps/*")), "nothing of a bundle was unpacked"


@pytest.mark.slow
def test_a_message_that_nobody_knows_is_answered_and_blocks_no_node(house):
    with house.federation() as office:
        office.ask({"north": b"before"})
        run = office._run
        (identity,) = run.grid.push_messages([house.superlink.message(run.nodes()["north"], "train.anything")])
        deadline = time.monotonic() + 60
        while not (replies := list(run.grid.pull_messages([identity]))):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert replies[0].error.code == 500
        assert office.ask({"north": b"after"}) == {"north": b"north heard after"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["node", "site"])
def test_a_killed_process_of_a_supplier_is_asked_again_once_it_is_back(house, kind):
    question = f"slowly, {kind}".encode()
    with house.federation() as office, meanwhile(lambda: office.ask(dict.fromkeys(NAMES, question))) as found:
        house.until_asked(f"north slowly, {kind}")
        house.kill(kind, "north")
        house.site("north") if kind == "site" else house.deployment.restart(house.running, kind, "north")
    assert found == [{name: f"{name} heard slowly, {kind}".encode() for name in NAMES}]
    assert house.asked.count(f"north slowly, {kind}") > 1, "it was asked again"


@pytest.mark.slow
def test_a_killed_superlink_loses_the_run_and_the_office_begins_another(house, caplog):
    with house.federation() as office:
        with meanwhile(lambda: office.ask(dict.fromkeys(NAMES, b"slowly"))) as found:
            house.until_asked("south slowly")
            first = office._run
            house.kill("superlink", "")
            time.sleep(2)
            house.deployment.restart(house.running, "superlink")
        assert found == [{name: f"{name} heard slowly".encode() for name in NAMES}]
        assert office._run is not first
    assert "beginning another run" in caplog.text


@pytest.mark.slow
def test_without_the_secret_nobody_takes_a_task(house):
    with house.federation(secret=b"x" * 32) as office, pytest.raises(RunError, match="refuses this driver"):
        office.ask({"north": b"?"})
    flower_site = importlib.import_module("skyglow_client.links.flower_site")
    site = flower_site.Site(f"127.0.0.1:{house.deployment.ports['north']}", None, b"x" * 32)
    with pytest.raises(RunError, match="refuses this executor"):
        site.serve(threading.Event())


@pytest.mark.slow
def test_a_superlink_that_is_not_there_is_said_to_be(house):
    at = house.federation(patience=3.0).superlink
    nowhere = house.superlink.SuperLink("127.0.0.1:1", at.authority, at.secret)
    with house.superlink.SuperLinkFederation(nowhere, 3.0) as office, pytest.raises(RunError, match="no SuperLink"):
        office.ask({"north": b"?"})
