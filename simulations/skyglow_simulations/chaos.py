# SPDX-License-Identifier: Apache-2.0
"""Kill -9 at random: an office and five suppliers, each a process, killed again and again while they run studies.

``python -m skyglow_simulations.chaos --kills 500`` prepares one study, then runs copies of it, one after another, until
so many processes have died. Most are started again at once, some after a while in which the others go on without them.
After each study the books are held against each other, every supplier's ledger is verified, no round may be charged
twice, the estimates are held against those of the same study in one process, and every log is searched for keys,
meters, postcodes and pseudonyms. Processes are forked from this one, which has loaded everything and uses none of it:
its threads would not survive a fork. With ``--postgres`` the office keeps what it receives in a PostgreSQL server that
is made for it, and crashes now and then too.
"""

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch.func import grad, vmap

from skyglow_server import serve as office_side  # first: it says what TLS gRPC may speak

# isort: split
from skyglow_client import serve as supplier_side
from skyglow_client.links.grpc import Patience
from skyglow_server import keys, settings
from skyglow_server.checkpoints import FILE, Checkpoints, of_office
from skyglow_server.coordinator import Coordinator
from skyglow_shared.errors import RunError, SkyglowError
from skyglow_shared.files import write_atomically
from skyglow_shared.privacy.noise import discrete_gaussian
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream
from skyglow_shared.signals import stop_at_signals
from skyglow_shared.study import digest
from skyglow_simulations import chaos_checks, deployed, own_postgres, run, suppliers
from skyglow_simulations.links.ports import free_port
from skyglow_simulations.own_postgres import Server
from skyglow_simulations.run import Folder, Parameters

OFFICE = "office"
#: Seconds that a step waits for a supplier; whoever is dead for longer drops out of the attempt.
STEP_SECONDS = 4.0
_EAGER = Patience(first=0.05, longest=0.5)
_SILENT = 2  # standard error
_SERVER_LIVES = 12


