# SPDX-License-Identifier: Apache-2.0
"""Estimates made to agree with official totals, where there are any: of districts, of MSOAs, or of both.

The shares of a district have the mean m and covariance S of their joint fit. Official shares t of areas whose weights
on the LSOAs are the rows of R, with errors of covariance N, are further observations, t = R θ + e, and are taken in by
generalised least squares::

    K = S Rᵀ (R S Rᵀ + N)⁻¹,    m* = m + K (t - R m),    S* = (I - K R) S (I - K R)ᵀ + K N Kᵀ

and what a total says goes most to the areas that are known least. An interval is the narrower for it, and says how much
of what is left is the total's own error. Totals that contradict each other or the study are an error: agreement that is
forced would only hide it.

A total is known to the nearest whole home at best. One without an error of its own has that of rounding, uniform within
half a home, so that a table need not add up to the last home: k of them may differ from their sum, which is rounded
too, by (k + 1) / 2. Least squares spreads a difference evenly over all k + 1, to no more than half a home each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_server.estimation.hierarchy import Tree, agree
from skyglow_server.estimation.inputs import AreaTable
from skyglow_server.estimation.posterior import Posterior
from skyglow_server.estimation.results import Level
from skyglow_server.public_tables import read_numbers, read_rows
from skyglow_shared.errors import DataError, FormatError, GeographyError

Array = NDArray[np.float64]
SOURCE = "official total"
_LEVELS: tuple[Level, ...] = ("LAD", "MSOA")  # of the areas that totals are given for, the larger first
_COLUMNS = ("area_code", "topic", "homes", "standard_error")
_MOST = 5.0  # standard deviations that two figures may lie apart
_HALF = 0.5  # of a home, by which rounding moves a count at most
_ROUNDING = _HALF / math.sqrt(3)  # its standard deviation
_SLACK = 1e-6  # for floating point


@dataclass(frozen=True, slots=True)
class Total:
    """An official number of homes of a kind in one area, and its standard error as the table gives it."""

    homes: float
    error: float

    @property
    def deviation(self) -> float:
        """Its standard error with what rounding to whole homes leaves, if that is more."""
        return max(self.error, _ROUNDING)


#: By topic and area code, of districts and MSOAs.
Totals = Mapping[tuple[str, str], Total]


def load_totals(path: Path, areas: AreaTable) -> Totals:
    """Read official totals: area_code, topic, homes, standard_error (0 for a count of whole homes).

    Raises
    ------
    FormatError
        The file cannot be read, lacks a column, has a line twice, or a number that cannot be one.
    GeographyError
        An area is neither a district nor an MSOA of the study.
    DataError
        Totals contradict each other, or are more homes than there are.
    """
    rows = read_rows(path, _COLUMNS)
    numbers = read_numbers(path, rows, _COLUMNS[2:])
    found = {
        (row["topic"], row["area_code"]): Total(homes, error)
        for row, (homes, error) in zip(rows, numbers.tolist(), strict=True)
    }
    if len(found) < len(rows):
        raise FormatError(f"{path.name} has a topic's area twice; leave one of the lines out")
    check_totals(found, areas)
    return found


def check_totals(totals: Totals, areas: AreaTable) -> None:
    """GeographyError for an area the study has not; DataError for totals that cannot all be so."""
    known = {code for level in _LEVELS for code in areas.codes[level]}
    foreign = {code for _, code in totals} - known
    if foreign:
        raise GeographyError(f"{len(foreign)} of the official totals are of no district or MSOA of the study")
    for topic in sorted({topic for topic, _ in totals}):
        of_topic = {code: total for (name, code), total in totals.items() if name == topic}
        _check_topic(topic, of_topic, areas)


def _check_topic(topic: str, totals: Mapping[str, Total], areas: AreaTable) -> None:
    codes, households = counted(areas)
    value = np.array([totals[code].homes if code in totals else 0.0 for code in codes])
    error = np.array([totals[code].deviation if code in totals else math.inf for code in codes])
    if (value > households).any():
        raise DataError(f"an official total of {topic} is more than there are homes; correct it or the table of areas")
    tree = Tree.of(np.concatenate([np.full(len(areas.areas("LAD")), -1), areas.places("LAD", of="MSOA")]))
    agreed = agree(tree, value, error**2)
    given = np.isfinite(error)
    most = np.where(error > _ROUNDING, _MOST * error, _HALF + _SLACK * (1 + value))
    if (np.abs(agreed.value - value)[given] > most[given]).any():
        raise DataError(
            f"official totals of {topic} contradict each other beyond their errors; a standard error of 0 allows for"
            " rounding to whole homes alone: of counts rounded to a multiple of m give m times 0.29, or use tables of"
            " one source"
        )


def counted(areas: AreaTable) -> tuple[list[str], Array]:
    """Codes and households of all areas that totals may be given for."""
    codes = [code for level in _LEVELS for code, _ in areas.areas(level)]
    return codes, np.concatenate([areas.totals(level, areas.households) for level in _LEVELS])


def benchmarked(posterior: Posterior, areas: AreaTable, topic: str, totals: Totals) -> Posterior:
    """Make shares agree with a topic's official totals, where there are any of these areas.

    Parameters
    ----------
    posterior : Posterior
        The areas' shares by themselves.
    areas : AreaTable
    topic : str
    totals : Totals
        Those of other topics or areas are not looked at.

    Raises
    ------
    DataError
        A total is further from the study's own figure than the errors of both allow.
    """
    official = _official(areas, topic, totals)
    return _conditioned(topic, posterior, official) if official.share.size else posterior


@dataclass(frozen=True, slots=True)
class _Official:
    """Totals as shares: rows R [m, A], shares t [m], standard errors [m]."""

    rows: Array
    share: Array
    error: Array


def _official(areas: AreaTable, topic: str, totals: Totals) -> _Official:
    """The totals of one topic that are of these areas."""
    codes, homes = counted(areas)
    known = np.array([(topic, code) in totals for code in codes])
    given = [totals[topic, code] for code in codes if (topic, code) in totals]
    rows = np.concatenate([areas.weights(level) for level in _LEVELS])[known]
    share = np.array([total.homes for total in given]) / homes[known]
    return _Official(rows, share, np.array([total.deviation for total in given]) / homes[known])


def _conditioned(topic: str, posterior: Posterior, official: _Official) -> Posterior:
    """The posterior given official shares."""
    rows, off = official.rows, official.share - official.rows @ posterior.mean
    own = rows @ posterior.covariance @ rows.T
    apart = np.abs(off) > _MOST * np.sqrt(np.diagonal(own) + official.error**2)
    if apart.any():
        raise DataError(
            f"an official total of {topic} is further from the study's own figure than the errors of both allow;"
            " see whether both count the same homes"
        )
    gain = np.linalg.solve(own + np.diag(official.error**2), rows @ posterior.covariance).T
    left = np.eye(len(posterior.mean)) - gain @ rows
    error = gain * official.error
    return replace(
        posterior,
        mean=posterior.mean + gain @ off,
        covariance=left @ posterior.covariance @ left.T + error @ error.T,
        turning=left @ posterior.turning @ left.T,
        gain=left @ posterior.gain,
        further={SOURCE: error},
    )
