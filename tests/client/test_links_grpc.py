# SPDX-License-Identifier: Apache-2.0
"""The supplier's end of the link speaks to its own office alone, and never gives up nor hurries."""

import queue
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import skyglow_server.links.grpc  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
import grpc
import msgspec
import pytest

from skyglow_client import serve
from skyglow_client.links import grpc as client
from skyglow_client.supplier import Supplier
from skyglow_server import keys
from skyglow_shared import link
from skyglow_shared.errors import FormatError, ProtocolError, RunError, SignatureError
from skyglow_shared.signing import Identity


def test_waits_grow_to_a_limit_and_differ():
    patience = client.Patience(first=0.5, longest=30.0)
    for failures, whole in ((0, 0.5), (1, 1.0), (3, 4.0), (6, 30.0), (10_000, 30.0)):
        waits = {patience.wait(failures) for _ in range(50)}
        assert all(whole / 2 <= wait <= whole for wait in waits)
        assert len(waits) > 5


@pytest.fixture
def kit(tmp_path):
    """An office's folder and the kit it made for north."""
    office = tmp_path / "office"
    keys.init(office, "127.0.0.1:1")
    identity = Identity.generate()
    return office, keys.enrol(office, "north", identity.public_key), identity


class Rogue:
    """Something that listens where an office should, and begins with the frames it is given."""

    def __init__(self, office, *frames):
        self.frames, self.heard = frames, queue.SimpleQueue()
        service, method = link.METHOD.strip("/").split("/")
        handler = grpc.stream_stream_rpc_method_handler(self.talk)
        self.server = grpc.server(
            ThreadPoolExecutor(4), handlers=[grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        pair = ((office / "server.key").read_bytes(), (office / "server.pem").read_bytes())
        tls = grpc.ssl_server_credentials([pair], (office / "ca.pem").read_bytes(), require_client_auth=True)
        self.port = self.server.add_secure_port("127.0.0.1:0", tls)

    def talk(self, frames, context):
        self.heard.put("a stream")
        yield from self.frames
        for frame in frames:
            self.heard.put(frame)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *details):
        self.server.stop(0).wait()


def dialled(folder, identity, port, seconds=3.0, **changes):
    """Let a supplier dial for a while; return what it was asked to handle."""
    told, credentials = serve.load(folder)
    told = msgspec.structs.replace(told, address=f"127.0.0.1:{port}", **changes)
    stop, handled = threading.Event(), []
    patience = client.Patience(first=0.05, longest=0.1)
    thread = threading.Thread(
        target=client.serve,
        args=(lambda request: handled.append(request) or b"a share", identity, told, credentials),
        kwargs={"stop": stop, "patience": patience},
    )
    thread.start()
    stop.wait(seconds)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    return handled


def test_an_office_of_another_authority_hears_nothing(kit, tmp_path, caplog):
    _, folder, identity = kit
    keys.init(tmp_path / "false", "127.0.0.1:1")
    with Rogue(tmp_path / "false", link.encode(link.Challenge(link.VERSION, bytes(32)))) as rogue:
        assert dialled(folder, identity, rogue.port, 1.0) == []
        assert rogue.heard.empty()
    assert caplog.text.count("does not accept the other's certificate") >= 2, "it keeps trying"


def test_another_suppliers_certificate_is_no_office(kit, caplog):
    """Who holds a supplier's kit can't stand in for the office: its certificate is for clients."""
    office, folder, identity = kit
    shutil.copy(folder / link.CERTIFICATE_FILE, office / "server.pem")
    shutil.copy(folder / link.PRIVATE_FILE, office / "server.key")
    with Rogue(office, link.encode(link.Challenge(link.VERSION, bytes(32)))) as rogue:
        assert dialled(folder, identity, rogue.port, 0.5) == []
        assert rogue.heard.empty()


@pytest.mark.parametrize(
    "frames",
    [
        (link.encode(link.Part(1, True, b"a request")),),
        (link.encode(link.Challenge(link.VERSION + 1, bytes(32))), link.encode(link.Welcome())),
        (link.encode(link.Challenge(link.VERSION, b"short")), link.encode(link.Welcome())),
        (link.encode(link.Challenge(link.VERSION, bytes(32))), link.encode(link.Part(1, True, b"a request"))),
        (link.encode(link.Challenge(link.VERSION, bytes(32))), link.encode(link.Welcome()), b"\xc1"),
        (
            link.encode(link.Challenge(link.VERSION, bytes(32))),
            link.encode(link.Welcome()),
            link.encode(link.Part(1, False, b"short")),
        ),
    ],
    ids=["request first", "version", "weak challenge", "no welcome", "noise", "short part"],
)
def test_an_office_that_breaks_the_rules_is_not_answered(kit, frames):
    office, folder, identity = kit
    with Rogue(office, *frames) as rogue:
        assert dialled(folder, identity, rogue.port, 0.5) == []
        assert not rogue.heard.empty(), "it was reached"


def test_a_supplier_answers_in_parts_and_marks_the_exchange(kit):
    office, folder, identity = kit
    opening = [link.encode(link.Challenge(link.VERSION, bytes(32))), link.encode(link.Welcome())]
    with Rogue(office, *opening, *link.parts(7, b"question")) as rogue:
        handled = dialled(folder, identity, rogue.port, 1.0)
        assert handled[0] == b"question"
        heard = [rogue.heard.get() for _ in range(3)]
    assert isinstance(link.decode(heard[1]), link.Hello)
    assert link.decode(heard[2]) == link.Part(7, True, b"a share")


class Greedy(Rogue):
    """An office that asks and asks, and never takes a reply."""

    def talk(self, frames, context):
        yield link.encode(link.Challenge(link.VERSION, bytes(32)))
        next(frames)
        yield link.encode(link.Welcome())
        for number in range(400):
            yield from link.parts(number, b"once more")
        while context.is_active():
            threading.Event().wait(0.05)


def test_an_office_that_takes_no_reply_gets_no_more_answers(kit, monkeypatch):
    """Replies wait in this process's memory until the office takes them."""
    office, folder, identity = kit
    monkeypatch.setattr(client, "_MOST_WAITING", 8)
    monkeypatch.setattr(link, "PART_BYTES", 64 * 1024)
    told, credentials = serve.load(folder)
    stop, handled = threading.Event(), []
    reply = bytes(4 * link.PART_BYTES)
    with Greedy(office) as rogue:
        told = msgspec.structs.replace(told, address=f"127.0.0.1:{rogue.port}")
        thread = threading.Thread(
            target=client.serve,
            args=(lambda request: handled.append(request) or reply, identity, told, credentials),
            kwargs={"stop": stop},
        )
        thread.start()
        before = -1
        while len(handled) != before or not handled:
            before = len(handled)
            stop.wait(1.0)
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
    assert 0 < len(handled) < 200


def test_a_hello_is_for_one_office_and_one_challenge(kit):
    _, folder, identity = kit
    told, _ = serve.load(folder)
    given = link.hello(told, identity, link.Challenge(link.VERSION, bytes(32)))
    link.check_hello(given, "north", identity.public_key, told.office_key, bytes(32))
    for name, key, nonce in (
        ("south", told.office_key, bytes(32)),
        ("north", "0b" * 32, bytes(32)),
        ("north", told.office_key, bytes(31) + b"1"),
    ):
        with pytest.raises((ProtocolError, SignatureError), match="hello"):
            link.check_hello(given, name, identity.public_key, key, nonce)


@pytest.mark.parametrize("missing", [link.KIT_FILE, link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE])
def test_an_incomplete_kit_is_said_to_be(kit, missing):
    _, folder, _ = kit
    (folder / missing).unlink()
    with pytest.raises(FormatError, match="kit"):
        serve.load(folder)


@pytest.mark.parametrize("spoiled", [b"\xff", b"name = 3", b'name = "north"', b'other = "x"'])
def test_a_spoiled_kit_is_said_to_be(kit, spoiled):
    _, folder, _ = kit
    (folder / link.KIT_FILE).write_bytes(spoiled)
    with pytest.raises(FormatError, match="kit"):
        serve.load(folder)


def test_a_kit_of_another_supplier_or_office_is_not_used(town, kit):
    office, folder, _ = kit
    shutil.copytree(folder, town.folder / serve.KIT_FOLDER)
    stop = threading.Event()
    stop.set()
    with Supplier.open(town.folder, "north") as supplier, pytest.raises(RunError, match="another office"):
        serve.serve(supplier, stop)
    keys.enrol(office, "south", town.identity.public_key)
    shutil.copytree(office / "kits" / "south", town.folder / serve.KIT_FOLDER, dirs_exist_ok=True)
    with Supplier.open(town.folder, "north") as supplier, pytest.raises(RunError, match="another supplier"):
        serve.serve(supplier, stop)
