# SPDX-License-Identifier: Apache-2.0
"""The office's end of the link lets in whom it should, and goes on serving whatever others send."""

import contextlib
import datetime
import logging
import os
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time

from skyglow_server.links.grpc import GrpcFederation  # first: it says what TLS gRPC may speak

# isort: split
import grpc
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from skyglow_client.links import grpc as client
from skyglow_server import keys
from skyglow_server.links.listening import Credentials
from skyglow_shared import link
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.signing import Identity

NAMES = ("north", "south")
QUICK = client.Patience(first=0.05, longest=0.2)


class Office:
    """An office that listens, with two suppliers enrolled."""

    def __init__(self, folder):
        self.folder = folder
        keys.init(folder, "127.0.0.1:1")
        self.identities = {name: Identity.generate() for name in NAMES}
        for name, identity in self.identities.items():
            keys.enrol(folder, name, identity.public_key)
        files = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        self.key = Identity.load(folder / "identity.key").public_key
        self.credentials = Credentials(*(path.read_bytes() for path in files))
        self.federation = self.new()

    def new(self):
        return GrpcFederation(
            "127.0.0.1:0", self.credentials, self.key, lambda: keys.admitted(self.folder), patience=20.0
        )

    @property
    def address(self):
        return f"127.0.0.1:{self.federation.port}"

    def kit(self, name):
        return msgspec.structs.replace(link.load_kit(self.folder / "kits" / name), address=self.address)

    def pem(self, name):
        kit = self.folder / "kits" / name
        files = (link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE)
        return client.Credentials(*((kit / file).read_bytes() for file in files))

    @contextlib.contextmanager
    def serving(self, *names, handle=None):
        """Healthy suppliers, each in a thread."""
        stop = threading.Event()
        threads = []
        for name in names:
            answer = handle or (lambda request, name=name: name.encode() + request)
            given = (answer, self.identities[name], self.kit(name), self.pem(name))
            threads.append(threading.Thread(target=client.serve, args=given, kwargs={"stop": stop, "patience": QUICK}))
            threads[-1].start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()

    def dial(self, credentials, name="north", identity=None, *, hello=None, frames=()):
        """Speak the link by hand; return the status that ended it."""
        tls = grpc.ssl_channel_credentials(credentials.authority, credentials.private, credentials.certificate)
        outgoing = queue.SimpleQueue()
        with grpc.secure_channel(self.address, tls, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.stream_stream(link.METHOD)(iter(outgoing.get, None), timeout=15)
            try:
                challenge = link.decode(next(call))
                if hello is None:
                    given = link.hello(self.kit("north"), identity or self.identities["north"], challenge)
                    hello = link.encode(msgspec.structs.replace(given, name=name))
                outgoing.put(hello)
                for frame in frames:
                    outgoing.put(frame)
                for _ in call:
                    pass
            except grpc.RpcError as error:
                return error.code()
            finally:
                outgoing.put(None)
        return call.code()


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    made = Office(tmp_path_factory.mktemp("office"))
    with made.federation:
        yield made


@pytest.fixture(autouse=True)
def unaffected(request):
    """Whatever a test does to the office, a healthy supplier is served before, meanwhile and after."""
    if "office" not in request.fixturenames:
        yield
        return
    made = request.getfixturevalue("office")
    with made.serving("south"):
        assert made.federation.ask({"south": b"before"}) == {"south": b"southbefore"}
        yield
        assert made.federation.ask({"south": b"after"}) == {"south": b"southafter"}


def issued(folder, name, **settings):
    private, certificate = keys.issue(folder, name, server=False, **settings)
    return client.Credentials((folder / "ca.pem").read_bytes(), certificate, private)


def test_the_rightful_supplier_is_let_in_and_answers(office):
    with office.serving("north"):
        assert office.federation.ask(dict.fromkeys(NAMES, b"?")) == {name: name.encode() + b"?" for name in NAMES}
        assert office.federation.connected() == NAMES


def test_a_certificate_of_another_authority_is_refused(office, tmp_path):
    keys.init(tmp_path, "127.0.0.1:1")
    other = issued(tmp_path, "north")
    mixed = client.Credentials(office.credentials.authority, other.certificate, other.private)
    assert office.dial(mixed) is grpc.StatusCode.UNAVAILABLE


def test_no_certificate_is_refused(office):
    assert office.dial(client.Credentials(office.credentials.authority, None, None)) is grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate_is_refused(office):
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    assert office.dial(issued(office.folder, "north", start=before, days=20)) is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_nobody_enrolled_is_refused(office):
    assert office.dial(issued(office.folder, "stranger")) is grpc.StatusCode.PERMISSION_DENIED


def test_only_the_certificate_that_was_enrolled_last_is_good(office):
    old = office.pem("north")
    keys.enrol(office.folder, "north", office.identities["north"].public_key)
    assert office.dial(old) is grpc.StatusCode.PERMISSION_DENIED
    with office.serving("north"):
        assert office.federation.ask({"north": b"!"}) == {"north": b"north!"}


def test_the_offices_own_certificate_is_no_suppliers(office):
    own = client.Credentials(office.credentials.authority, office.credentials.certificate, office.credentials.private)
    assert office.dial(own) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


def test_a_name_in_only_one_place_of_a_certificate_is_no_name(office):
    both = x509.load_pem_x509_certificate(office.pem("north").certificate)
    assert keys.bearer(both.public_bytes(Encoding.PEM)) == "north"
    assert keys.bearer(office.credentials.authority) == ""
    assert keys.bearer(office.credentials.certificate) == ""


def test_a_certificate_without_its_suppliers_identity_key_is_not_enough(office):
    assert office.dial(office.pem("north"), identity=Identity.generate()) is grpc.StatusCode.UNAUTHENTICATED


def test_a_hello_of_another_time_is_refused(office):
    stale = link.hello(office.kit("north"), office.identities["north"], link.Challenge(link.VERSION, bytes(32)))
    assert office.dial(office.pem("north"), hello=link.encode(stale)) is grpc.StatusCode.UNAUTHENTICATED


def test_a_hello_in_another_name_is_refused(office):
    assert office.dial(office.pem("north"), name="south") is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"\xc1",
        b"\x93" * 2000,
        link.encode(link.Part(1, True, b"early")),
        link.encode(link.Hello(link.VERSION + 1, "north", b"")),
        link.encode(link.Welcome()),
    ],
    ids=["empty", "noise", "nested", "reply", "version", "welcome"],
)
def test_a_stream_that_does_not_begin_with_a_hello_is_cut(office, hello):
    assert office.dial(office.pem("north"), hello=hello) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\x00",
        link.encode(link.Welcome()),
        link.encode(link.Part(1, False, b"short")),
        msgspec.msgpack.encode(["Part", 2**70 % 2**64, True, "text"]),
        msgspec.msgpack.encode(["Part", 1, True, bytes(link.PART_BYTES + 1)]),
    ],
    ids=["noise", "welcome", "short", "text", "long"],
)
def test_a_malformed_frame_cuts_the_stream(office, frame):
    assert office.dial(office.pem("north"), frames=[frame]) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_frame_beyond_the_limit_is_not_even_read(office):
    frame = bytes(link.FRAME_BYTES + 1)
    assert office.dial(office.pem("north"), frames=[frame]) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_without_end_is_cut_at_the_limit(office, monkeypatch):
    monkeypatch.setattr(link, "MAX_MESSAGE_BYTES", 3 * link.PART_BYTES)
    endless = [link.encode(link.Part(1, False, bytes(link.PART_BYTES)))] * 5
    assert office.dial(office.pem("north"), frames=endless) is grpc.StatusCode.INVALID_ARGUMENT


