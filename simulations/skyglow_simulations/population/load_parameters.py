# SPDX-License-Identifier: Apache-2.0
"""Every number of the load model, in one place, each with its unit and where it comes from.

Powers and running times of appliances are those of rating plates and common programmes. "Set here" marks what was
fitted so that moments of load match 622 Scottish homes in spring 2009 and models find homes' composition as well as in
1,744 Irish ones (`make calibration`); no home's readings are in these numbers. Clock times are in hours.
"""

from typing import Final, NamedTuple


class Era(NamedTuple):
    """Shares of homes with what came or went over the years.

    `storage` is of the homes that heat by electricity: night storage heaters.
    """

    electric_heating: float
    storage: float
    electric_car: float
    solar: float


#: Heating from Census 2021 (ts046), England and Wales. Cars and panels: about 1.5 million of 28 million homes have
#: either (Department for Transport, MCS installation counts, 2025), the cars mostly charged at home.
TODAY: Final = Era(electric_heating=0.08, storage=0.35, electric_car=0.04, solar=0.05)
#: As the trials of 2009: before cars and panels, and with meters of one rate only. No Scottish home of the trial has
#: nights above one and a half times its days.
TRIAL_2009: Final = Era(electric_heating=0.03, storage=0.0, electric_car=0.0, solar=0.0)

# Between homes.
HOME_LOG_SD: Final = 0.41  # sd of log use of one home against another alike (set here)
AREA_LOG_SD: Final = 0.08  # of areas, for reasons other than composition (set here)
PEOPLE_OFFSET: Final = 1.05  # use goes with (people + this): the first counts for more than the next (set here)
GUESTS: Final = 0.2  # of homes of one, where somebody else often stays whom no census counts there (set here)

# What never sleeps (kWh a half-hour unless said): standby, routers, clocks, pumps.
ALWAYS_MEDIAN: Final = 0.0375  # 75 W (set here)
ALWAYS_LOG_SD: Final = 0.74
ALWAYS_WITH_HOME: Final = 1.1  # power of the home's level with which it goes
ALWAYS_WITH_PEOPLE: Final = 0.25  # and of the number of people
SWITCHES_OFF: Final = 0.025  # homes with next to nothing on at night: their meters show zeros (set here)
SWITCHES_OFF_MOST: Final = 0.003

# Cold appliances: compressors that cycle on their own.
FRIDGE_KWH: Final = 0.0155  # mean of one: 270 kWh a year (set here; labels of the time say 150 to 400)
FRIDGE_LOG_SD: Final = 0.45
FRIDGE_PERIOD: Final = 3.2  # half-hours from start to start (set here; an hour or two is common)
FRIDGE_PERIOD_LOG_SD: Final = 0.5
FRIDGE_JITTER: Final = 0.15  # sd of a cycle's pace from one half-hour to the next
FRIDGE_DUTY: Final = (0.25, 0.6)  # share of the cycle that the compressor runs
SECOND_FRIDGE: Final = 0.5  # homes with a freezer of its own besides

# Whatever runs while people are up: screens, computers, music, extractors (kWh a half-hour of one person's evening).
# A home keeps its own hours, and what is on stays on for a while.
SCREENS: Final = 0.065  # 130 W (set here)
SCREENS_LOG_SD: Final = 0.48  # between homes
SCREENS_BY_DAY: Final = 0.9  # of the evening's
SCREENS_SHAPE_SD: Final = 0.52  # log, how much a home's own hours differ from others'
STRETCH_HALF_HOURS: Final = 2.2  # until something is switched on or off
STRETCH_LOG_SD: Final = 0.28  # between one stretch and the next
CROWD_POWER: Final = 1.1  # how use grows with the people awake
LIGHT: Final = 0.0285  # of one person up in the dark
LIGHT_LOG_SD: Final = 0.5
DUSK_HOURS: Final = 0.6  # lights go on this long before sunset and off after sunrise
LATITUDE: Final = 53.0  # degrees north
SOLAR_NOON: Final = 12.1  # Greenwich time, two degrees west of it

# From day to day: log sd of a home's activity, itself with log sd DAY_SPREAD between homes (set here).
SCREENS_DAY_LOG_SD: Final = 0.145
STARTS_DAY_LOG_SD: Final = 0.129
DAY_SPREAD: Final = 0.6


class Habit(NamedTuple):
    """When people start something.

    `hours` and `weights` are the usual times of day; each home has its own, `shift` around them (sd, hours), and
    liking for each. On a day it starts `spread` (sd, hours) around its own time; `regular` is the share of starts
    that keep to these times. At weekends each time is `later` hours later, and it is started `more` times as often.
    """

    hours: tuple[float, ...]
    weights: tuple[float, ...]
    shift: float
    spread: float
    regular: float
    later: tuple[float, ...]
    more: float = 1.0


class Block(NamedTuple):
    """A time at one power: begins `after` to `after` + `within` hours from the start and lasts about `hours`.

    `owners` is the share of homes that have what draws it, `chance` how often it then does.
    """

    kilowatts: float
    hours: float
    hours_log_sd: float
    after: float = 0.0
    within: float = 0.0
    owners: float = 1.0
    chance: float = 1.0


class Appliance(NamedTuple):
    """Something people start: how often a day in a home of one, by people to a power, when, and what it draws.

    `own_log_sd` is that of a home's way with it: how long it runs here against elsewhere. Homes with dependent children
    start it `with_children` times as often.
    """

    habit: Habit
    owners: float
    starts: float
    by_people: float
    own_log_sd: float
    blocks: tuple[Block, ...]
    with_children: float = 1.0


