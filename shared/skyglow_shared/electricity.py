# SPDX-License-Identifier: Apache-2.0
"""Public constants of electricity use: what both sides mean by a part of the day, a bound, a vacant home.

A change of any of these is a change of what suppliers send, so it needs a source of another name.
"""

from typing import Final

#: Parts of the local day, in equal numbers of half-hours.
PARTS: Final = ("00:00 to 06:00", "06:00 to 12:00", "12:00 to 18:00", "18:00 to 24:00")
#: Longest vector of a home's mean kWh by part of the day (Euclidean norm): 6 kWh in every part, or 12 in one.
BOUND_KWH: Final = 12.0
#: A home whose mean use is below this, in kWh a day over the whole period, counts as vacant: a fridge draws more.
VACANT_KWH: Final = 0.3
#: Edges between the bins of a home's mean kWh a day; the first bin begins at zero, the last has no end.
EDGES_KWH: Final = (
    1.0,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    7.0,
    8.0,
    9.0,
    10.0,
    11.0,
    12.0,
    14.0,
    16.0,
    18.0,
    20.0,
    25.0,
    30.0,
    40.0,
)
