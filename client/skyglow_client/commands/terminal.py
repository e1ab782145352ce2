# SPDX-License-Identifier: Apache-2.0
"""What every verb shares: its parser, and the supplier of its folder with what was proposed to it."""

import argparse
import tomllib
from collections.abc import Callable
from pathlib import Path

from skyglow_client import handover
from skyglow_client.supplier import Supplier
from skyglow_shared.errors import ApprovalError, FormatError
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study

Verbs = argparse._SubParsersAction  # what argparse gives has no public name
_NAME = 'write the line name = "…" with the name the office has on its roster'


def verb(
    verbs: "Verbs[argparse.ArgumentParser]", name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a verb on a supplier's folder, and return its parser for what else it takes."""
    parser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--folder", type=Path, default=Path(), help="the supplier's folder (default: here)")
    parser.set_defaults(func=function)
    return parser


def open_supplier(options: argparse.Namespace) -> Supplier:
    """Open the supplier of the folder that was given; FormatError if it does not say its name."""
    name = name_in(options.folder)
    return handover.opened(options.folder, lambda: Supplier.open(options.folder, name))


def name_in(folder: Path) -> str:
    """The supplier's name, as its folder has it; FormatError if it does not say it."""
    path = folder / "supplier.toml"
    try:
        name = tomllib.loads(path.read_text(encoding="utf-8"))["name"]
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise FormatError(f"supplier.toml cannot be read ({type(error).__name__}); {_NAME}") from None
    if not isinstance(name, str):
        raise FormatError(f"supplier.toml gives no name in quotes; {_NAME}")
    return name


def proposed(supplier: Supplier) -> dict[str, Study]:
    """Every proposed study by digest, oldest first."""
    return {identity: decode_study(canonical) for identity, canonical in supplier.gate.ledger.studies().items()}


def chosen(supplier: Supplier, start: str) -> tuple[str, Study]:
    """The one proposed study whose digest begins so; ApprovalError if there is none, or several."""
    found = [(identity, study) for identity, study in proposed(supplier).items() if identity.startswith(start)]
    if len(found) != 1:
        raise ApprovalError("that is the digest of no proposed study, or of several; see `study list`", rule="approval")
    return found[0]
