# SPDX-License-Identifier: Apache-2.0
"""Each home stays on the side, of the panel or not, where it was when a study's first round was computed.

A study that keeps its panel apart charges a home for the panel's blocks or for those of all others, whichever cost
more. A home that changed sides between two rounds would be in both, and cost their sum. So a home that joins the panel
later stays among the others, and one that leaves it is in nothing more. No round is refused for it: a refusal would
tell the office that a home joined or left.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skyglow_client.gate.ledger import Ledger
from skyglow_client.gate.ledger_file import RESTORE
from skyglow_client.learning.homes import Homes
from skyglow_client.readings.panel import NOT_IN_PANEL
from skyglow_shared.errors import DataError, LedgerError
from skyglow_shared.study import Study, digest

_ANSWERED = "SELECT 1 FROM sealed WHERE key >= ? AND key < ? LIMIT 1"


def as_begun(ledger: Ledger, study: Study, homes: Homes) -> Homes:
    """The homes, each on its side of the study's first round, which is kept durably before anything is computed.

    Raises
    ------
    DataError
        Pseudonyms are made with another key than then: no home can be told to be the one it was.
    LedgerError
        The study was answered, and the ledger does not know any more who was of the panel.

    Privacy
    -------
    Whether a home is left out follows from that home alone. The panel's pseudonyms, which only this supplier can make,
    stay beside the ledger's chain; nothing exports them.
    """
    if not study.panel_apart:
        return homes
    identity = digest(study)
    kept = ledger.rows("SELECT key, members FROM cohorts WHERE study = ?", identity)
    if not kept:
        if ledger.rows(_ANSWERED, identity + "/", identity + "0"):
            raise LedgerError(f"the ledger does not say who was of the panel of a study that is under way; {RESTORE}")
        row = identity, homes.key, homes.pseudonyms[homes.surveyed].tobytes()
        with ledger.transaction():
            ledger.connection.execute("INSERT INTO cohorts VALUES (?, ?, ?)", row)
        return homes
    key, members = kept[0]
    if key != homes.key:
        raise DataError(
            "pseudonyms are made with another key than when the study began, and it charges each home for being of the "
            "panel or not; put back pseudonym.key and the store as they were, or refuse the study"
        )
    return _on_sides(homes, np.frombuffer(members, dtype=np.uint8).reshape(-1, homes.pseudonyms.shape[1]))


def _on_sides(homes: Homes, members: NDArray[np.uint8]) -> Homes:
    """The homes with none in the panel but `members`, of which those who left it are in nothing."""
    member = np.isin(_whole(homes.pseudonyms), _whole(members))
    return replace(
        homes,
        composition=np.where(member, homes.composition, NOT_IN_PANEL).astype(np.int8),
        answers={name: np.where(member, own, NOT_IN_PANEL).astype(np.int8) for name, own in homes.answers.items()},
        metered=homes.metered & ~(member & ~homes.surveyed),
    )


def _whole(pseudonyms: NDArray[np.uint8]) -> NDArray[np.void]:
    """Pseudonyms [homes, bytes] as one value each."""
    return np.ascontiguousarray(pseudonyms).view(f"V{pseudonyms.shape[1]}")[:, 0]