@dataclass(slots=True)
class Chaos:
    """One study among processes that die.

    Parameters
    ----------
    folder : Folder
        A run whose study is approved; its office's keys and kits are made.
    dice : random.Random
        Decides who dies, when, and for how long.
    pause : float
        Mean seconds between two kills.
    server : Server, optional
        Crashes, and comes back, once in so many kills as `_SERVER_LIVES` says.
    """

    folder: Folder
    dice: random.Random
    pause: float
    server: Server | None = None
    kills: int = 0
    tries: int = 0
    crashes: int = 0
    _alive: dict[str, int] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def study(self, most: int, patience: float) -> None:
        """Run the study to its end, killing at most so many processes; RunError if it takes too long."""
        deadline, next_kill = time.monotonic() + patience, time.monotonic() + 2.0
        self._due = dict.fromkeys((OFFICE, *deployed.NAMES), 0.0)
        try:
            while not self._ended():
                now = time.monotonic()
                if now > deadline:
                    raise RunError(f"a study did not end in {patience:.0f} s; see {self.folder.path / 'logs'}")
                for name in [name for name, due in self._due.items() if due <= now]:
                    del self._due[name]
                    self._alive[name] = self._start(name)
                if now >= next_kill and self.kills < most and self._alive:
                    self._kill(self.dice.choice(sorted(self._alive)))
                    self._crash_server()
                    next_kill = now + self.dice.expovariate(1 / self.pause)
                time.sleep(0.005)
        finally:
            for process in self._alive.values():
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            self._alive = {}

    def _kill(self, name: str) -> None:
        process = self._alive.pop(name)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        self.kills += os.WIFSIGNALED(status)
        away = self.dice.uniform(0.5, 2 * STEP_SECONDS) if self.dice.random() < 0.15 else 0.0
        self._due[name] = time.monotonic() + away

    def _crash_server(self) -> None:
        """Have the database's server fail now and then, and come back after a while."""
        if self.server is not None and self.dice.random() < 1 / _SERVER_LIVES:
            self.server.stop(signal.SIGQUIT)
            time.sleep(self.dice.uniform(0.0, 1.0))
            self.server.start()
            self.crashes += 1

    def _ended(self) -> bool:
        """Whether the office has finished; who ended otherwise is started again, as a system would."""
        for name, process in list(self._alive.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._alive[name]
                if name == OFFICE and (self.folder.path / "finished").exists():
                    return True
                self._due[name] = time.monotonic() + 0.5
                self.tries += 1
        return False

    def _start(self, name: str) -> int:
        process = os.fork()
        if process:
            return process
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            (self.folder.path / "logs").mkdir(exist_ok=True)
            log = os.open(self.folder.path / "logs" / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, _SILENT)
            logging.basicConfig(
                level=logging.DEBUG, force=True, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
            )
            _office(self.folder) if name == OFFICE else _supplier(self.folder, name)
            os._exit(0)
        except SkyglowError as error:
            logging.getLogger(__name__).error("%s", error)
            os._exit(error.exit_code)
        except BaseException:  # a child must never go on as its parent
            logging.getLogger(__name__).exception("ended by")
            os._exit(1)


def _supplier(folder: Folder, name: str) -> None:
    stop = stop_at_signals()
    _, parameters = run.resume(folder.path)
    with suppliers.open_supplier(folder, name, parameters.seed) as supplier:
        supplier_side.serve(supplier, stop, patience=_EAGER)


def _office(folder: Folder) -> None:
    _, parameters = run.resume(folder.path)
    done = deployed.begin(folder, parameters, deployed.QUIET)
    place = deployed.office_folder(folder)
    with office_side.federation(place, listen=keys.address_of(place), patience=STEP_SECONDS) as federation:
        checkpoints = of_office(folder.office)
        with checkpoints.alone(digest(done.study)):
            Coordinator(done.study, done.office, federation, checkpoints, lambda *_: None).run()
    (folder.path / "finished").touch()


def run_all(
    path: Path,
    *,
    kills: int,
    scale: float,
    seed: int,
    pause: float,
    tell: Callable[[str], None],
    server: Server | None = None,
) -> int:
    """Run studies under `path` until so many processes have been killed; return how many studies there were.

    With a `server`, what the office receives is kept there.

    Raises
    ------
    RunError
        A study did not end, or what it left behind is not as it should be.
    """
    parameters = Parameters(scale=scale, seed=seed, workers=1, trust="aggregate")
    folder = run.start(path / "prepared", parameters)
    _warm()
    _apart(lambda: _prepare(folder, parameters))
    dice, done, studies = random.Random(seed), 0, 0  # noqa: S311 - decides who is killed, nothing else
    while done < kills:
        place = Folder(path / f"study-{studies}")
        shutil.copytree(folder.path, place.path)
        if server is not None:
            server.run(f"CREATE SCHEMA study_{studies}")
            url = server.url(schema=f"study_{studies}")
            settings.save(
                place.office, settings.Settings(address=keys.address_of(deployed.office_folder(place)), database=url)
            )
        chaos, begun = Chaos(place, dice, pause, server), time.monotonic()
        chaos.study(kills - done, patience=900.0)
        done, studies = done + chaos.kills, studies + 1
        tell(
            f"study {studies}: {chaos.kills} kills ({done} in all), {chaos.tries} given up and begun again, "
            f"{f'{chaos.crashes} crashes of the database, ' if server else ''}{time.monotonic() - begun:.0f} s"
        )
        _apart(partial(_check, place, parameters, tell))
        if chaos.kills == 0:
            raise RunError("a study ended before anything was killed; choose a shorter --pause")
        shutil.rmtree(place.path)
    return studies


def _warm() -> None:
    """Do here, once, what every supplier would begin with: tables of the noise, and what gradients have to load."""
    discrete_gaussian(ByteStream(bytes(KEY_BYTES)), 1)
    one = torch.ones(1)
    vmap(grad(lambda x: (x * x).sum()))(one)


def _prepare(folder: Folder, parameters: Parameters) -> None:
    """Have a study approved, and its estimates by a run that nobody disturbs beside it."""
    prepared = deployed.begin(folder, parameters, deployed.QUIET)
    prepared.prepare()
    prepared.approve()
    twin = deployed.twin(prepared)
    estimates = twin.estimate(twin.run_study())
    write_atomically(folder.path / chaos_checks.EXPECTED, msgspec.msgpack.encode(estimates))
    deployed.enrol(folder, parameters, free_port())


def _check(folder: Folder, parameters: Parameters, tell: Callable[[str], None]) -> None:
    stored = of_office(folder.office)
    in_file = Checkpoints.in_file(folder.office / FILE)
    if stored != in_file:  # what is held against the books is a file
        study = deployed.begin(folder, parameters, deployed.QUIET).study
        for place in stored.places(digest(study)):
            in_file.save(place, stored.load(place) or {})
    tell(f"         {chaos_checks.check(folder, parameters)}")


def _apart(work: Callable[[], None]) -> None:
    """Do something in a process of its own, so that this one stays without threads."""
    process = os.fork()
    if not process:
        try:
            work()
            os._exit(0)
        except SkyglowError as error:
            sys.stderr.write(f"{error}\n")
        except BaseException:  # a child must never go on as its parent
            logging.getLogger(__name__).exception("ended by")
        os._exit(1)
    if os.waitpid(process, 0)[1]:
        raise RunError("see above")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run studies among processes that die, and check what they leave behind."""
    parser = argparse.ArgumentParser(prog="skyglow_simulations.chaos", description="Studies under kill -9.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.4, help="mean seconds between kills")
    parser.add_argument("--postgres", action="store_true", help="keep what is received in a PostgreSQL server")
    parser.add_argument("--out", type=Path, help="where everything goes (default: out/chaos-<time>)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so end the processes that were started
    path = options.out or Path("out") / f"chaos-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        with own_postgres.serving() if options.postgres else nullcontext() as server:
            studies = run_all(
                path,
                kills=options.kills,
                scale=options.scale,
                seed=options.seed,
                pause=options.pause,
                tell=deployed.tell,
                server=server,
            )
    except SkyglowError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    deployed.tell(f"{options.kills} kills, {studies} studies: all complete, all books agree, nothing charged twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
