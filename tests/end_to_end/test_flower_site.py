# SPDX-License-Identifier: Apache-2.0
"""Flower deployed, a real SuperLink and two SuperNodes: sites run installed code, and for the approved bundle only."""

import contextlib
import hashlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skyglow_server import keys
from skyglow_server.links.ports import free_port

PEER = Path(__file__).resolve().parents[2] / "benchmarks" / "peers" / "flower_link.py"
NAMES = ("north", "south")
OFFICE = """
import json, threading
from pathlib import Path

from flwr.serverapp import ServerApp

from skyglow_server.links.flower import GridFederation, nodes_by_supplier
from skyglow_shared.errors import RunError

app = ServerApp()


@app.main()
def main(grid, context):
    names = ("north", "south")
    result = Path(context.run_config["result"])
    try:
        federation = GridFederation(grid, nodes_by_supplier(grid, names, threading.Event()), patience=120.0)
        found = [federation.ask({name: b"%d for " % number + name.encode() for name in names}) for number in range(2)]
        said = [{name: reply.decode() for name, reply in replies.items()} for replies in found]
    except RunError as error:
        said = str(error)
    result.with_suffix(".new").write_text(json.dumps(said))
    result.with_suffix(".new").rename(result)
"""
#: What a site must never run: the bundle's own code for suppliers.
SUPPLIER = """
from pathlib import Path

from flwr.clientapp import ClientApp

Path({marker!r}).touch()
app = ClientApp()
"""
SITE = """
import sys
from contextlib import contextmanager
from pathlib import Path

from skyglow_client.links.flower import client_app
from skyglow_client.links.flower_site import Site
from skyglow_shared import signals

name, address, secret, asked, approved = sys.argv[1:]


@contextmanager
def opened(name):
    def handle(request):
        with Path(asked).open("a") as log:
            log.write(request.decode() + "\\n")
        return name.encode() + b" heard " + request

    yield handle


stop = signals.stop_at_signals()
Site(address, client_app(opened, (name,)), {approved}, Path(secret).read_bytes()).serve(stop)
"""


@pytest.fixture(scope="module")
def peer():
    pytest.importorskip("flwr", reason="needs the flower extra: make test-flower")
    spec = importlib.util.spec_from_file_location("flower_link", PEER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bundle(peer, folder, name, marker, extra=""):
    """A bundle's folder and its digest."""
    app = folder / name
    (app / "noop").mkdir(parents=True)
    (app / "pyproject.toml").write_text(peer.PROJECT)
    for part, text in (("__init__", ""), ("office", OFFICE), ("supplier", SUPPLIER.format(marker=str(marker)) + extra)):
        (app / "noop" / f"{part}.py").write_text(text)
    line = [peer.BIN / "flwr", "build", "--app", app]
    subprocess.run(line, cwd=folder, env=peer._environment(folder, "home"), check=True, capture_output=True)
    (made,) = folder.glob("*.fab")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    made.unlink()
    return app, digest


def submitted(peer, folder, app, result, seconds=150.0):
    settings = f'nodes=2 rounds=1 result="{result}"'
    line = [peer.BIN / "flwr", "run", app, "here", "--run-config", settings]
    environment = peer._environment(folder, "home")
    deadline = time.monotonic() + seconds
    while subprocess.run(line, env=environment, check=False, capture_output=True).returncode:
        assert time.monotonic() < deadline, "the SuperLink did not come up"
        time.sleep(1)
    while not result.exists():
        logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)
    return json.loads(result.read_text())


@pytest.mark.slow
def test_sites_answer_the_approved_bundle_by_installed_code_and_refuse_a_changed_one(peer, tmp_path):
    marker, asked, secret = tmp_path / "ran", tmp_path / "asked", tmp_path / "secret"
    secret.write_bytes(b"k" * 32)
    good, approved = bundle(peer, tmp_path, "good", marker)
    changed, other = bundle(peer, tmp_path, "changed", marker, extra="# one line more\n")
    assert approved != other
    port, office = free_port(), tmp_path / "office"
    keys.init(office, f"127.0.0.1:{port}")
    with contextlib.ExitStack() as stack:
        tls = ["--ssl-certfile", office / "server.pem", "--ssl-keyfile", office / "server.key"]
        listen = ["--host", "127.0.0.1", "--port", port, "--disable-runtime-dependency-installation"]
        link = ("flower-superlink", *tls, "--ssl-ca-certfile", office / "ca.pem", *listen)
        stack.enter_context(peer._running(tmp_path, *link))
        (tmp_path / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
            f'root-certificates = "{office / "ca.pem"}"\n'
        )
        for name in NAMES:
            runtime = free_port()
            trust = ["--root-certificates", office / "ca.pem", "--superlink", f"127.0.0.1:{port}", "--port", runtime]
            apart = ["--isolation", "process", "--superexec-auth-secret-file", secret]
            node = ("flower-supernode", *trust, *apart, "--node-config", "partition-id=0")
            stack.enter_context(peer._running(tmp_path, *node, home=name))
            line = [sys.executable, "-c", SITE, name, f"127.0.0.1:{runtime}"]
            log = stack.enter_context((tmp_path / f"site-{name}.log").open("ab"))
            environment = peer._environment(tmp_path, f"site-{name}")
            site = subprocess.Popen([*line, secret, asked, approved], env=environment, stdout=log, stderr=log)
            stack.callback(lambda site=site: site.terminate() or site.wait(20))
        said = submitted(peer, tmp_path, good, tmp_path / "good.json")
        assert said == [{name: f"{name} heard {number} for {name}" for name in NAMES} for number in range(2)]
        before = asked.read_text()
        refused = submitted(peer, tmp_path, changed, tmp_path / "changed.json")
        assert "this site has not approved the bundle" in refused
        assert asked.read_text() == before, "no supplier was opened"
        assert not marker.exists(), "nothing of a bundle ran at a site"
        assert not [path for name in NAMES for path in (tmp_path / f"site-{name}").glob("apps/*")]
