# SPDX-License-Identifier: Apache-2.0
"""What an office has asked for and nobody has decided on yet: it is kept, but not without end."""

from skyglow_client.gate import schema
from skyglow_client.gate.ledger import Ledger
from skyglow_shared.errors import ApprovalError

#: Studies that a ledger keeps before a person has decided on them: how many, and how many bytes of them.
MOST, MOST_BYTES = 100, 256 * 1024 * 1024


def check_room(ledger: Ledger, size: int) -> None:
    """ApprovalError if too much awaits a decision to keep so much more: an office could fill the disk by asking."""
    studies, held = ledger.rows(schema.UNDECIDED)[0]
    if studies >= MOST or held + size > MOST_BYTES:
        raise ApprovalError(
            "so many studies await a decision here that no other is kept; a person at this supplier decides first, "
            "with `skyglow supplier study refuse` where the answer is no",
            rule="approval",
        )
