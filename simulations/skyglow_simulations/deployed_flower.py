# SPDX-License-Identifier: Apache-2.0
"""The built-in study over Flower's deployment: a SuperLink, five SuperNodes with their sites, and the office.

``python -m skyglow_simulations.deployed_flower`` does what `skyglow_simulations.deployed` does, with Flower 1.41 as the
carrier: it makes homes, keys and processes, runs the study, tears everything down, runs the same study in one process,
and compares. TLS and the SuperNodes' own keys are in use; telemetry is off.
"""

import argparse
import logging
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skyglow_server import keys
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.signals import stop_at_signals
from skyglow_simulations import deployed, progress, run, suppliers
from skyglow_simulations.deployed import NAMES, tell
from skyglow_simulations.links.ports import free_port
from skyglow_simulations.run import Folder, Parameters

_NAME = "skyglow_simulations.deployed_flower"
_SILENT = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
_SUPERLINK = "superlink"
_STAYS_SECONDS = 10.0
_SECONDS = 60.0  # for a SuperLink to come up
_log = logging.getLogger(_NAME)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Flower's parts of a run, and how each process of it is started.

    Parameters
    ----------
    folder : Folder
        A run whose study is approved.
    ports : mapping of str to int
        The SuperLink's, and by supplier that of its SuperNode for its site.
    """

    folder: Folder
    ports: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The suppliers."""
        return tuple(name for name in self.ports if name != _SUPERLINK)

    @property
    def secret(self) -> bytes:
        """What sites and the office show, so that nobody else takes tasks."""
        return (self.place / "secret").read_bytes()

    @property
    def place(self) -> Path:
        """Keys, logs, and what Flower keeps."""
        return self.folder.path / "flower"

    @property
    def address(self) -> str:
        """The SuperLink's."""
        return f"127.0.0.1:{self.ports[_SUPERLINK]}"

    def start(self, kind: str, name: str = "") -> "subprocess.Popen[bytes]":
        """Start a process: ``superlink``, ``office``, or a supplier's ``node`` or ``site``, with a log of its own."""
        words = self._node(name) if kind == "node" else self._ours(kind, name)
        words = self._superlink() if kind == _SUPERLINK else words
        log = self.folder.path / "logs" / f"{kind}-{name}.log"
        return deployed.logged(words, log, self._environment(f"{kind}-{name}"))

    def restart(self, running: "dict[tuple[str, str], subprocess.Popen[bytes]]", kind: str, name: str = "") -> None:
        """Start a process again until it stays; RunError if it never does.

        A SuperLink turns a SuperNode that died away for as long as it takes the dead one for alive, about a minute.
        """
        deadline = time.monotonic() + 2 * _SECONDS
        while time.monotonic() < deadline:
            running[kind, name] = self.start(kind, name)
            try:
                running[kind, name].wait(_STAYS_SECONDS)
            except subprocess.TimeoutExpired:
                return
        raise RunError(f"{kind} {name} does not stay; see {self.folder.path / 'logs'}")

    def register(self) -> None:
        """Tell the SuperLink the public key of every supplier's SuperNode, once it is up; RunError if it refuses."""
        kept = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{self.address}"\n'
        authority = (deployed.office_folder(self.folder) / "ca.pem").resolve()
        environment = self._environment("office")
        write_atomically(self.place / "office" / "config.toml", f'{kept}root-certificates = "{authority}"\n'.encode())
        deadline = time.monotonic() + _SECONDS
        for name in self.names:
            words = [_program("flwr"), "supernode", "register", str(self._key(name)) + ".pub", "here", "--name", name]
            while (done := subprocess.run(words, env=environment, capture_output=True, check=False)).returncode:  # noqa: S603
                if time.monotonic() > deadline:
                    raise RunError(f"the SuperLink registers no SuperNodes: {done.stderr.decode()[-300:]}")
                time.sleep(0.5)

    def _superlink(self) -> list[str]:
        office = deployed.office_folder(self.folder)
        tls = {"certfile": office / "server.pem", "keyfile": office / "server.key", "ca-certfile": office / "ca.pem"}
        words = [_program("flower-superlink"), "--host", "127.0.0.1", "--port", str(self.ports[_SUPERLINK])]
        words += [word for name, path in tls.items() for word in (f"--ssl-{name}", str(path))]
        words += ["--isolation", "process", "--superexec-auth-secret-file", str(self.place / "secret")]
        words += ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        return [*words, "--database", str(self.place / "superlink.db")]

    def _node(self, name: str) -> list[str]:
        authority = deployed.office_folder(self.folder) / "ca.pem"
        words = [_program("flower-supernode"), "--superlink", self.address, "--root-certificates", str(authority)]
        words += ["--isolation", "process", "--superexec-auth-secret-file", str(self.place / "secret")]
        return [*words, "--auth-supernode-private-key", str(self._key(name)), "--port", str(self.ports[name])]

    def _ours(self, kind: str, name: str) -> list[str]:
        port = self.ports[name or _SUPERLINK]
        return [sys.executable, "-m", _NAME, "--out", str(self.folder.path), "--role", kind, name, "--port", str(port)]

    def _key(self, name: str) -> Path:
        return self.place / f"{name}.key"

    def _environment(self, home: str) -> dict[str, str]:
        (self.place / home).mkdir(exist_ok=True)
        return {**os.environ, **_SILENT, "FLWR_HOME": str((self.place / home).resolve())}


