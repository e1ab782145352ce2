# SPDX-License-Identifier: Apache-2.0
"""An authority ends: the next one overlaps with it, suppliers learn of it by a signed file, and nobody is cut off."""

import datetime
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from skyglow_server import serve as office_side  # first: it says what TLS gRPC may speak

# isort: split
from cryptography import x509

from skyglow_client import doctor
from skyglow_client import serve as supplier_side
from skyglow_client.links import grpc as link_end
from skyglow_server import keys
from skyglow_shared import certificates, link
from skyglow_shared.command import main
from skyglow_shared.errors import FormatError, SignatureError
from skyglow_shared.signing import Identity
from skyglow_simulations.links.ports import free_port

POLICY = """
office_key = "{key}"
epsilon = 1.0
delta = 1e-6
window_days = 1
purposes = []
legal_gateways = []
features = []
trust_modes = []
sources = []
least_homes = 1
least_suppliers = 1
most_rounds = 1
"""


@pytest.fixture
def place(tmp_path):
    """An office and two suppliers that have its kits."""
    keys.init(tmp_path / "office", f"127.0.0.1:{free_port()}")
    for name in ("north", "south"):
        enrolled(tmp_path, name)
    return tmp_path


def enrolled(place, name):
    folder = place / name
    key = Identity.generate()
    key.save(folder / "identity.key")
    kit = keys.enrol(place / "office", name, key.public_key)
    shutil.copytree(kit, folder / "link", dirs_exist_ok=True)
    office = Identity.load(place / "office" / "identity.key").public_key
    (folder / "policy.toml").write_text(POLICY.format(key=office))


@contextmanager
def serving(place, name):
    """One supplier on the link, as `skyglow supplier serve` has it."""
    kit, credentials = supplier_side.load(place / name / "link")
    stop = threading.Event()
    thread = threading.Thread(
        target=link_end.serve,
        args=(bytes, Identity.load(place / name / "identity.key"), kit, credentials),
        kwargs={"stop": stop, "patience": link_end.Patience(first=0.05, longest=0.1)},
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def reaches(place, name, seconds=5.0):
    """Whether a supplier gets onto the link of an office that is started now."""
    with office_side.federation(place / "office") as federation, serving(place, name):
        deadline = time.monotonic() + seconds
        while name not in federation.connected():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return bool(federation.ask({name: b"question"}))


def issuer(path):
    return x509.load_pem_x509_certificate(path.read_bytes()).issuer


def test_two_authorities_overlap_until_everybody_knows_the_new_one(place, capsys):
    office = place / "office"
    former = issuer(office / "server.pem")
    assert main(["office", "renew", str(office), "--authority"]) == 0
    update = office / "kits" / link.NEXT_AUTHORITIES_FILE
    assert str(update) in capsys.readouterr().out
    assert issuer(office / "server.pem") == former, "what suppliers know already"
    assert reaches(place, "north"), "who has not heard of it yet"

    enrolled(place, "west")
    assert issuer(place / "west" / "link" / link.CERTIFICATE_FILE) != former
    assert reaches(place, "west"), "a certificate of the new authority, an office that shows one of the former"

    assert main(["supplier", "init", str(update), "--folder", str(place / "north")]) == 0
    assert reaches(place, "north")

    assert main(["office", "renew", str(office)]) == 0
    assert issuer(office / "server.pem") != former
    assert reaches(place, "north")
    assert reaches(place, "west")
    assert not reaches(place, "south", seconds=1.5), "it was told, and did not do it"
    assert main(["supplier", "init", str(update), "--folder", str(place / "south")]) == 0
    assert reaches(place, "south")

    enrolled(place, "north")  # before its certificate, of the former authority, ends with that
    assert reaches(place, "north")
    kit, _ = supplier_side.load(place / "north" / "link")
    assert doctor._check_certificate(place / "north" / "link", kit)


def test_only_the_office_of_the_policy_says_whom_to_believe(place, tmp_path):
    office, held = place / "office", place / "north" / "link" / link.AUTHORITY_FILE
    before = held.read_bytes()
    older = certificates.signed_authorities(before, Identity.load(office / "identity.key"))
    time.sleep(1.1)  # certificates begin at whole seconds
    update = keys.renew_authority(office)
    good = update.read_bytes()
    keys.init(tmp_path / "other", "127.0.0.1:1")
    foreign = certificates.signed_authorities(
        (tmp_path / "other" / "ca.pem").read_bytes(), Identity.load(tmp_path / "other" / "identity.key")
    )
    mixed = good.replace(good[100:110], good[110:120], 1)
    for content in (foreign, mixed):
        update.write_bytes(content)
        with pytest.raises((SignatureError, FormatError)):
            doctor.accept_authorities(update, place / "north")
    for content in (b"", b"{}", before, b'{"authorities": "x", "signature": "zz"}'):
        update.write_bytes(content)
        with pytest.raises(FormatError, match="authorities"):
            doctor.accept_authorities(update, place / "north")
    assert held.read_bytes() == before
    update.write_bytes(good)
    doctor.accept_authorities(update, place / "north")
    update.write_bytes(older)
    with pytest.raises(FormatError, match="older than what is in link"):
        doctor.accept_authorities(update, place / "north")


def test_an_authority_that_has_ended_is_not_handed_on(place):
    office = place / "office"
    keys._found(office, former=b"", days=0)
    keys._found(office, former=(office / "ca.pem").read_bytes())
    assert len(x509.load_pem_x509_certificates((office / "ca.pem").read_bytes())) == 1


def test_no_certificate_outlives_its_authority(place):
    office = place / "office"
    keys._found(office, former=b"", days=100)
    keys.renew(office)
    ends = [certificates.end_of((office / name).read_bytes()) for name in keys.CERTIFICATES.values()]
    assert ends[0] == ends[1]


def test_both_sides_are_warned_in_time(place, capsys, caplog):
    office = place / "office"
    keys._found(office, former=b"", days=100)
    keys.enrol(office, "north", Identity.generate().public_key)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=9, hours=1)
    entry = keys.enrolled(office)["south"]
    keys._save(
        office, type(entry)(name="south", public_key=entry.public_key, certificate=entry.certificate, ends=str(soon))
    )
    assert main(["office", "status", str(office)]) == 0
    said = capsys.readouterr().out
    assert "the authority's certificate ends in 99 days; make the next with `skyglow office renew --authority`" in said
    assert "south's certificate ends in 9 days; enrol it again" in said
    assert "north" not in said

    shutil.copytree(office / "kits" / "north", place / "north" / "link", dirs_exist_ok=True)
    _, credentials = supplier_side.load(place / "north" / "link")
    with certificates.watching(lambda: supplier_side.watched(credentials), seconds=0.01):
        deadline = time.monotonic() + 10
        while "authority's" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "the office's authority's certificate ends in 99 days; ask the office for its next" in caplog.text
