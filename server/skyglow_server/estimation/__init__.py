# SPDX-License-Identifier: Apache-2.0
"""Noised sums in, small-area estimates with honest intervals out.

`estimate` is the way in; it applies the disclosure rules, so that what it returns may be published. `compare` gives
the same estimates from less data, for the report.
"""

from skyglow_server.estimation.benchmark import Total, load_totals
from skyglow_server.estimation.inputs import AreaTable, load_areas
from skyglow_server.estimation.official import Compared, compare_official
from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.results import Estimate
from skyglow_server.estimation.selection import load_selection
from skyglow_server.estimation.topics import census, check_tables, checks, compare, electricity, estimate

__all__ = [
    "PLANNING",
    "AreaTable",
    "Compared",
    "Estimate",
    "Planning",
    "Total",
    "census",
    "check_tables",
    "checks",
    "compare",
    "compare_official",
    "electricity",
    "estimate",
    "load_areas",
    "load_selection",
    "load_totals",
]