def enrol(folder: Folder, names: Sequence[str] = NAMES) -> Deployment:
    """Make the SuperLink's certificate, the SuperNodes' keys and the secret, and choose ports."""
    made = Deployment(folder, {name: free_port() for name in (_SUPERLINK, *names)})
    keys.init(deployed.office_folder(folder), made.address)
    write_atomically(made.place / "secret", os.urandom(32), mode=0o600)
    for name in names:
        private = ec.generate_private_key(ec.SECP384R1())
        form = serialization.PrivateFormat.OpenSSH
        pem = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        write_atomically(made._key(name), pem, mode=0o600)
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        write_atomically(made.place / f"{name}.key.pub", public)
    return made


@contextmanager
def started(deployment: Deployment, *kinds: str) -> "Iterator[dict[tuple[str, str], subprocess.Popen[bytes]]]":
    """Run the SuperLink and processes of these kinds for each supplier; end them all, also those put in their place."""
    running = {(_SUPERLINK, ""): deployment.start(_SUPERLINK)}
    try:
        deployment.register()
        for name in deployment.names:
            running.update({(kind, name): deployment.start(kind, name) for kind in kinds})
        yield running
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            deployed.ended(process)


def serve_site(folder: Folder, name: str, port: int) -> None:
    """Be one supplier's site, until SIGTERM."""
    from skyglow_client.links import flower_site  # noqa: PLC0415 - an extra that most do without

    stop = stop_at_signals()
    _, parameters = run.resume(folder.path)
    secret = (folder.path / "flower" / "secret").read_bytes()
    with suppliers.open_supplier(folder, name, parameters.seed) as supplier:
        flower_site.serve(supplier, f"127.0.0.1:{port}", secret, stop)


def serve_office(folder: Folder, port: int, patience: float) -> None:
    """Be the office: run the study's rounds over the SuperLink, from wherever its checkpoints say it stands."""
    from skyglow_server.links.flower_superlink import SuperLink, SuperLinkFederation  # noqa: PLC0415

    _, parameters = run.resume(folder.path)
    done = deployed.begin(folder, parameters, deployed.QUIET)
    authority = (deployed.office_folder(folder) / "ca.pem").read_bytes()
    superlink = SuperLink(f"127.0.0.1:{port}", authority, (folder.path / "flower" / "secret").read_bytes())
    with SuperLinkFederation(superlink, patience) as federation:
        checkpoints = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
        Coordinator(done.study, done.office, federation, checkpoints, _said).run()


def _program(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise RunError("Flower is not installed here; install it with: pip install 'skyglow[flower]'")
    return str(path)


def _said(phase: str, done: int, total: int) -> None:
    _log.info("%s: %d of %d", phase, done, total)


def _demo(folder: Folder, parameters: Parameters) -> None:
    with progress.shown() as show:
        done = deployed.begin(folder, parameters, show)
        done.prepare()
        done.approve()
        other = deployed.twin(done)
    deployment = enrol(folder)
    begun = time.perf_counter()
    with started(deployment, "node", "site"):
        tell(f"a SuperLink, {len(NAMES)} SuperNodes, their sites and the office run, each in a process of its own")
        if deployment.start("office").wait():
            raise RunError(f"the office could not finish the study; see {folder.path / 'logs'}")
    tell(f"the study took {time.perf_counter() - begun:.0f} s, with starting and stopping; now in one process")
    deployed.compare(done, other)
    tell("every sum and every estimate is the same, byte for byte")
    tell(f"estimates: {folder.path / 'estimates.csv'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration, or be one of its processes."""
    parser = argparse.ArgumentParser(prog=_NAME, description="The study over Flower's deployment.")
    new = Parameters()
    parser.add_argument("--out", type=Path, help="where everything goes (default: out/flower-<time>)")
    parser.add_argument("--study", default=new.study, help="built-in study or TOML file")
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--trust", choices=("local", "aggregate"), default="local")
    parser.add_argument("--seed", type=int, default=new.seed)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for suppliers in each round")
    parser.add_argument("--role", nargs=2, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    def demo() -> None:
        parameters = Parameters(study=options.study, scale=options.scale, seed=options.seed, trust=options.trust)
        _demo(run.start(options.out or run.new_path("flower"), parameters), parameters)

    def serve(kind: str, name: str) -> None:
        if kind == "office":
            serve_office(Folder(options.out), options.port, options.patience)
        else:
            serve_site(Folder(options.out), name, options.port)

    return deployed.take_role(options.role, demo, serve)


if __name__ == "__main__":
    sys.exit(main())
