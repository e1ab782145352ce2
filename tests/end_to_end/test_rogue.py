# SPDX-License-Identifier: Apache-2.0
"""Whoever knocks, however often and however slowly, the office goes on serving its suppliers, and says whom it refused.

The office here is a process with as few open files as systems give by default. It asks its one healthy supplier again
and again and writes down how long each answer took.
"""

import contextlib
import datetime
import queue
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import skyglow_server.links.grpc  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
import grpc

from skyglow_client.links import grpc as client
from skyglow_server import keys
from skyglow_shared import link
from skyglow_shared.signing import Identity

OPEN_FILES = 1024
OFFICE = """
import logging, resource, sys, time
from pathlib import Path

from skyglow_server import serve
from skyglow_server.links import grpc as end

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
end._HELLO_SECONDS = 1.0
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
folder = Path(sys.argv[1])
with serve.federation(folder, listen="127.0.0.1:0", patience=20.0) as federation:
    (folder / "port.new").write_text(str(federation.port))
    (folder / "port.new").rename(folder / "port")
    with (folder / "seconds").open("a", buffering=1) as out:
        while not (folder / "stop").exists():
            begun = time.perf_counter()
            assert federation.ask({"south": b"?"}) == {"south": b"?"}
            out.write(f"{time.perf_counter() - begun}\\n")
            time.sleep(0.01)
"""


