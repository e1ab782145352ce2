# SPDX-License-Identifier: Apache-2.0
"""A kit that does not match is said to be so before anything is put anywhere, and the doctor says what is amiss."""

import datetime
import shutil

import pytest

import skyglow_server.links.grpc  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
from skyglow_client import doctor
from skyglow_server import keys, serve
from skyglow_shared import link
from skyglow_shared.command import main
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.signing import Identity


@pytest.fixture
def office(tmp_path):
    folder = tmp_path / "office"
    keys.init(folder, "127.0.0.1:1")
    keys.enrol(folder, "north", Identity.generate().public_key)
    keys.enrol(folder, "south", Identity.generate().public_key)
    return folder


def test_a_kit_makes_a_supplier(office, tmp_path, capsys):
    folder = tmp_path / "north"
    assert main(["supplier", "init", str(office / "kits" / "north"), "--folder", str(folder)]) == 0
    assert "north dials 127.0.0.1:1" in capsys.readouterr().out
    for name in ("identity.key", "pseudonym.key", "link/certificate.key"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    before = (folder / "identity.key").read_bytes()
    assert main(["supplier", "init", str(office / "kits" / "north"), "--folder", str(folder)]) == 0
    assert (folder / "identity.key").read_bytes() == before, "a new kit leaves the keys alone"
    assert main(["supplier", "init", str(office / "kits" / "south"), "--folder", str(folder)]) == RunError.exit_code


@pytest.mark.parametrize("name", [link.KIT_FILE, link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_kit_that_was_changed_on_its_way_is_refused(office, tmp_path, name, how):
    path = office / "kits" / "north" / name
    path.write_bytes(path.read_bytes() + b"\n") if how == "changed" else path.unlink()
    with pytest.raises(FormatError, match=name):
        doctor.accept_kit(office / "kits" / "north", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def rewritten(office, **parts):
    """North's kit with other files in it, and sums to match: an office that mixed up two kits."""
    kit = office / "kits" / "north"
    for name, other in parts.items():
        shutil.copy(other, kit / {"certificate": link.CERTIFICATE_FILE, "authority": link.AUTHORITY_FILE}[name])
    lines = [f"{doctor.hashlib.sha256((kit / one).read_bytes()).hexdigest()}  {one}" for one in link.KIT_FILES]
    (kit / link.SUMS_FILE).write_text("\n".join(lines) + "\n")
    return kit


@pytest.mark.parametrize("name", link.KIT_FILES)
@pytest.mark.parametrize(
    "content", [b"", b"a = " + b"[" * 10_000, b"a = " + b"9" * 5_000, b"\xff\xfe", b"-----BEGIN X-----"]
)
def test_a_kit_of_rubbish_whose_sums_are_right_is_refused(office, tmp_path, name, content):
    (office / "kits" / "north" / name).write_bytes(content)
    with pytest.raises(FormatError, match="ask the office"):
        doctor.accept_kit(rewritten(office), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_sums_that_are_no_text_are_refused(office, tmp_path):
    (office / "kits" / "north" / link.SUMS_FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(FormatError, match="ask the office"):
        doctor.accept_kit(office / "kits" / "north", tmp_path / "new")


def test_parts_of_two_kits_are_no_kit(office, tmp_path):
    kit = rewritten(office, certificate=office / "kits" / "south" / link.CERTIFICATE_FILE)
    with pytest.raises(FormatError, match="belong together"):
        doctor.accept_kit(kit, tmp_path / "new")


def test_two_offices_with_one_name_are_told_apart(office, tmp_path):
    keys.init(tmp_path / "other", "127.0.0.1:1")
    kit = rewritten(office, authority=tmp_path / "other" / "ca.pem")
    with pytest.raises(FormatError, match="not of its authority"):
        doctor.accept_kit(kit, tmp_path / "new")


@pytest.mark.parametrize(("days", "words"), [(-400, "has ended"), (-380, "within 30 days"), (2, "clock")])
def test_a_certificate_out_of_its_time_is_said_to_be(office, tmp_path, days, words):
    start = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    private, certificate = keys.issue(office, "north", server=False, start=start)
    (office / "kits" / "north" / link.PRIVATE_FILE).write_bytes(private)
    (office / "kits" / "north" / link.CERTIFICATE_FILE).write_bytes(certificate)
    with pytest.raises(FormatError, match=words):
        doctor.accept_kit(rewritten(office), tmp_path / "new")


def test_the_doctor_finds_all_well_and_each_thing_amiss(town, tmp_path, capsys):
    office = tmp_path / "an-office"
    office.mkdir()
    town.office.save(office / "identity.key")
    keys.init(office, "127.0.0.1:1")
    (town.folder / "pseudonym.key").chmod(0o600)
    with serve.federation(office, listen="127.0.0.1:0") as federation:
        (office / "office.toml").write_text(f'address = "127.0.0.1:{federation.port}"\n')
        kit = keys.enrol(office, town.name, town.identity.public_key)
        assert main(["supplier", "init", str(kit), "--folder", str(town.folder)]) == 0
        found = {one.what: one for one in doctor.examine(town.folder)}
        assert [one for one in found.values() if not one.well and one.what != "store"] == []
        assert found["link"].words == "the office answers, TLSv1.3"
    capsys.readouterr()
    (town.folder / "identity.key").chmod(0o644)
    (town.folder / "policy.toml").unlink()
    assert main(["supplier", "doctor", "--folder", str(town.folder)]) == RunError.exit_code
    out = capsys.readouterr().out
    assert "AMISS  keys    identity.key can be read by others; run: chmod 600 identity.key" in out
    assert "AMISS  policy" in out
    assert "AMISS  link    the office cannot be reached (ConnectionRefusedError)" in out


def test_an_offices_certificate_is_renewed_and_suppliers_notice_nothing(office):
    before = (office / "server.pem").read_bytes()
    assert main(["office", "renew", str(office)]) == 0
    assert (office / "server.pem").read_bytes() != before
    keys.check_curve((office / "server.pem").read_bytes())


def test_serving_warns_of_a_certificate_that_ends_soon(office, caplog):
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=380)
    private, certificate = keys.issue(office, "127.0.0.1", server=True, start=start)
    serve.federation(office)
    assert not caplog.text
    (office / "server.pem").write_bytes(certificate)
    (office / "server.key").write_bytes(private)
    serve.federation(office)
    assert "the office's certificate ends in 16 days; make another with `skyglow office renew`" in caplog.text