def test_plain_text_and_noise_are_refused(office):
    with (
        grpc.insecure_channel(office.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        next(channel.stream_stream(link.METHOD)(iter(()), timeout=10))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with socket.create_connection(("127.0.0.1", office.federation.port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_tls_1_3_is_spoken(office, version):
    kit = office.folder / "kits" / "north"
    context = ssl.create_default_context(cafile=office.folder / "ca.pem")
    context.load_cert_chain(kit / link.CERTIFICATE_FILE, kit / link.PRIVATE_FILE)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", office.federation.port), timeout=10)
    with plain:
        if version is ssl.TLSVersion.TLSv1_2:
            with pytest.raises((ssl.SSLError, OSError)):
                context.wrap_socket(plain, server_hostname="127.0.0.1")
        else:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as line:
                assert line.version() == "TLSv1.3"


def test_an_office_whose_grpc_would_speak_older_tls_does_not_start(tmp_path):
    """As when another part of the process loaded gRPC first: found out by trying, not by looking at settings."""
    keys.init(tmp_path, "127.0.0.1:1")
    code = (
        "import sys, grpc; from pathlib import Path\n"
        "from skyglow_server.links.grpc import GrpcFederation\n"
        "from skyglow_server.links.listening import Credentials\n"
        "from skyglow_shared.errors import RunError\n"
        "names = ('ca.pem', 'server.pem', 'server.key')\n"
        "pem = Credentials(*(Path(sys.argv[1], name).read_bytes() for name in names))\n"
        "try: GrpcFederation('127.0.0.1:0', pem, '', dict).start()\n"
        "except RunError as error: print(error)\n"
    )
    fresh = {name: value for name, value in os.environ.items() if name != "GRPC_SSL_CIPHER_SUITES"}
    line = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(line, check=True, capture_output=True, text=True, env=fresh)
    assert "loaded too early" in said.stdout


def test_a_certificate_that_would_allow_older_tls_is_refused(tmp_path):
    made = Office(tmp_path)
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    made.credentials = Credentials(made.credentials.authority, pem, made.credentials.private)
    with pytest.raises(FormatError, match="elliptic"):
        made.new().start()


def test_one_stream_a_supplier_and_the_last_one_counts(office):
    ended = []
    first = threading.Thread(target=lambda: ended.append(office.dial(office.pem("north"))))
    first.start()
    while "north" not in office.federation.connected():
        time.sleep(0.01)
    with office.serving("north"):
        first.join(10)
        assert ended == [grpc.StatusCode.ABORTED]
        assert office.federation.ask({"north": b"2"}) == {"north": b"north2"}


def test_a_late_reply_is_not_taken_for_another_question(office, monkeypatch):
    held = threading.Event()

    def slow(request):
        if request == b"first":
            held.wait(10)
        return b"on " + request

    with office.serving("north", handle=slow):
        assert office.federation.ask({"north": b"zeroth"})
        monkeypatch.setattr(office.federation, "patience", 0.2)
        assert office.federation.ask({"north": b"first", "south": b"!"}) == {"south": b"south!"}
        monkeypatch.setattr(office.federation, "patience", 20.0)
        threading.Timer(0.1, held.set).start()
        assert office.federation.ask({"north": b"second"}) == {"north": b"on second"}


def test_who_is_revoked_is_cut_off_and_not_asked(office):
    with office.serving("north"):
        assert office.federation.ask({"north": b"?"})
        keys.revoke(office.folder, "north")
        with pytest.raises(RunError, match="north may not connect"):
            office.federation.ask({"north": b"?"})
        deadline = time.monotonic() + 10
        while "north" in office.federation.connected() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "north" not in office.federation.connected()
        assert office.dial(office.pem("north")) is grpc.StatusCode.PERMISSION_DENIED
    keys.enrol(office.folder, "north", office.identities["north"].public_key)


def test_a_supplier_that_comes_late_is_still_asked(office):
    stack = contextlib.ExitStack()
    timer = threading.Timer(0.5, lambda: stack.enter_context(office.serving("north")))
    timer.start()
    assert office.federation.ask({"north": b"late"}) == {"north": b"northlate"}
    timer.join()
    stack.close()


def test_neither_side_logs_what_it_carries(office, caplog):
    with caplog.at_level(logging.DEBUG), office.serving("north"):
        office.federation.ask({"north": b"a secret of a home"})
    office.dial(office.pem("north"), frames=[b"a secret of a home"])
    assert "north is connected" in caplog.text
    assert "secret" not in caplog.text


def test_an_office_that_does_not_listen_says_so(tmp_path):
    made = Office(tmp_path)
    with pytest.raises(RunError, match="not listening"):
        made.federation.ask({"north": b""})


def test_a_second_office_on_the_same_port_is_an_error(office, tmp_path):
    other = Office(tmp_path)
    other.federation.address = office.address
    with pytest.raises(RunError, match="cannot listen"):
        other.federation.start()
