# SPDX-License-Identifier: Apache-2.0
"""The built-in study between real processes: one office, five suppliers, gRPC over mutual TLS on loopback.

``python -m skyglow_simulations.deployed`` makes the homes, the certificates and the processes, runs the study in trust
mode `aggregate`, tears everything down, runs the same study in one process, and compares: with seeded noise and nobody
dropped out the two must agree in every byte of every sum. The suppliers' processes are started here and not by
`skyglow supplier serve` for one reason: only this package can give a supplier seeded noise.
"""

import argparse
import dataclasses
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skyglow_server import serve as office_side  # before the client: it says what TLS gRPC may speak

# isort: split
from skyglow_client import serve as supplier_side
from skyglow_server import keys
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator, Outcome
from skyglow_server.publication import write_estimates_csv
from skyglow_shared.errors import RunError, SkyglowError
from skyglow_shared.signals import stop_at_signals
from skyglow_shared.soundness import check
from skyglow_simulations import experiment, progress, run, suppliers
from skyglow_simulations.experiment import Experiment
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder, Parameters

_NAME = "skyglow_simulations.deployed"
#: Who takes part; the sixth simulated supplier is one that does not.
NAMES = suppliers.NAMES[:5]
_STOP_SECONDS = 60.0
_log = logging.getLogger(_NAME)
QUIET = progress.Screen(lambda phase, done, total, note: None)


def begin(folder: Folder, parameters: Parameters, show: experiment.Progress) -> Experiment:
    """Be ready to run the study with the five suppliers alone."""
    done = experiment.begin(folder, parameters, show)
    roster = tuple(entry for entry in done.study.suppliers if entry.name in NAMES)
    study = msgspec.structs.replace(done.study, suppliers=roster)
    check(study)
    return dataclasses.replace(done, study=study)


def enrol(folder: Folder, parameters: Parameters, port: int, host: str = "127.0.0.1") -> None:
    """Make the office's keys and certificates, and give every supplier its kit."""
    place = office_folder(folder)
    experiment.office(parameters).save(place / "identity.key")
    keys.init(place, f"{host}:{port}")
    for name in NAMES:
        kit = keys.enrol(place, name, SeededRandomness(parameters.seed, name).identity().public_key)
        shutil.copytree(kit, folder.supplier(name) / supplier_side.KIT_FOLDER, dirs_exist_ok=True)


def office_folder(folder: Folder) -> Path:
    """Where the office of a deployed run keeps its keys."""
    return folder.office / "keys"


def serve_supplier(folder: Folder, name: str) -> None:
    """Be one supplier, until SIGTERM."""
    stop = stop_at_signals()
    _, parameters = run.resume(folder.path)
    with suppliers.open_supplier(folder, name, parameters.seed) as supplier:
        supplier_side.serve(supplier, stop)


def serve_office(folder: Folder, patience: float) -> None:
    """Be the office: run the study's rounds over the link, from wherever its checkpoints say it stands."""
    _, parameters = run.resume(folder.path)
    done = begin(folder, parameters, QUIET)
    address = keys.address_of(office_folder(folder))
    with office_side.federation(office_folder(folder), listen=address, patience=patience) as federation:
        checkpoints = Checkpoints.in_file(folder.office / "checkpoints.sqlite")
        Coordinator(done.study, done.office, federation, checkpoints, _said).run()


def start(folder: Folder, *role: str, within: Sequence[str] = (), patience: float = 120.0) -> "subprocess.Popen[bytes]":
    """Start one process of a deployed run, its command after that of `within`; its log goes to the run's folder."""
    words = [*within, sys.executable, "-m", _NAME, "--out", str(folder.path), "--patience", str(patience)]
    words += ["--role", *role]
    return logged(words, folder.path / "logs" / f"{role[-1]}.log")


