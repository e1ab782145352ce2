# SPDX-License-Identifier: Apache-2.0
"""How the report says things: numbers, names of topics, levels, rules and sources of error, in plain English."""

from collections.abc import Mapping

from skyglow_server.estimation import Estimate
from skyglow_server.publication.words import rule

_HOMES: Mapping[str, float] = {"LSOA": 650.0, "MSOA": 3000.0}
SHORT_LEVELS: Mapping[str, str] = {"LSOA": "LSOAs", "MSOA": "MSOAs", "LAD": "district"}
DAYS: Mapping[str, str] = {"weekday": "weekday", "weekend": "weekend day"}
#: What a reader chooses between, by level.
CHOICES: Mapping[str, str] = {
    "LAD": "the district",
    "MSOA": "neighbourhoods (MSOA)",
    "LSOA": "small areas (LSOA)",
}
WITHHELD = "withheld"

#: What each method of the comparison does, by the names of the study's summary.
METHODS: Mapping[str, str] = {
    "skyglow": "what the meters show, calibrated on the surveyed panel, with the old census; private",
    "naive": "each home put into the likelier class and counted; not private",
    "panel_alone": "the surveyed homes and the old census, without meters; private",
    "meters_alone": "the meters and the old census, without the panel’s answers by area; private",
    "histogram_em": "how the meters’ scores are spread, with the old census, without the panel’s answers; private",
    "census_alone": "the shares of the last census, taken as they are; public",
}

_TOPICS = {
    "all_aged_66_plus": "homes where everyone is aged 66 or over",
    "one_person": "homes of one person",
    "three_or_more_people": "homes of three or more people",
    "dependent_children": "homes of a family with dependent children",
    "paid_work": "homes with somebody in paid work",
    "occupancy": "homes with somebody in",
}
_CLAIMS = {
    "all_aged_66_plus": "everyone is aged 66 or over",
    "one_person": "one person lives alone",
    "three_or_more_people": "three or more people live",
    "dependent_children": "a family with dependent children lives",
    "paid_work": "somebody is in paid work",
    "occupancy": "somebody is in",
}
_PHASES = {"training": "Training", "calibration": "Calibration", "release": "Area sums"}
_TRUST = {
    "local": "local: every supplier's sums carry enough noise to be private by themselves",
    "aggregate": "aggregate: suppliers' sums are masked, and private once added up",
}
#: What an estimate's variance is made of, as a reader thinks of it; the first prefix that fits decides.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "Noise and bounds that protect homes": ("privacy noise", "bound on"),
    "The panel is a sample": ("panel", "calibration sampling", "diary sampling"),
    "Homes without a smart meter": ("homes without",),
    "The models’ mistakes about homes": ("scores", "area deviation", "slope"),
    "What meters do not show": ("what meters do not show",),
    "Areas differ and change since the census": ("area model", "public mean"),
}
OTHER_SOURCES = "Everything else"


def levels(scale: float) -> dict[str, str]:
    """What kind of areas each level has, smallest first, where a run has a share `scale` of the homes."""
    sizes = {level: float(f"{homes * scale:.2g}") for level, homes in _HOMES.items()}
    small = {level: f"{SHORT_LEVELS[level]} (about {homes:,.0f} homes each)" for level, homes in sizes.items()}
    return {**small, "LAD": "The whole district"}


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a missing one is withheld."""
    return WITHHELD if value is None else f"{100 * value:.{digits}f}%"


def points(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, without the words."""
    return f"{100 * value:.{digits}f}"


def signed(value: float) -> str:
    """A difference in percentage points with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def interval(item: Estimate) -> str:
    """The 95 % interval of an estimate in words."""
    if item.lower is None or item.upper is None:
        return "no interval"
    return f"{percent(item.lower)} to {percent(item.upper)}"


def area_words(name: str, item: Estimate | None) -> str:
    """An area's estimate with its interval, in words; says why there is none."""
    if item is None or item.estimate is None:
        why = rule(item.reason) if item is not None else "not estimated"
        return f"{name}: {WITHHELD}, {why}"
    return f"{name}: {percent(item.estimate)}, 95% interval {interval(item)}"


def topic(name: str) -> str:
    """The homes that a topic counts."""
    return _TOPICS.get(name, f"homes counted as “{name.replace('_', ' ')}”")


def claim(name: str) -> str:
    """What is true of the homes that a topic counts: follows "in an estimated 18% of homes"."""
    return _CLAIMS.get(name, f"“{name.replace('_', ' ')}” holds")


def phase(name: str) -> str:
    """A phase as a heading."""
    return _PHASES.get(name, name.replace("_", " ").capitalize())


def trust(mode: str) -> str:
    """A trust mode in words."""
    return _TRUST.get(mode, mode)


def source(name: str) -> str:
    """The reader's name for a source of error."""
    for label, prefixes in SOURCES.items():
        if name.startswith(prefixes):
            return label
    return OTHER_SOURCES


def coverage(held: int, shown: int) -> str:
    """How many intervals contain the truth, beside how many should, chance allowed for."""
    spread = (0.95 * 0.05 / shown) ** 0.5
    said = f"{held} of {shown} intervals ({percent(held / shown, 0)}) contain the truth; about 95% should"
    return f"{said}, so in this run they are too narrow" if held / shown < 0.95 - 2 * spread else said


def held(figures: Mapping[str, float], digits: int = 1) -> str:
    """What share of a level's intervals contain the truth; of a single one, whether it does."""
    if "coverage" not in figures:
        return "–"
    if figures["published"] == 1:
        return "yes" if figures["coverage"] else "no"
    return percent(figures["coverage"], digits)


def one_in(delta: float) -> str:
    """A small probability in words."""
    return "one in a million" if abs(delta * 1e6 - 1) < 1e-9 else f"one in {round(1 / delta):,}"


def clock(slot: int) -> str:
    """The local time at which a half-hour begins; slot 0 is midnight."""
    return f"{slot // 2:02d}:{slot % 2 * 30:02d}"
