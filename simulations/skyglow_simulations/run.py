# SPDX-License-Identifier: Apache-2.0
"""A run and its folder: what was asked, where everything lies, and that only one process works on it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.vocabulary import TrustMode

Engine = Literal["in-process", "flower"]


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a run depends on; the same parameters give the same estimates.

    Attributes
    ----------
    study : str
        Path of the study's TOML, or the name of a built-in one.
    district : str
        GSS code.
    census : str
        Folder with full census tables; empty = the extract that ships with skyglow.
    scale : float
        Share of every area's households.
    seed : int
    panel_fraction : float
        Share of households that are surveyed.
    trust : str
        Trust mode in place of the study's own; empty = the study's.
    frame : str
        Who is missing from the suppliers' files and the panel: ``even``, homes at random; ``uneven``, as
        `population.frame.UNEVEN` states.
    trial : str
        File of a trial's real homes in place of simulated ones; empty = none.
    mapping : str
        What the trial's columns mean: a TOML file, or a name.
    label : str
        Which of the mapping's labels is asked for.
    workers : int
        Processes that prepare data; does not change results.
    """

    study: str = "southampton"
    district: str = "E06000045"
    census: str = ""
    scale: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    panel_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    trust: TrustMode | Literal[""] = ""
    engine: Engine = "in-process"
    frame: Literal["even", "uneven"] = "even"
    trial: str = ""
    mapping: str = "cer"
    label: str = "retired"
    workers: Annotated[int, msgspec.Meta(ge=1)] = 2


@dataclass(frozen=True, slots=True)
class Folder:
    """The places of a run's folder."""

    path: Path

    def supplier(self, name: str) -> Path:
        """One supplier's own folder."""
        return self.path / "suppliers" / name

    @property
    def study(self) -> Path:
        """The study as it is signed."""
        return self.path / "study.json"

    @property
    def reference(self) -> Path:
        """Public tables that everybody has."""
        return self.path / "reference"

    @property
    def office(self) -> Path:
        """The office's checkpoints."""
        return self.path / "office"

    @property
    def truth(self) -> Path:
        """What only a simulation knows."""
        return self.path / "truth"


def start(path: Path, parameters: Parameters) -> Folder:
    """Make a run's folder; RunError if it holds a run already."""
    if (path / "run.json").exists():
        raise RunError(f"{path} holds a run already; continue it with --resume {path}, or choose another --out")
    write_atomically(path / "run.json", msgspec.json.format(msgspec.json.encode(parameters)) + b"\n")
    return Folder(path)


def resume(path: Path) -> tuple[Folder, Parameters]:
    """Find a run that was started before; RunError if there is none."""
    try:
        parameters = msgspec.json.decode((path / "run.json").read_bytes(), type=Parameters)
    except OSError:
        raise RunError(f"{path} holds no run; start one with `skyglow simulate --out {path}`") from None
    except msgspec.MsgspecError as error:
        raise RunError(f"{path}/run.json cannot be read ({error}); start a new run") from None
    return Folder(path), parameters


def check_shares(**shares: float) -> None:
    """RunError if an option that is a share of homes is not above 0 and at most 1."""
    for name, value in shares.items():
        if not 0 < value <= 1:
            raise RunError(f"--{name} must be above 0 and at most 1; 0.1 is a good start")


def study_name(study: str) -> str:
    """A study as a run keeps it: a file by its whole path, a built-in one by its name."""
    return str(Path(study).resolve()) if study.endswith(".toml") else study


def new_path(study: str, prefix: str = "") -> Path:
    """Where a run goes that was not told where."""
    return Path("out") / f"{prefix}{Path(study).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Hold a run's folder alone; RunError if another process works on it."""
    lock = os.open(folder.path / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RunError(f"another process is working on {folder.path}; wait for it, or stop it") from None
    else:
        yield
    finally:
        os.close(lock)
