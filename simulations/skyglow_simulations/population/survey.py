# SPDX-License-Identifier: Apache-2.0
"""The panel: which homes are surveyed, what they say, and their diaries, written a few areas at a time."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.selection import DEVIATION
from skyglow_shared.files import write_atomically
from skyglow_shared.study import COMPOSITION_CLASSES, Period
from skyglow_simulations.population import frame, presence, raw
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.randoms import number_of, random_of

FILES: Final = ("panel.csv", "diaries.csv")
_SURVEY = 3  # label of an area's generator
_LEFT_OPEN = 0.05


class Group(NamedTuple):
    """Some areas' rows of truth/households, and the packed presence of their metered homes in the same order."""

    homes: pl.DataFrame
    bits: NDArray[np.uint8]


def write(
    suppliers: Path, groups: Iterable[Group], *, seed: int, period: Period, fraction: float, gaps: frame.Amounts
) -> None:
    """Draw the panel and rewrite every supplier's ``panel.csv`` and ``diaries.csv``."""
    places = {(name, file): suppliers / name / "raw" / file for name in p.SUPPLIERS for file in FILES}
    temporary = {key: path.with_name(f".{path.name}.new") for key, path in places.items()}
    with ExitStack() as stack:
        files = {key: stack.enter_context(path.open("wb")) for key, path in temporary.items()}
        for number, group in enumerate(groups):
            for key, table in _tables(group, seed, period, fraction, gaps).items():
                files[key].write(table.write_csv(include_header=number == 0).encode())
    for key, path in temporary.items():
        path.replace(places[key])


def known_of(gaps: frame.Amounts) -> Planning:
    """The office's planning constants with what a survey organisation knows of who has a meter and who answers.

    It knows the chances by class, but not exactly: a twentieth is left open where they differ at all.
    """
    if gaps.smart_meter == frame.EVEN.smart_meter and gaps.response == frame.EVEN.response:
        return PLANNING
    odds = p.METERED_MEAN / (1 - p.METERED_MEAN) * np.exp(np.array(gaps.smart_meter))
    return replace(
        PLANNING,
        metering=tuple((odds / (1 + odds)).tolist()),
        response=gaps.response,
        metering_deviation=_LEFT_OPEN,
        response_deviation=_LEFT_OPEN,
    )


def tell(path: Path, gaps: frame.Amounts) -> None:
    """Write the table by which the survey organisation tells the office what it knows; none where all are alike."""
    known = known_of(gaps)
    if not known.metering:
        return
    lines = zip(COMPOSITION_CLASSES, known.metering, known.response, strict=True)
    table = [("class", "metering", "response"), *lines, (DEVIATION, known.metering_deviation, known.response_deviation)]
    write_atomically(path, "".join(",".join(map(str, line)) + "\n" for line in table).encode())


def unpack(bits: NDArray[np.uint8], rows: NDArray[np.int64], days: int) -> NDArray[np.uint8]:
    """Presence 0/1 [rows, days, 48] of rows of the packed truth."""
    return np.unpackbits(np.asarray(bits[rows]), axis=1).reshape(len(rows), days, presence.SLOTS)


def true_answers(homes: pl.DataFrame) -> dict[str, NDArray[np.int8]]:
    """What every home of truth/households would answer truly, by question: index in `QUESTIONS`."""
    answers = {"composition": homes["composition"].to_numpy()}
    if "size" in homes.columns:  # a trial's homes have a composition alone
        answers |= {"household_size": homes["size"].to_numpy() - np.int8(1), "paid_work": homes["works"].to_numpy()}
    return answers


def _tables(
    group: Group, seed: int, period: Period, fraction: float, gaps: frame.Amounts
) -> dict[tuple[str, str], pl.DataFrame]:
    """Each supplier's rows of the panel and of the diaries."""
    homes = group.homes
    drawn = _drawn(homes, seed, period, fraction, gaps)
    panel, weekday, weekend = drawn.panel, drawn.weekday, drawn.weekend
    answers = drawn.answers(true_answers(homes))
    row = np.cumsum(homes["metered"].to_numpy()) - 1
    supplier, meter = homes["supplier"].to_numpy(), homes["meter_id"].to_numpy()
    tables = {}
    for index, name in enumerate(p.SUPPLIERS):
        asked = panel & (supplier == index) & homes["known_postcode"].to_numpy()
        tables[name, FILES[0]] = raw.panel_table(meter[asked], {name: own[asked] for name, own in answers.items()})
        keeps = [np.flatnonzero(asked & (days >= 0)) for days in (weekday, weekend)]
        home, day = np.concatenate(keeps), np.concatenate([weekday[keeps[0]], weekend[keeps[1]]])
        days = unpack(group.bits, row[home], period.days)[np.arange(len(home)), day]
        tables[name, FILES[1]] = raw.diary_table(meter[home], day, days, period)
    return tables


def _drawn(homes: pl.DataFrame, seed: int, period: Period, fraction: float, gaps: frame.Amounts) -> frame.Survey:
    """Every area's survey, one area after the other."""
    kinds = frame.diary_days(period)
    surveys = []
    for code, own in homes.group_by("lsoa21cd", maintain_order=True):
        rng = random_of(seed, _SURVEY, number_of(str(code[0])))
        surveys.append(frame.draw_survey(own["composition"].to_numpy(), kinds, fraction, gaps, rng))
    return frame.Survey.joined(surveys)
