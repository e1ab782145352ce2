# SPDX-License-Identifier: Apache-2.0
"""Suppliers as one another's witnesses that no ledger went back: the office is not asked to be believed."""

from collections.abc import Mapping

import msgspec

from skyglow_shared.errors import LedgerError


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a ledger stands: how many entries it has, and the digest (hex) that chains them."""

    entries: int
    digest: str


def witness(seen: Mapping[str, Head], now: Mapping[str, Head]) -> dict[str, Head]:
    """The latest heads by supplier, from those seen before and those just advertised.

    Raises
    ------
    LedgerError
        A ledger has fewer entries than it had, or as many and others: it was rolled back or rewritten. Nothing should
        be sent to a round with that supplier until its privacy officer has explained it.
    """
    for name, head in now.items():
        before = seen.get(name, head)
        if head.entries < before.entries or (head.entries == before.entries and head.digest != before.digest):
            raise LedgerError(f"the ledger of {name} is behind what it was, or was rewritten; ask its privacy officer")
    return {**seen, **now}
