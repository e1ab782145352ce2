# SPDX-License-Identifier: Apache-2.0
"""Who is of the panel stays as it was when a study's first round was computed.

A study that keeps its panel apart charges a home for the panel's blocks or for those of all others, whichever cost
more. A home that joined or left the panel between two rounds would be in both, and cost their sum.
"""

import hashlib

from skyglow_client.gate.ledger import Ledger
from skyglow_client.learning.homes import Homes
from skyglow_shared.errors import DataError
from skyglow_shared.study import Study, digest


def check(ledger: Ledger, study: Study, homes: Homes) -> None:
    """Keep a digest of who is of the study's panel, durably, or hold it against the one that was kept.

    Raises
    ------
    DataError
        Homes joined or left the panel since the study's first round.

    Privacy
    -------
    The digest, of pseudonyms that only this supplier can make, stays beside the ledger's chain; nothing exports it.
    """
    if not study.panel_apart:
        return
    members = hashlib.sha256(b"skyglow-panel-v1\0" + homes.pseudonyms[homes.surveyed].tobytes()).hexdigest()
    identity = digest(study)
    kept = ledger.rows("SELECT members FROM panels WHERE study = ?", identity)
    if not kept:
        with ledger.transaction():
            ledger.connection.execute("INSERT INTO panels VALUES (?, ?)", (identity, members))
    elif kept[0][0] != members:
        raise DataError(
            "the panel's homes are not those of the study's first round, and the study charges each home for being of "
            "the panel or not; put back panel.csv and the store as they were, or refuse the study"
        )
