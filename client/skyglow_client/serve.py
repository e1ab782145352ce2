# SPDX-License-Identifier: Apache-2.0
"""A supplier at work: open it, dial the office, answer until told to stop.

The kit that the office gave lies in ``link/`` of the supplier's folder.
"""

import threading
from pathlib import Path

from skyglow_client.handover import lending
from skyglow_client.links import grpc as link_end
from skyglow_client.links.grpc import Patience
from skyglow_client.supplier import Supplier
from skyglow_client.tally import Tally
from skyglow_shared import certificates, link
from skyglow_shared.certificates import AUTHORITY_SOON, Watched
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.link import Kit

KIT_FOLDER = "link"
_PATIENCE = Patience()


def serve(
    supplier: Supplier, stop: threading.Event, *, patience: Patience = _PATIENCE, metrics: Path | None = None
) -> None:
    """Answer the office of the kit in the supplier's folder until `stop` is set.

    Parameters
    ----------
    supplier : Supplier
    stop : threading.Event
    patience : Patience
        How long to wait before dialling again.
    metrics : Path, optional
        Where to write what Prometheus may know, see `skyglow_client.tally`.

    Raises
    ------
    FormatError
        The kit is missing or incomplete.
    RunError
        The kit is of another supplier, or of another office than the policy allows.
    """
    kit, credentials = load(supplier.folder / KIT_FOLDER)
    if kit.name != supplier.gate.name:
        raise RunError("the kit in link/ was made for another supplier; put this supplier's own there")
    if kit.office_key != supplier.gate.policy.office_key:
        raise RunError("the kit in link/ is of another office than policy.toml allows; ask the office for its key")
    certificates.warn(watched(credentials))
    identity = supplier.gate.identity
    tally = None if metrics is None else Tally(metrics, kit.name, identity.public_key, credentials.certificate)
    handle = supplier.handle if tally is None else tally.counting(supplier.handle)
    told = link_end.untold if tally is None else tally.on_line
    with lending(supplier, stop), certificates.watching(lambda: watched(credentials)):
        link_end.serve(handle, identity, kit, credentials, stop=stop, patience=patience, told=told)


def watched(credentials: link_end.Credentials) -> list[Watched]:
    """The certificates of a kit whose end matters."""
    own, authority = certificates.end_of(credentials.certificate), certificates.end_of(credentials.authority)
    return [
        Watched("this supplier's", own, "ask the office to enrol you again"),
        Watched("the office's authority's", authority, "ask the office for its next", AUTHORITY_SOON),
    ]


def load(folder: Path) -> tuple[Kit, link_end.Credentials]:
    """Read a kit; FormatError if a part of it is missing."""
    kit = link.load_kit(folder)
    names = (link.AUTHORITY_FILE, link.CERTIFICATE_FILE, link.PRIVATE_FILE)
    try:
        return kit, link_end.Credentials(*((folder / name).read_bytes() for name in names))
    except OSError as error:
        message = f"the kit in {folder.name}/ is incomplete ({type(error).__name__}); ask the office for a new one"
        raise FormatError(message) from None