# Habits, the numbers of appliances and how often they run are set here; powers and times are as said at the top.
STARTS_LOG_SD: Final = 0.57  # how often, between homes alike
LIKING_LOG_SD: Final = 1.1  # for one usual time against another
SPREAD_LOG_SD: Final = 0.5  # how punctual homes are
WITH_HOME: Final = 0.5  # power of the home's level with which starts go

KETTLE: Final = Appliance(  # and toasters, microwave ovens, hair dryers
    Habit((8.0, 12.8, 17.4, 21.2), (0.85, 0.85, 0.95, 0.55), 0.8, 0.59, 0.7, (2.4, 0.6, 0.0, 0.0), more=0.8),
    owners=1.0, starts=5.6, by_people=0.8, own_log_sd=0.3,
    blocks=(Block(2.3, 0.05, 0.7),),
)  # fmt: skip
COOKER: Final = Appliance(  # electric hobs and ovens; the other homes cook with gas
    Habit((17.6, 12.6), (1.0, 0.3), 1.0, 0.38, 0.9, (-0.2, 0.0), more=0.9),
    owners=0.75, starts=0.82, by_people=0.6, own_log_sd=0.3,
    blocks=(Block(2.0, 0.25, 0.5),),
)  # fmt: skip
SHOWER: Final = Appliance(
    Habit((7.6, 20.8), (1.0, 0.35), 1.1, 0.19, 0.9, (1.7, -0.3), more=0.75),
    owners=0.52, starts=0.58, by_people=1.0, own_log_sd=0.4,
    blocks=(Block(8.5, 0.115, 0.35),),
)  # fmt: skip
WASHER: Final = Appliance(  # heats, then turns; some dry in a machine afterwards
    Habit((9.5, 17.5), (1.0, 0.4), 2.0, 0.99, 0.9, (2.9, 0.0), more=1.15),
    owners=1.0, starts=0.16, by_people=1.0, own_log_sd=0.2,
    blocks=(Block(2.1, 0.28, 0.4),
            Block(0.25, 0.8, 0.3, after=0.4),
            Block(2.2, 0.7, 0.4, after=1.0, within=2.0, owners=0.5, chance=0.5)), with_children=1.4,
)  # fmt: skip
DISHWASHER: Final = Appliance(
    Habit((20.3, 9.0), (1.0, 0.35), 1.3, 0.5, 0.95, (-0.5, 1.5)),
    owners=0.38, starts=0.7, by_people=0.9, own_log_sd=0.1,
    blocks=(Block(2.1, 0.25, 0.2),
            Block(2.1, 0.2, 0.2, after=0.75)), with_children=1.2,
)  # fmt: skip
OTHER: Final = Appliance(  # irons, vacuum cleaners, fan heaters, tools
    Habit((11.0, 17.5), (1.0, 0.7), 2.0, 1.4, 0.6, (2.0, -0.3), more=1.1),
    owners=1.0, starts=0.44, by_people=0.6, own_log_sd=0.3,
    blocks=(Block(1.5, 0.4, 0.8),), with_children=1.1,
)  # fmt: skip
APPLIANCES: Final = (KETTLE, COOKER, SHOWER, WASHER, DISHWASHER, OTHER)

# Homes all aged 66+ and others. Set here so that a logistic model on a week's features finds the former as well as it
# finds retired homes in the Irish trial, and finds those of them who live alone more easily than couples.
OLDER_KEEP: Final = (0.82, 0.7)  # share of older people alone, and of older couples, who keep older people's habits
OTHERS_KEEP: Final = 0.04  # share of other homes that do
OLDER_EARLIER: Final = 0.1  # hours by which they eat and wash earlier
OLDER_SCREENS_BY_DAY: Final = 0.04  # more of the evening's screens by day
OLDER_USE: Final = 0.52  # of others' screens, lights apart: less runs at a time

# Timers: immersion heaters and machines that start by the clock, whoever is at home.
TIMER_OWNERS: Final = 0.10
TIMER_NIGHT: Final = 0.7  # of them at night
TIMER_KW: Final = 2.5
TIMER_HOURS: Final = 0.6
TIMER_HOURS_LOG_SD: Final = 0.6  # between homes; half as much between days
TIMER_NIGHT_HOURS: Final = (-1.0, 4.5)
TIMER_DAY_HOURS: Final = (5.0, 22.0)

# Heating, kW while on at ten degrees below comfort, and cars and panels.
HEATING_KW: Final = 0.7
HEATING_LOG_SD: Final = 0.5
STORAGE_KW: Final = 1.4
COMFORT_C: Final = 15.5  # no heating on days warmer than this (the usual base of degree days)
CAR_OLDER: Final = 0.25  # as many homes all aged 66+ have one as others (set here)
CAR_KW: Final = 7.2
CAR_HOURS: Final = 1.8  # median of a charge
CAR_CHANCE: Final = 0.35  # of a charge on a night
CAR_AT: Final = ((0.5, 0.3), (19.0, 1.5))  # hour and sd: on a night tariff, or when back home
CAR_NIGHT_TARIFF: Final = 0.6
SOLAR_KW: Final = 3.2  # panels of a home, at their best
SOLAR_LOG_SD: Final = 0.3