class Office:
    """An office at work in a process of its own, and what it writes."""

    def __init__(self, folder):
        self.folder = folder
        keys.init(folder, "127.0.0.1:1")
        self.identities = {name: Identity.generate() for name in ("north", "south")}
        for name, identity in self.identities.items():
            keys.enrol(folder, name, identity.public_key)

    @contextlib.contextmanager
    def running(self):
        line = [sys.executable, "-c", OFFICE, str(self.folder), str(OPEN_FILES)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log)
        stop = threading.Event()
        try:
            until((self.folder / "port").exists)
            self.port = int((self.folder / "port").read_text())
            given = (lambda request: request, self.identities["south"], self.kit("south"), self.pem("south"))
            thread = threading.Thread(target=client.serve, args=given, kwargs={"stop": stop})
            thread.start()
            until(self.seconds)
            yield self
            (self.folder / "stop").touch()
            assert self.process.wait(30) == 0, self.said()
        finally:
            stop.set()
            self.process.kill()
            self.process.wait()
        thread.join(10)

    def kit(self, name):
        given = link.load_kit(self.folder / "kits" / name)
        return link.Kit(name=name, address=f"127.0.0.1:{self.port}", office_key=given.office_key)

    def pem(self, name):
        files = (link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE)
        return client.Credentials(*((self.folder / "kits" / name / file).read_bytes() for file in files))

    def issued(self, **settings):
        private, certificate = keys.issue(self.folder, "north", server=False, **settings)
        return client.Credentials((self.folder / "ca.pem").read_bytes(), certificate, private)

    def seconds(self):
        path = self.folder / "seconds"
        return [float(line) for line in path.read_text().split()] if path.exists() else []

    def open_files(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def said(self):
        return (self.folder / "log").read_text(errors="replace")

    def dial(self, credentials, *frames, wait=15.0):
        """Open a stream, send frames, and return the status it ends with."""
        tls = grpc.ssl_channel_credentials(credentials.authority, credentials.private, credentials.certificate)
        outgoing = queue.SimpleQueue()
        for frame in frames:
            outgoing.put(frame)
        address = f"127.0.0.1:{self.port}"
        with grpc.secure_channel(address, tls, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.stream_stream(link.METHOD)(iter(outgoing.get, None), timeout=wait)
            try:
                for _ in call:
                    pass
            except grpc.RpcError as error:
                return error.code()
            finally:
                outgoing.put(None)
            return call.code()

    def knock(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


def until(true, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    made = Office(tmp_path_factory.mktemp("office"))
    with made.running():
        yield made


@pytest.fixture(autouse=True)
def unaffected(office):
    """Rounds go on while a test attacks, and none takes long."""
    before = len(office.seconds())
    yield
    until(lambda: len(office.seconds()) > before + 20)
    assert office.process.poll() is None, office.said()[-2000:]
    assert statistics.median(office.seconds()[before:]) < 0.2


def test_a_stream_that_says_nothing_is_cut_and_named(office):
    begun = time.monotonic()
    assert office.dial(office.pem("north")) is grpc.StatusCode.CANCELLED
    assert 0.5 < time.monotonic() - begun < 5
    until(lambda: "a stream of north was cut: it did not say hello in time" in office.said())


def test_streams_that_say_nothing_do_not_pile_up(office):
    ended = queue.SimpleQueue()
    dial = lambda: ended.put(office.dial(office.pem("north")))  # noqa: E731
    threads = [threading.Thread(target=dial) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    codes = [ended.get() for _ in threads]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 4
    assert set(codes) <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
    assert "north has too many that have not begun" in office.said()


def test_a_certificate_of_tomorrow_is_refused(office):
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert office.dial(office.issued(start=tomorrow)) is grpc.StatusCode.UNAVAILABLE


def test_refusals_before_a_stream_are_logged_too(office):
    keys.init(office.folder / "false", "127.0.0.1:1")
    private, certificate = keys.issue(office.folder / "false", "north", server=False)
    mixed = client.Credentials((office.folder / "ca.pem").read_bytes(), certificate, private)
    before = office.said().count("Handshake failed")
    assert office.dial(mixed) is grpc.StatusCode.UNAVAILABLE
    until(lambda: office.said().count("Handshake failed") > before)


def test_a_certificate_that_is_good_but_not_the_enrolled_one_is_named_in_the_log(office):
    assert office.dial(office.issued()) is grpc.StatusCode.PERMISSION_DENIED
    assert "its certificate is not of an enrolled supplier" in office.said()


def test_noise_within_tls_is_not_a_stream(office):
    """Frames of HTTP/2 that are none, from one who holds a good certificate: the connection ends, and only it."""
    kit = office.folder / "kits" / "north"
    context = ssl.create_default_context(cafile=office.folder / "ca.pem")
    context.load_cert_chain(kit / link.CERTIFICATE_FILE, kit / link.PRIVATE_FILE)
    context.set_alpn_protocols(["h2"])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100_000, bytes(70_000)):
        with (
            office.knock() as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
            contextlib.suppress(OSError),
        ):
            line.sendall(noise)
            while line.recv(4096):
                pass


def test_health_is_told_to_who_has_a_certificate(office):
    """gRPC's standard health check, by hand: an empty request, and the protobuf of SERVING."""
    pem = office.pem("north")
    tls = grpc.ssl_channel_credentials(pem.authority, pem.private, pem.certificate)
    with grpc.secure_channel(f"127.0.0.1:{office.port}", tls) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"
    nobody = grpc.ssl_channel_credentials(pem.authority)
    with grpc.secure_channel(f"127.0.0.1:{office.port}", nobody) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_cut(office):
    """Slow-loris: a byte of a TLS hello now and then."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)
    before = office.open_files()
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(office.knock()) for _ in range(200)]
        until(lambda: office.open_files() >= before + 200)
        for byte in hello:
            time.sleep(0.4)
            for line in lines:
                with contextlib.suppress(OSError):
                    line.send(bytes([byte]))
        until(lambda: office.open_files() <= before + 5)


@pytest.mark.slow
def test_ten_thousand_attempts_change_nothing(office):
    """Far more connections than the office has files for: held, half shaken, or gone at once."""
    before, begun = office.open_files(), len(office.seconds())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.wrap_bio(coming, going, server_hostname="office").do_handshake()
    hello = going.read()
    held = []
    most = 0
    for number in range(10_000):
        line = office.knock()
        with contextlib.suppress(OSError):
            line.sendall((b"", hello, b"GET / HTTP/1.1\r\n\r\n", hello[:50])[number % 4])
        held.append(line)
        if len(held) > 700:
            held.pop(0).close()
        if not number % 100:
            most = max(most, office.open_files())
    seconds = sorted(office.seconds()[begun:])
    for line in held:
        line.close()
    print(
        f"{len(seconds)} rounds meanwhile; median {statistics.median(seconds) * 1e3:.1f} ms, "
        f"slowest {seconds[-1] * 1e3:.0f} ms; at most {most} files open"
    )
    assert len(seconds) >= 20, "rounds went on"
    assert most < OPEN_FILES - 100
    assert seconds[-1] < 5.0
    until(lambda: office.open_files() <= before + 5)
    assert office.dial(office.pem("north")) is grpc.StatusCode.CANCELLED, "a supplier is still let in, to say hello"
