# SPDX-License-Identifier: Apache-2.0
"""The study's own figures beside official ones, as a tidy table of its own: the others agree with these already."""

from collections.abc import Iterable

from skyglow_server.estimation.official import Compared
from skyglow_server.publication.columns import AREA, SHARE, Columns, line, state

NAME, TITLE = "comparison-official.csv", "The study’s own figures beside official ones, before they were made to agree"

COLUMNS: Columns = {
    **AREA,
    "topic": ("string", "What is counted"),
    "group": ("string", "all"),
    "agrees": (
        {"base": "string", "format": "yes|no"},
        "Whether the difference is within the 95% interval that both standard errors leave it; empty when withheld",
    ),
    "estimate": (SHARE, "The study's own estimated share of households, without the official one; empty when withheld"),
    "lower": (SHARE, "Lower end of its 95% interval"),
    "upper": (SHARE, "Upper end of its 95% interval"),
    "unclipped": ("decimal", "The own estimate before it was held to 0 to 1"),
    "standard_error": ({"base": "decimal", "minimum": "0"}, "Standard error of the unclipped own estimate"),
    "difference": ("decimal", "The unclipped own estimate less the official share; empty when withheld"),
    "official": (SHARE, "Official share of households"),
    "official_standard_error": ({"base": "decimal", "minimum": "0"}, "Standard error of the official share"),
    **state("As in the tables of shares, of the own figure"),
}
_AGREES = {True: "yes", False: "no", None: ""}


def lines(compared: Iterable[Compared]) -> list[list[str]]:
    """One line an official figure."""
    return [_line(one) for one in compared]


def _line(one: Compared) -> list[str]:
    own = one.own
    numbers = (own.estimate, own.lower, own.upper, own.unclipped, own.deviation, one.difference)
    return line(own, (*numbers, one.official, one.error), _AGREES[one.agrees])