def logged(words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Start a process that adds all it says to a log."""
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(  # noqa: S603 - ourselves, or Flower
            words, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )


@contextmanager
def started(folder: Folder, names: Sequence[str] = NAMES) -> "Iterator[dict[str, subprocess.Popen[bytes]]]":
    """Run suppliers, each in a process of its own, and stop them at the end.

    Raises
    ------
    RunError
        One of them did not stop as it should.
    """
    processes = {name: start(folder, "supplier", name) for name in names}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: ended(process) for name, process in processes.items()}
    failed = sorted(name for name, code in codes.items() if code)
    if failed:
        raise RunError(f"{', '.join(failed)} did not stop as told; see {folder.path / 'logs'}")


def compare(there: Experiment, here: Experiment) -> None:
    """Estimate both runs and write their tables; RunError unless sums and estimates are the same to the byte.

    Replies are not compared: in trust mode `aggregate` they carry the head of the supplier's ledger, which holds times.
    """
    outcomes = [each.run_study() for each in (there, here)]  # the deployed one only reads the replies it has
    for each, outcome in zip((there, here), outcomes, strict=True):
        write_estimates_csv(each.folder.path / "estimates.csv", each.estimate(outcome))
    if _bytes(outcomes[0]) != _bytes(outcomes[1]):
        raise RunError("the sums of the two runs differ; has a supplier dropped out of a round?")
    tables = [(each.folder.path / "estimates.csv").read_bytes() for each in (there, here)]
    if tables[0] != tables[1]:
        raise RunError("the estimates of the two runs differ; their sums do not")


def _bytes(outcome: Outcome) -> dict[str, tuple[bytes, ...]]:
    """All that a study has yielded, number by number."""
    models: dict[str, tuple[bytes, ...]]
    models = {name: (model.weights.tobytes(), model.final.tobytes()) for name, model in outcome.models.items()}
    return models | {name: (block.values.tobytes(), bytes([block.shares])) for name, block in outcome.sums.items()}


def twin(done: Experiment) -> Experiment:
    """The same run once more, in a folder beside it, as it stands before its first round."""
    path = done.folder.path.with_name(done.folder.path.name + "-in-process")
    shutil.copytree(done.folder.path, path, ignore=shutil.ignore_patterns("logs"))
    return begin(Folder(path), done.parameters, done.progress)


def ended(process: "subprocess.Popen[bytes]") -> int:
    """The exit code of a process that was told to end; killed if it takes too long."""
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def take_role(role: Sequence[str] | None, demo: Callable[[], None], serve: Callable[[str, str], None]) -> int:
    """Run a demonstration, or be one of its processes: `serve` is told which kind and name; return the exit code."""
    try:
        if role is None:
            logging.getLogger("skyglow_client").setLevel(logging.ERROR)
            demo()
        else:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            kind, name = role
            serve(kind, name)
    except SkyglowError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _said(phase: str, done: int, total: int) -> None:
    _log.info("%s: %d of %d", phase, done, total)


def _demo(folder: Folder, parameters: Parameters, port: int) -> None:
    with progress.shown() as show:
        done = begin(folder, parameters, show)
        done.prepare()
        done.approve()
        other = twin(done)
    enrol(folder, parameters, port)
    begun = time.perf_counter()
    with started(folder):
        tell(f"{len(NAMES)} suppliers and the office run, each in a process of its own")
        if start(folder, "office", "office").wait():
            raise RunError(f"the office could not finish the study; see {folder.path / 'logs'}")
    tell(f"the study took {time.perf_counter() - begun:.1f} s, with starting and stopping; now in one process")
    begun = time.perf_counter()
    compare(done, other)
    tell(f"{time.perf_counter() - begun:.1f} s; every sum and every estimate is the same, byte for byte")
    tell(f"estimates: {folder.path / 'estimates.csv'}")


def tell(line: str) -> None:
    """Say how far a demonstration is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration, or be one of its processes."""
    parser = argparse.ArgumentParser(prog=_NAME, description="The study between processes.")
    new = Parameters()
    parser.add_argument("--out", type=Path, help="where everything goes (default: out/deployed-<time>)")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--trust", choices=("local", "aggregate"), default="aggregate")
    parser.add_argument("--seed", type=int, default=new.seed)
    parser.add_argument("--port", type=int, default=17443, help="on loopback")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for suppliers in each round")
    parser.add_argument("--role", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    def demo() -> None:
        parameters = Parameters(scale=options.scale, seed=options.seed, trust=options.trust)
        _demo(run.start(options.out or run.new_path("deployed"), parameters), parameters, options.port)

    def serve(kind: str, name: str) -> None:
        if kind == "office":
            serve_office(Folder(options.out), options.patience)
        else:
            serve_supplier(Folder(options.out), name)

    return take_role(options.role, demo, serve)


if __name__ == "__main__":
    sys.exit(main())
