# SPDX-License-Identifier: Apache-2.0
"""The office at work: prepare a study for the suppliers that are enrolled, and run it over the link.

A study's folder, ``studies/NAME/`` in the office's::

    study.json      areas.csv            what was drafted: canonical bytes, and the public table of areas
    estimates.csv   electricity-use.csv  what came of it; the second where the study asks for it
    release/                             the same as an output checker opens it

What else `releasing` looks at in it is put there by hand.
"""

from pathlib import Path

from skyglow_server import keys, releasing, traces, vintage
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator, Progress
from skyglow_server.draft import draft
from skyglow_server.estimation import load_areas
from skyglow_server.federation import Federation
from skyglow_server.ledger_heads import advertised
from skyglow_server.links.grpc import GrpcFederation
from skyglow_server.links.listening import Credentials
from skyglow_server.public_tables import read_rows
from skyglow_server.traces import Traced
from skyglow_shared import certificates
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.signing import Identity
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Area, Study, Supplier, canonical_bytes, digest

_COLUMNS = ("lsoa21cd", "msoa21cd", "lad22cd")


def federation(folder: Path, *, listen: str = "", patience: float = 600.0) -> GrpcFederation:
    """The office's end of the link, not yet listening.

    Parameters
    ----------
    folder : Path
        The office's, see `skyglow_server.keys`.
    listen : str
        Host and port; by default the port of the office's address on all of the machine's addresses.
    patience : float
        Seconds that one request waits for suppliers to connect and reply.

    Raises
    ------
    FormatError
        The folder holds no office, or a file of it cannot be read.
    """
    address = listen or f"[::]:{keys.address_of(folder).rpartition(':')[2]}"
    office = Identity.load(folder / "identity.key")
    try:
        credentials = Credentials(*((folder / name).read_bytes() for name in ("ca.pem", "server.pem", "server.key")))
    except OSError as error:
        message = f"the office's certificate cannot be read ({type(error).__name__}); restore it from your backup"
        raise FormatError(message) from None
    certificates.warn(keys.watched(folder))
    return GrpcFederation(address, credentials, office.public_key, lambda: keys.admitted(folder), patience)


def prepare(folder: Path, template: Path, areas: Path) -> Study:
    """Complete a template with the areas of a table and the suppliers enrolled now, and keep it as a study.

    Raises
    ------
    RunError
        A study of that name was drafted before: it may have been approved, and any change makes another study.
    FormatError, StudyError
        The template, the table or the study cannot be used.
    GeographyError
        An area is none of 2021, or is in the table twice or otherwise than in the study.
    """
    roster = [Supplier(name=name, public_key=entry.public_key) for name, entry in keys.admitted(folder).items()]
    office = Identity.load(folder / "identity.key")
    listed = [Area(*(row[column] for column in _COLUMNS)) for row in read_rows(areas, _COLUMNS)]
    study = draft(template, areas=listed, office_key=office.public_key, suppliers=roster)
    place = _place(folder, study.name)
    if (place / "study.json").exists():
        raise RunError("a study of that name was drafted here before; give the new one another name")
    vintage.check(study.areas)
    load_areas(areas, study)
    write_atomically(place / "areas.csv", areas.read_bytes())
    write_atomically(place / "study.json", canonical_bytes(study))
    return study


def run(folder: Path, name: str, link: GrpcFederation, checkpoints: Checkpoints, progress: Progress) -> Path:
    """Listen, and run a drafted study; see `conduct`."""
    with link:
        return conduct(folder, name, link, checkpoints, progress)


def conduct(folder: Path, name: str, link: Federation, checkpoints: Checkpoints, progress: Progress) -> Path:
    """Run a drafted study from wherever it stands; return the path of its estimates.

    Raises
    ------
    RunError
        No such study was drafted, a supplier did not answer in time, or another process runs the study.
    DatabaseError
        The database is away.
    RefusalError
        A supplier refused: above all, it has not approved the study yet.
    FormatError, GeographyError, DataError
        A public table beside the study, or an earlier release, cannot be used; see `releasing.release`. This is found
        before the first round, so that nothing is spent.
    """
    place = _place(folder, name)
    if not (place / "study.json").exists():
        raise RunError("no study of that name was drafted here; `skyglow office draft` makes one")
    study = decode_study((place / "study.json").read_bytes())
    releasing.check_beside(folder, name, study)
    office = Identity.load(folder / "identity.key")
    traced = Traced(link)

    def noted(phase: str, done: int, total: int) -> None:
        traced.at(phase, done, total)
        progress(phase, done, total)

    with checkpoints.alone(digest(study)), traces.study(study.name):
        outcome = Coordinator(study, office, traced, checkpoints, noted).run()
    releasing.release(folder, name, study, outcome.sums, advertised(study, checkpoints))
    return place / "estimates.csv"


def _place(folder: Path, name: str) -> Path:
    return folder / "studies" / name
