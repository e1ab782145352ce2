# SPDX-License-Identifier: Apache-2.0
"""What may be published: named rules on public or noised counts only, and a record of every check."""

from skyglow_server.disclosure.footprint import Cell, Footprint, Overlap, Pieces, footprint_of, pieces_of
from skyglow_server.disclosure.record import Tree, complete, published
from skyglow_server.disclosure.rules import Check, Facts, check_all, disclose
from skyglow_server.disclosure.spread import Market, Spread, check_market, check_spreads, load_market

__all__ = [
    "Cell",
    "Check",
    "Facts",
    "Footprint",
    "Market",
    "Overlap",
    "Pieces",
    "Spread",
    "Tree",
    "check_all",
    "check_market",
    "check_spreads",
    "complete",
    "disclose",
    "footprint_of",
    "load_market",
    "pieces_of",
    "published",
]
