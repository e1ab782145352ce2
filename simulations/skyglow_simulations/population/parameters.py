# SPDX-License-Identifier: Apache-2.0
"""Every number of the simulated population but those of load (`load_parameters`), each with where it comes from.

"Set here" marks a choice of this simulator, tuned so that moments of load match trials of real homes (622 Scottish
homes in spring 2009, 1,744 Irish homes in 2009) and so that models are no better here than there. Clock times are in
hours.
"""

from typing import Final, NamedTuple

# Drift: how far areas have moved since the census, as logits of the share all aged 66+ (set here; sd 0.25 in all).
DRIFT_SD_DISTRICT: Final = 0.10
DRIFT_SD_MSOA: Final = 0.12
DRIFT_SD_LSOA: Final = 0.20

# Frame. Smart meters in about four of five homes (set here); the rate differs between areas at random, and in this
# version not between compositions within an area.
METERED_MEAN: Final = 0.80
METERED_CONCENTRATION: Final = 60.0
SUPPLIERS: Final = {"north": 0.25, "south": 0.20, "east": 0.17, "west": 0.13, "harbour": 0.10, "common": 0.08}
NOT_PARTICIPATING: Final = 0.07  # share of metered homes with a supplier that takes no part
UNKNOWN_POSTCODE: Final = 0.002  # share of meters whose postcode is in no lookup

# Panel: a simple random sample of consenting homes; part of it keeps diaries.
DIARY_SHARE: Final = 0.35
DIARY_ONE_DAY_SHARE: Final = 0.30  # diary homes that fill in one of their two days only

HOMES_PER_POSTCODE: Final = 15  # Royal Mail: about 15 addresses a postcode


class Pattern(NamedTuple):
    """A way of spending days: chance of the day's main absence, when it starts, how long it lasts (hours, mean and sd).

    `evening` is the chance of going out again in the evening, `wake` and `bed` mean hours.
    """

    weekday: tuple[float, float, float, float, float]
    saturday: tuple[float, float, float, float, float]
    sunday: tuple[float, float, float, float, float]
    evening: float
    wake: float
    bed: float


# Set here, to look like what time-use surveys publish of working hours and days out; fitted to no survey. Together with
# the trips below: somebody is at home in 55 % of homes at weekday noon, in 95 % at night, in 81 % of all half-hours.
PATTERNS: Final = {
    "full_time": Pattern(
        (0.90, 8.0, 1.3, 9.9, 1.7), (0.60, 11.0, 2.2, 3.6, 2.0), (0.52, 11.5, 2.0, 3.2, 1.8), 0.20, 6.8, 23.3
    ),
    "part_time": Pattern(
        (0.72, 9.3, 1.8, 5.4, 1.8), (0.60, 11.0, 2.2, 3.4, 1.9), (0.50, 11.5, 2.0, 3.0, 1.7), 0.18, 7.0, 23.2
    ),
    "at_home": Pattern(
        (0.42, 12.0, 2.6, 2.2, 1.5), (0.58, 11.0, 2.2, 3.4, 1.9), (0.50, 11.5, 2.0, 3.0, 1.7), 0.18, 7.2, 23.3
    ),
    "not_working": Pattern(
        (0.70, 11.6, 2.4, 4.0, 2.2), (0.54, 11.8, 2.3, 3.0, 1.8), (0.46, 12.0, 2.2, 2.8, 1.7), 0.12, 7.8, 23.3
    ),
    "retired": Pattern(
        (0.60, 10.9, 2.0, 3.0, 1.7), (0.54, 11.0, 1.9, 2.8, 1.6), (0.50, 11.2, 1.8, 2.8, 1.6), 0.08, 7.2, 22.5
    ),
    "school": Pattern(
        (0.95, 8.3, 0.3, 7.5, 0.8), (0.58, 11.0, 2.0, 3.2, 1.8), (0.50, 11.5, 2.0, 3.0, 1.7), 0.06, 7.2, 21.5
    ),
    "small_child": Pattern(
        (0.62, 9.2, 1.0, 4.8, 2.2), (0.56, 10.8, 1.8, 3.0, 1.6), (0.50, 11.2, 1.8, 2.8, 1.5), 0.02, 6.8, 19.8
    ),
    "student": Pattern(
        (0.72, 10.4, 1.8, 5.5, 2.3), (0.58, 12.5, 2.4, 4.0, 2.2), (0.48, 13.0, 2.4, 3.4, 2.0), 0.26, 8.6, 24.0
    ),
}
PATTERN_NAMES: Final = tuple(PATTERNS)
FREE_ON_WEEKDAYS: Final = ("at_home", "not_working", "retired", "small_child")

JOINT_WEEKEND: Final = 0.72  # weekend days on which a household goes out together (set here)
JOINT_WEEKDAY: Final = 0.76  # weekdays on which those of a household who need not go to work or school do so
AWAY_SHARE: Final = 0.17  # homes with a stay away in four weeks of early spring (set here)
AWAY_DAYS: Final = (2, 9)
# Short trips of a whole household (errands, shopping, visits): chance a day by people in the household (1, 2, 3 or
# more), weekday and weekend; start and spread, and mean length in hours (set here).
ERRAND: Final = ((0.64, 0.76), (0.54, 0.68), (0.42, 0.56))
ERRAND_START: Final = (14.6, 2.6)
OLDER_ERRANDS: Final = 0.75  # homes all aged 66+ make so many of the errands of others
ERRAND_HOURS: Final = 2.2
YOUNG_PUPILS: Final = 0.6  # pupils too young to be at home alone; small children all are
EVENING_TOGETHER: Final = 0.6  # evenings out that others of the household join
SATURDAY_EVENING: Final = 1.6  # times as many people are out on a Saturday evening (set here)
NIGHT_OUT: Final = 0.015  # nights that a young adult spends elsewhere (set here)

# Workers who work at home: set here, below the 31 % that the census counted during lockdown.
WORKS_AT_HOME: Final = 0.24
SCHOOL_HOLIDAY_WEEKS: Final = ((14, 16),)  # ISO weeks of Easter 2026's holiday: schools closed (first, after the last)

# Getting up and going to bed: added to the patterns' hours, and their sd in hours (set here).
WAKE_LATER: Final = 0.88
BED_LATER: Final = 0.85
WEEKEND_WAKE_LATER: Final = 0.95
WAKE_OWN_SD: Final = 0.8
BED_OWN_SD: Final = 0.9
UP_DAY_SD: Final = 0.5

# Homes that nobody lives in for months, mains off in some; somebody looks in on some days (set here: the census counts
# one home in twenty without usual residents, most of them without a running supply contract).
LONG_EMPTY_SHARE: Final = 0.016
LONG_EMPTY_DAYS: Final = 180
LONG_EMPTY_VISITS: Final = 0.05
LONG_EMPTY_SWITCHED_OFF: Final = 0.5

# Dirt: faults of raw files, as shares of meter-days (readings for the last).
SHORT_GAP: Final = 0.02
LONG_GAP: Final = 0.004
MISSING_DAY: Final = 0.006
EQUAL_DUPLICATE: Final = 0.0005
CONFLICTING_DUPLICATE: Final = 0.0002
ABSURD_READING: Final = 0.00001
