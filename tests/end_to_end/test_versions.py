# SPDX-License-Identifier: Apache-2.0
"""An older or a newer supplier's process and this office: refused before anything is asked, and both logs say why."""

import subprocess
import sys
import time

import msgspec
import pytest

from skyglow_server import serve  # first: it says what TLS gRPC may speak

# isort: split
from skyglow_server import keys
from skyglow_shared import link
from skyglow_shared.signing import Identity

SUPPLIER = """
import logging, sys
from pathlib import Path

from skyglow_client import serve
from skyglow_client.links import grpc as end
from skyglow_shared import link, signals
from skyglow_shared.link import Hello
from skyglow_shared.signing import Identity

logging.basicConfig(level=logging.INFO)
folder, trusting = Path(sys.argv[1]), sys.argv[3:] == ["trusting"]
link.VERSION = int(sys.argv[2])
if trusting:  # one that does not look at the office's version
    hello = link.hello
    link.hello = lambda kit, identity, said: hello(kit, identity, link.Challenge(link.VERSION, said.nonce))
kit, credentials = serve.load(folder / "link")
identity = Identity.load(folder / "identity.key")
patience = end.Patience(first=0.1, longest=0.2)
end.serve(bytes, identity, kit, credentials, stop=signals.stop_at_signals(), patience=patience)
"""


@pytest.fixture
def federation(tmp_path):
    keys.init(tmp_path / "office", "127.0.0.1:1")
    with serve.federation(tmp_path / "office", listen="127.0.0.1:0") as listening:
        identity = Identity.generate()
        identity.save(tmp_path / "identity.key")
        kit = keys.enrol(tmp_path / "office", "north", identity.public_key)
        kit.rename(tmp_path / "link")
        told = msgspec.structs.replace(link.load_kit(tmp_path / "link"), address=f"127.0.0.1:{listening.port}")
        (tmp_path / "link" / link.KIT_FILE).write_bytes(link.kit_text(told))
        yield listening


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "how", "at_the_supplier", "at_the_office"),
    [
        (link.VERSION - 1, [], "the office's link is not of version 0; update the older side", "north"),
        (link.VERSION - 1, ["trusting"], "check both sides' versions", "a supplier's link is not of version 1; update"),
    ],
    ids=["older", "older that does not look"],
)
def test_another_version_is_refused_and_said(
    federation, tmp_path, caplog, version, how, at_the_supplier, at_the_office
):
    log = tmp_path / "log"
    with log.open("wb") as stream:
        supplier = subprocess.Popen([sys.executable, "-c", SUPPLIER, tmp_path, str(version), *how], stderr=stream)
        try:
            deadline = time.monotonic() + 60
            while at_the_supplier not in log.read_text() or at_the_office not in caplog.text:
                assert time.monotonic() < deadline, log.read_text() + caplog.text
                assert supplier.poll() is None
                assert federation.connected() == ()
                time.sleep(0.05)
        finally:
            supplier.terminate()
            assert supplier.wait(20) == 0
    assert "connected to the office" not in log.read_text()
