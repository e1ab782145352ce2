# SPDX-License-Identifier: Apache-2.0
"""No-op rounds on Flower's deployment, a SuperLink and SuperNodes on loopback over TLS: the last line is JSON, seconds.

``flower_link.py NODES ROUNDS``. Everything is as Flower has it by default, but for telemetry and the installation of
dependencies, which are off. The first round is left out: it also waits for the nodes' first look for work.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from skyglow_server import keys
from skyglow_simulations.links.ports import free_port

BIN = Path(sys.executable).parent
PROJECT = """
[project]
name = "noop"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "noop.office:app"
clientapp = "noop.supplier:app"

[tool.flwr.app.config]
nodes = 1
rounds = 1
result = ""
"""
OFFICE = """
import json, time
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    config = context.run_config
    while len(nodes := list(grid.get_node_ids())) < config["nodes"]:
        time.sleep(0.5)
    seconds = []
    for _ in range(config["rounds"] + 1):
        begun = time.perf_counter()
        asked = [Message(RecordDict({"n": ConfigRecord({"body": b"n"})}), node, "query") for node in nodes]
        replies = list(grid.send_and_receive(asked))
        seconds.append(time.perf_counter() - begun)
        assert len(replies) == len(nodes) and not any(reply.has_error() for reply in replies)
    Path(config["result"]).write_text(json.dumps(seconds[1:]))
"""
SUPPLIER = """
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def echo(message, context):
    return Message(message.content, reply_to=message)
"""


def main() -> None:
    """Deploy, run, tear down."""
    nodes, rounds = int(sys.argv[1]), int(sys.argv[2])
    with (
        tempfile.TemporaryDirectory(prefix="flower-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        port = free_port()
        address, office = f"127.0.0.1:{port}", folder / "office"
        keys.init(office, address)
        tls = ["--ssl-certfile", office / "server.pem", "--ssl-keyfile", office / "server.key"]
        listen = ["--host", "127.0.0.1", "--port", port, "--disable-runtime-dependency-installation"]
        stack.enter_context(_running(folder, "flower-superlink", *tls, "--ssl-ca-certfile", office / "ca.pem", *listen))
        for number in range(nodes):
            trust = ["--root-certificates", office / "ca.pem", "--superlink", address, "--port", free_port()]
            stack.enter_context(_running(folder, "flower-supernode", *trust, home=f"node-{number}"))
        _project(folder / "app")
        config = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{address}"\n'
        (folder / "home" / "config.toml").write_text(config + f'root-certificates = "{office / "ca.pem"}"\n')
        settings = f'nodes={nodes} rounds={rounds} result="{folder / "result.json"}"'
        _submit(folder, settings)
        print(json.dumps(_result(folder / "result.json", 120.0 + 60.0 * rounds)))


def _environment(folder: Path, home: str) -> dict[str, str]:
    place = folder / home
    place.mkdir(exist_ok=True)
    silent = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return {**os.environ, **silent, "FLWR_HOME": str(place), "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}


@contextlib.contextmanager
def _running(folder: Path, program: str, *words: object, home: str = "home") -> Iterator[None]:
    line = [str(BIN / program), *map(str, words)]
    with (folder / f"{home}.log").open("ab") as log:
        process = subprocess.Popen(line, env=_environment(folder, home), stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _project(folder: Path) -> None:
    (folder / "noop").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    for name, text in (("__init__", ""), ("office", OFFICE), ("supplier", SUPPLIER)):
        (folder / "noop" / f"{name}.py").write_text(text)


def _submit(folder: Path, settings: str) -> None:
    line = [str(BIN / "flwr"), "run", str(folder / "app"), "here", "--run-config", settings]
    for _ in range(30):
        done = subprocess.run(line, env=_environment(folder, "home"), capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        time.sleep(1)
    raise SystemExit(done.stdout + done.stderr)


def _result(path: Path, patience: float) -> list[float]:
    deadline = time.monotonic() + patience
    while not path.exists() or not path.read_text():
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text()[-3000:] for log in path.parent.glob("*.log"))
            raise SystemExit(f"no result in {patience:.0f} s\n{logs}")
        time.sleep(0.2)
    return [float(seconds) for seconds in json.loads(path.read_text())]


if __name__ == "__main__":
    main()
