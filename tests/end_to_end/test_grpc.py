# SPDX-License-Identifier: Apache-2.0
"""The link between real processes, over real TLS, with real kills. What is carried here is opaque.

A supplier here is a small program that gives each request a random reply, keeps it before sending it, and gives it
again when it is asked again: as a supplier's gate does, so that a reply that was lost or made twice is seen.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skyglow_server.links.grpc import GrpcFederation  # first: it says what TLS gRPC may speak

# isort: split
from skyglow_server import keys
from skyglow_server.links.listening import Credentials
from skyglow_shared.signing import Identity
from skyglow_simulations.links.ports import free_port

NAMES = ("north", "south", "harbour")
SUPPLIER = """
import hashlib, os, sys, time
from pathlib import Path

from skyglow_client.links import grpc as end
from skyglow_shared import link, signals
from skyglow_shared.signing import Identity

folder = Path(sys.argv[1])
made = folder / "made"
made.mkdir(exist_ok=True)
stop = signals.stop_at_signals()


def handle(request):
    place = made / hashlib.sha256(request).hexdigest()
    with (folder / "asked").open("a") as log:
        log.write(place.name + "\\n")
    if not place.exists():
        new = place.with_suffix(".new")
        new.write_bytes(os.urandom(16))
        new.rename(place)
    if request.startswith(b"slow"):
        time.sleep(float(request.split()[1]))
    return folder.name.encode() + place.read_bytes() + request[-20:]


files = (link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE)
pem = end.Credentials(*((folder / "link" / name).read_bytes() for name in files))
kit = link.load_kit(folder / "link")
identity = Identity.load(folder / "identity.key")
end.serve(handle, identity, kit, pem, stop=stop, patience=end.Patience(first=0.05, longest=0.3))
(folder / "goodbye").touch()
"""
OFFICE = """
import json, sys
from pathlib import Path

from skyglow_server.links.grpc import GrpcFederation
from skyglow_server.links.listening import Credentials
from skyglow_server import keys
from skyglow_shared.signing import Identity

folder, address, rounds, names = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
pem = Credentials(*((folder / name).read_bytes() for name in ("ca.pem", "server.pem", "server.key")))
key = Identity.load(folder / "identity.key").public_key
log = folder / "rounds"
log.touch()
with GrpcFederation(address, pem, key, lambda: keys.admitted(folder), patience=30.0) as federation:
    for number in range(len(log.read_text().splitlines()), rounds):
        replies = federation.ask({name: b"round %d" % number for name in names})
        with log.open("a") as out:
            out.write(json.dumps({name: reply.hex() for name, reply in replies.items()}) + "\\n")
"""


class Place:
    """An office's folder, and the folders of suppliers that have its kits."""

    def __init__(self, folder):
        self.folder, self.office = folder, folder / "office"
        self.address = f"127.0.0.1:{free_port()}"
        keys.init(self.office, self.address)
        for name in NAMES:
            identity = Identity.generate()
            identity.save(folder / name / "identity.key")
            keys.enrol(self.office, name, identity.public_key).rename(folder / name / "link")
        files = (self.office / name for name in ("ca.pem", "server.pem", "server.key"))
        key = Identity.load(self.office / "identity.key").public_key
        pem = Credentials(*(path.read_bytes() for path in files))
        self.federation = GrpcFederation(self.address, pem, key, lambda: keys.admitted(self.office), patience=30.0)

    def start(self, name):
        return subprocess.Popen([sys.executable, "-c", SUPPLIER, str(self.folder / name)], env=environment())

    def start_office(self, rounds):
        words = [sys.executable, "-c", OFFICE, str(self.office), self.address, str(rounds), ",".join(NAMES)]
        return subprocess.Popen(words, env=environment())

    @contextlib.contextmanager
    def running(self, *names):
        processes = {name: self.start(name) for name in names}
        try:
            yield processes
        finally:
            for process in processes.values():
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(15) for process in processes.values()]
        assert codes == [0] * len(codes), "every supplier stops when it is told to, and well"

    def asked(self, name):
        path = self.folder / name / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def made(self, name):
        return {path.read_bytes() for path in (self.folder / name / "made").iterdir()}


def environment():
    return {**os.environ, "GRPC_VERBOSITY": "NONE"}


def until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_rounds_between_processes(place):
    with place.federation, place.running(*NAMES):
        for number in range(20):
            requests = {name: b"%d " % number * 1000 + name.encode() for name in NAMES}
            for name, reply in place.federation.ask(requests).items():
                assert reply.startswith(name.encode())
                assert reply.endswith(requests[name][-20:])
        large = {name: bytes(3_000_001) + name.encode() for name in NAMES}
        assert place.federation.ask(large).keys() == large.keys()
    assert {name: len(place.asked(name)) for name in NAMES} == dict.fromkeys(NAMES, 21), "nobody was asked twice"


def test_a_supplier_killed_while_it_answers_is_asked_again_and_answers_the_same(place):
    with place.federation, place.running(*NAMES) as processes:
        answers = []
        request = b"slow 1.0 to be killed meanwhile"
        asking = threading.Thread(target=lambda: answers.append(place.federation.ask(dict.fromkeys(NAMES, request))))
        asking.start()
        until(lambda: place.asked("south"))
        until(lambda: any(path.suffix == "" for path in (place.folder / "south" / "made").iterdir()))
        processes["south"].kill()
        processes["south"].wait()
        (sealed,) = place.made("south")
        processes["south"] = place.start("south")
        asking.join(30)
        assert answers[0].keys() == set(NAMES)
        assert answers[0]["south"] == b"south" + sealed + request[-20:]
    assert len(place.asked("south")) == 2
    assert all(len(place.made(name)) == 1 for name in NAMES), "no reply was made a second time"
    assert all(len(place.asked(name)) == 1 for name in ("north", "harbour")), "the others were left in peace"


def test_an_office_killed_between_rounds_goes_on_where_it_stood(place):
    rounds = 400
    log = place.office / "rounds"
    with place.running(*NAMES):
        for mark in (20, 60):
            office = place.start_office(rounds)
            until(lambda mark=mark: log.exists() and len(log.read_text().splitlines()) >= mark)
            office.send_signal(signal.SIGKILL)
            assert office.wait() == -signal.SIGKILL
        assert len(log.read_text().splitlines()) < rounds, "it was killed before its end"
        assert place.start_office(rounds).wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == rounds
    assert all(line.keys() == set(NAMES) for line in lines)
    for name in NAMES:
        replies = [bytes.fromhex(line[name]) for line in lines]
        assert {reply[len(name) : len(name) + 16] for reply in replies} == place.made(name), "none lost, none anew"
        assert len(place.made(name)) == rounds


def test_a_supplier_told_to_stop_answers_first(place):
    with place.federation:
        process = place.start("north")
        answers = []
        asking = threading.Thread(target=lambda: answers.append(place.federation.ask({"north": b"slow 1.0 question"})))
        asking.start()
        until(lambda: place.asked("north"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        asking.join(30)
        assert answers[0]["north"].endswith(b"slow 1.0 question")
    assert (place.folder / "north" / "goodbye").exists()


def test_a_supplier_listens_nowhere(place):
    with place.federation, place.running("north") as processes:
        assert place.federation.ask({"north": b"?"})
        (process,) = processes.values()
        opened = {str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir() if path.is_symlink()}
        mine = {name[8:-1] for name in opened if name.startswith("socket:[")}
        listening = "0A"
        for table in ("tcp", "tcp6"):
            for row in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
                columns = row.split()
                assert not (columns[9] in mine and columns[3] == listening)
        assert mine, "it has a connection"
