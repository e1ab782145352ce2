# SPDX-License-Identifier: Apache-2.0
"""The change between two releases of one topic, with its interval, for every area that both let out.

Estimates θ̂1, θ̂2 err by e1, e2, whose variances are made of parts. Panels, their answers, privacy noise and the homes
with a meter are independent between studies, or the same homes, whose errors agree in sign and cancel in part: taking
them as independent is cautious. What is shared for certain is the old census and the prior around it: both estimates
are drawn to the same old share, by (1 - γ) of what the area has drifted from it. Of that drift the share ρ,
`persistence`, is thought to be there on both dates, so with p1, p2 the parts of the variances called "area model"::

    Var(θ̂2 - θ̂1) = V1 + V2 - 2 ρ √(p1 p2)

ρ = 0 forgets what is shared and is widest; a drift that grows year by year gives √(t1 / t2), t in years since the
census, 0.9 for studies five and six years after. The default of one half is cautious beside that. A folder tells the
parts of a topic and level on average, not of each area; and figures are rounded, for which deviations are widened by
half a step.

Electricity use has no prior, so ρ is nothing to it; the homes with a meter, mostly the same ones, are taken as
independent, which is cautious. Either figure may be too low by what homes held to the bound use beyond it, with which
its own interval is longer above: by so much the change may be larger, or smaller.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.estimation.results import QUANTILE
from skyglow_server.publication import words
from skyglow_server.publication.columns import DIGITS, number, table
from skyglow_server.publication.earlier import Published
from skyglow_shared.errors import GeographyError, StudyError
from skyglow_shared.files import write_atomically
from skyglow_shared.study import Model, Study

PERSISTENCE = 0.5
COLUMNS = (
    "area_code", "area_name", "level", "topic", "group", "earlier", "later", "change", "lower", "upper",
    "standard_error", "evidence", "status", "shorthand", "reason",
)  # fmt: skip
_STEP = 10.0**-DIGITS


@dataclass(frozen=True, slots=True)
class Change:
    """One area's change, in the units of the estimates; no numbers where one of the two was withheld.

    `names` are the row's area_code, area_name, level, topic and group. `beyond` is how much too low the earlier and the
    later estimate may be, beside `deviation`.
    """

    names: tuple[str, ...]
    earlier: float | None = None
    later: float | None = None
    deviation: float | None = None
    beyond: tuple[float, float] = (0.0, 0.0)
    shorthand: str = ""
    reason: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the change; None where there are no numbers."""
        if self.earlier is None or self.later is None or self.deviation is None:
            return None
        middle, reach = self.later - self.earlier, QUANTILE * self.deviation
        return middle - reach - self.beyond[0], middle + reach + self.beyond[1]

    @property
    def evidence(self) -> str:
        """Whether the interval holds zero, in words; empty where there is none."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "no clear change"


def changes(earlier: Published, later: Published, *, persistence: float = PERSISTENCE) -> tuple[Change, ...]:
    """The change of every figure that both releases know.

    Parameters
    ----------
    earlier, later : Published
    persistence : float
        ρ, from 0 to 1.

    Raises
    ------
    StudyError
        They have no topic in common, a topic counts other homes, or the dates are not in order.
    GeographyError
        They are of other areas or another vintage.
    """
    topics = _comparable(earlier, later)
    found = []
    for key, row in later.rows.items():
        topic, level = key[:2]
        if topic in topics:
            before = earlier.rows.get(key)
            shares = (earlier.shared.get((topic, level), 0.0), later.shared.get((topic, level), 0.0))
            found.append(_change(before, row, persistence * math.sqrt(shares[0] * shares[1])))
    if earlier.use:
        found.extend(_change(earlier.use.get(key), row, 0.0) for key, row in later.use.items())
    return tuple(found)


def _comparable(earlier: Published, later: Published) -> set[str]:
    one, other = earlier.study, later.study
    if one.vintage != other.vintage or one.areas != other.areas:
        raise GeographyError(
            "the two releases are of other areas or of another vintage; compare studies of the same areas"
        )
    if not one.reference_date < other.reference_date:
        raise StudyError("the earlier release is not of an earlier date than the later; name them in order of time")
    topics = {key[0] for key in earlier.rows} & {key[0] for key in later.rows}
    for model in other.models:
        if model.name in topics and _counted(one.model(model.name)) != _counted(model):
            raise StudyError(f"topic {model.name} counts other homes in the two studies; compare topics that are alike")
    if OCCUPANCY in topics and _told(one) != _told(other):
        raise StudyError("presence is told by other means in the two studies; compare studies of one basis")
    if not topics and not (earlier.use and later.use):
        raise StudyError("the two releases have no topic in common; compare studies of the same topic")
    return topics


def _counted(model: Model) -> tuple[str, frozenset[str]]:
    """Which homes a topic counts: the question, and the answers that count as one."""
    return model.question, frozenset(model.positive_classes)


def _told(study: Study) -> tuple[str, ...]:
    """By what presence is told; curves of more areas are no other means."""
    own = study.occupancy
    return own.basis, own.basis_digest, own.model, own.model_digest


def _change(before: Mapping[str, str] | None, after: Mapping[str, str], kept: float) -> Change:
    names = tuple(after[name] for name in COLUMNS[:5])
    if before is None:
        return Change(names, shorthand=words.UNAVAILABLE)
    for row in (before, after):
        if row["estimate"] == "":
            return Change(names, shorthand=row["shorthand"], reason=row["reason"])
    if not (before["standard_error"] and after["standard_error"]):
        return Change(names, shorthand=words.UNAVAILABLE)
    first, second = (float(row["standard_error"]) + _STEP / 2 for row in (before, after))
    variance = first**2 + second**2 - 2 * kept * first * second + _STEP**2 / 6
    one, other = (float(row.get("unclipped", row["estimate"])) for row in (before, after))
    beyond = (0.0, 0.0) if "unclipped" in after else (_beyond(before), _beyond(after))
    return Change(names, one, other, math.sqrt(variance), beyond)


def _beyond(row: Mapping[str, str]) -> float:
    """How much too low a figure of electricity use may be."""
    return max(float(row["upper"]) - float(row["estimate"]) - QUANTILE * float(row["standard_error"]), 0.0)


def write(path: Path, found: Iterable[Change]) -> tuple[Path, ...]:
    """Write a table a topic, ``change-<topic>.csv``, each as a whole; return their paths."""
    tables: dict[str, list[Change]] = {}
    for item in found:
        tables.setdefault(item.names[3], []).append(item)
    paths = []
    for topic, items in tables.items():
        paths.append(path / f"change-{words.dashed(topic)}.csv")
        write_atomically(paths[-1], table(COLUMNS, map(_line, items)))
    return tuple(paths)


def _line(item: Change) -> list[str]:
    numbers: tuple[float | None, ...] = (None,) * 6
    if item.earlier is not None and item.later is not None and item.interval is not None:
        numbers = (item.earlier, item.later, item.later - item.earlier, *item.interval, item.deviation)
    status = "suppressed" if item.interval is None else "published"
    return [*item.names, *map(number, numbers), item.evidence, status, item.shorthand, item.reason]
