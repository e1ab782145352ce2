# SPDX-License-Identifier: Apache-2.0
"""``skyglow audit``: for whoever was given the books of both sides."""

import argparse
from pathlib import Path

from skyglow_shared import audit
from skyglow_shared.errors import FormatError, LedgerError
from skyglow_shared.screen import show


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the ``audit`` command."""
    parser = commands.add_parser("audit", help="check what left suppliers against what the office received")
    verbs = parser.add_subparsers(required=True, metavar="verb")
    text = "hold a supplier's exported ledger against the office's exported book"
    compare = verbs.add_parser("compare", help=text, description=text)
    compare.add_argument("supplier_file", type=Path, help="from `skyglow supplier ledger export`")
    compare.add_argument("office_file", type=Path, help="from `skyglow office audit export`")
    compare.add_argument(
        "--supplier", default="", metavar="NAME", help="whose ledger it is (default: found by replies)"
    )
    compare.set_defaults(func=_compare)


def _compare(options: argparse.Namespace) -> int:
    from skyglow_shared import audit_compare  # noqa: PLC0415 - loading the accountant takes seconds

    ledger = audit.read(options.supplier_file, audit.LEDGER)
    office = audit.read(options.office_file, audit.OFFICE)
    names = [options.supplier] if options.supplier else audit_compare.suppliers_of(ledger, office)
    if len(names) != 1:
        raise FormatError("the office's book does not show whose ledger this is; say it with --supplier")
    found = audit_compare.compare(ledger, office, names[0])
    show(f"supplier   {found.supplier}", f"heads      {ledger[-1].hash[:12]}  {office[-1].hash[:12]}")
    for one in found.accounts:
        show(
            f"{one.study[:12]}  {one.name}  {one.agreed} replies agree, {one.unfinished} in a round not yet complete",
            f"              epsilon {one.charged:.6f} charged, {one.received:.6f} received, at delta {one.delta:g}",
        )
    show(*(f"DIFFERS    {problem}" for problem in found.problems))
    if found.problems:
        raise LedgerError(
            "the books differ; ask both sides to explain each line above before anything more is approved"
        )
    show("the books agree")
    return 0
