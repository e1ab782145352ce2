# SPDX-License-Identifier: Apache-2.0
"""What may be published: named rules on public or noised counts only, and a record of every check."""

from skyglow_server.disclosure.footprint import Cell, Footprint, Overlap, footprint_of, pieces_of
from skyglow_server.disclosure.record import Tree, complete, published
from skyglow_server.disclosure.rules import Check, Facts, check_all, disclose

__all__ = [
    "Cell",
    "Check",
    "Facts",
    "Footprint",
    "Overlap",
    "Tree",
    "check_all",
    "complete",
    "disclose",
    "footprint_of",
    "pieces_of",
    "published",
]
