# SPDX-License-Identifier: Apache-2.0
"""What must hold after a study whose processes were killed at random."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import polars as pl

from skyglow_client.gate.ledger import Ledger
from skyglow_client.readings import Store
from skyglow_server import audit as office_audit
from skyglow_server.estimation import Estimate
from skyglow_shared import audit, audit_compare
from skyglow_shared.errors import RunError
from skyglow_shared.study import Study, digest
from skyglow_simulations import deployed, suppliers
from skyglow_simulations.run import Folder, Parameters

#: The estimates of a run that nobody disturbed, in the run's folder.
EXPECTED = "expected.msgpack"
_LEAST = 6  # characters; a shorter text could be in a log by chance
#: The least share of published figures whose interval must meet the interval of the undisturbed run.
_MEETING = 0.95


def check(folder: Folder, parameters: Parameters) -> str:
    """Check a finished study; return what was found in a line.

    Raises
    ------
    RunError
        A ledger, a book, an estimate or a log is not as it should be; the message says which.
    """
    done = deployed.begin(folder, parameters, deployed.QUIET)
    outcome = done.run_study()  # reads the replies that the office has
    fewest = min(block.shares for block in outcome.sums.values())
    expected = msgspec.msgpack.decode((folder.path / EXPECTED).read_bytes(), type=tuple[Estimate, ...])
    far = _far(done.estimate(outcome), expected)
    replies = _books(folder, parameters, done.study)
    searched = _logs(folder)
    return (
        f"{replies} replies in agreeing books, sums of {fewest} suppliers or more, "
        f"{far:.1%} of intervals miss the undisturbed run's, {searched} secrets and meters in no log"
    )


def _far(found: tuple[Estimate, ...], expected: tuple[Estimate, ...]) -> float:
    """Share of figures, published by both runs, whose intervals do not meet; RunError if there are too many."""
    wanted = {_key(one): one for one in expected if one.estimate is not None}
    pairs = [(one, wanted[_key(one)]) for one in found if one.estimate is not None and _key(one) in wanted]
    if len(pairs) < 0.9 * len(wanted):
        raise RunError("under kills far fewer estimates were published than without")
    apart = [one for one, other in pairs if not _meet(one, other)]
    if len(apart) > (1 - _MEETING) * len(pairs):
        raise RunError(f"{len(apart)} of {len(pairs)} estimates are far from those of the undisturbed run")
    return len(apart) / len(pairs)


def _key(one: Estimate) -> tuple[object, ...]:
    return one.area_code, one.level, one.topic, one.group


def _meet(one: Estimate, other: Estimate) -> bool:
    """Whether two intervals meet, and the estimate lies in its own."""
    ends = one.lower, one.estimate, one.upper, other.lower, other.upper
    low, middle, high, other_low, other_high = (float("nan") if end is None else end for end in ends)
    return low <= middle <= high and low <= other_high and other_low <= high


def _books(folder: Folder, parameters: Parameters, study: Study) -> int:
    """Verify every ledger and hold it against the office's book; return how many replies agree."""
    place = folder.office / "studies" / study.name
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder.study, place / "study.json")
    book = folder.path / "office.jsonl"
    office_audit.export(folder.office, book)
    agreed = 0
    for name in deployed.NAMES:
        with suppliers.open_supplier(folder, name, parameters.seed) as supplier:  # which verifies its chain
            _charged_once(supplier.gate.ledger, study, name)
            supplier.gate.ledger.export(folder.path / f"{name}.jsonl")
        ledger = audit.read(folder.path / f"{name}.jsonl", audit.LEDGER)
        found = audit_compare.compare(ledger, audit.read(book, audit.OFFICE), name)
        if found.problems:
            raise RunError(f"the books of {name} and the office differ: {found.problems[0]}")
        agreed += sum(account.agreed for account in found.accounts)
    return agreed


def _charged_once(ledger: Ledger, study: Study, name: str) -> None:
    keys = [str(key) for (key,) in ledger.rows("SELECT key FROM charges")]
    events = ledger.charges()[digest(study)]
    if len(keys) != len(set(keys)) or len(events) > sum(phase.rounds for phase in study.phases):
        raise RunError(f"{name} was charged for a round twice")


def _logs(folder: Folder) -> int:
    """Search every log for what must never be in one; return how many things were looked for."""
    text = "".join(path.read_text(errors="replace") for path in sorted((folder.path / "logs").iterdir()))
    wanted = _unspeakable(folder)
    for what, value in wanted.items():
        if value in text:
            raise RunError(f"a log holds {what}")
    return len(wanted)


def _unspeakable(folder: Folder) -> Mapping[str, str]:
    """Keys (in hex), meters, postcodes and pseudonyms of everybody, by what to call them."""
    found: dict[str, str] = {}
    for name in deployed.NAMES:
        place = folder.supplier(name)
        found[f"the identity of {name}"] = (place / "identity.key").read_text().strip()
        found[f"the key of pseudonyms of {name}"] = (place / "pseudonym.key").read_bytes().hex()
        found[f"the private key of the certificate of {name}"] = _middle(place / "link" / "certificate.key")
        pseudonyms = Store.open(place / "store").pseudonyms
        found |= {f"a pseudonym of {name} ({number})": bytes(one).hex() for number, one in enumerate(pseudonyms)}
        meters = pl.read_csv(place / "raw" / "meters.csv", infer_schema=False)
        for column in ("meter_id", "postcode"):
            found |= {f"a {column} of {name} ({number})": one for number, one in enumerate(sorted(set(meters[column])))}
    office = deployed.office_folder(folder)
    found["the office's identity"] = (office / "identity.key").read_text().strip()
    found["the key of the office's authority"] = _middle(office / "ca.key")
    return {what: value for what, value in found.items() if len(value) >= _LEAST}


def _middle(path: Path) -> str:
    """A line of a PEM file's content."""
    return path.read_text().splitlines()[1]
