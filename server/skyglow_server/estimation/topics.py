# SPDX-License-Identifier: Apache-2.0
"""From a study's noised sums to everything it estimates."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import fsum

from skyglow_server.disclosure.footprint import Footprint, Pieces, footprint_of
from skyglow_server.disclosure.record import Tree, complete
from skyglow_server.disclosure.rules import Check, Facts, check_all, disclose
from skyglow_server.disclosure.spread import Market, Spread, check_market, check_spreads
from skyglow_server.estimation.benchmark import Totals, check_totals
from skyglow_server.estimation.diagnostics import check_count, diagnose
from skyglow_server.estimation.electricity import TOPIC as ELECTRICITY
from skyglow_server.estimation.electricity import median_checks, use_estimates
from skyglow_server.estimation.evidence import Evidence
from skyglow_server.estimation.histograms import Histograms, histogram_estimates
from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum, check_areas, find, has
from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.estimation.occupancy import occupancy_estimates
from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.results import Estimate, Level
from skyglow_server.estimation.shares import census_estimates, evidence_of, share_estimates
from skyglow_server.estimation.strata import stratified
from skyglow_shared.errors import DataError
from skyglow_shared.study import Model, Source, Study

#: The comparators' names, in the order a report shows them.
CENSUS_ALONE, PANEL_ALONE, METERS_ALONE = "census_alone", "panel_alone", "meters_alone"
HISTOGRAM_EM = "histogram_em"
_HISTOGRAMS: tuple[Source, Source] = ("area_histogram", "class_histogram")


def estimate(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    *,
    planning: Planning = PLANNING,
    record: Sequence[Check] | None = None,
    totals: Totals | None = None,
    workers: int = 1,
) -> tuple[Estimate, ...]:
    """Estimate every topic of a study for every area, with 95 % intervals, and apply its disclosure rules.

    Parameters
    ----------
    study : Study
    areas : AreaTable
        Exactly the study's areas, as `load_areas` gives them.
    sums : mapping of block name to BlockSum
        Noised sums over suppliers of every completed block.
    planning : Planning
        Planning constants; change them only to see how much they matter.
    record : sequence of Check, optional
        What `checks` gives, which decides what is withheld; by default without earlier releases or a public market.
    totals : Totals, optional
        Official numbers of homes by topic and area, that shares are made to agree with.
    workers : int
        Processes; of use from two districts on.

    Returns
    -------
    tuple of Estimate
        Suppressed estimates have no numbers, only a reason.

    Raises
    ------
    GeographyError
        The table's areas are not the study's.
    RunError
        A sum is missing or misshapen.
    DataError
        Official totals contradict each other or the study's own figures.
    """
    _check_inputs(study, areas, totals)
    estimates: list[Estimate] = []
    for topic, evidence in _evidence(study, areas, sums):
        estimates.extend(share_estimates(evidence, topic, planning, totals=totals, workers=workers))
    if _asks_occupancy(study):
        estimates.extend(occupancy_estimates(study, areas, sums, planning))
    return disclose(estimates, checks(study, areas, sums, planning=planning) if record is None else record)


def check_tables(study: Study, areas: AreaTable, totals: Totals | None = None, pieces: Pieces | None = None) -> None:
    """Hold public tables against a study before there is any sum; raises what `estimate` and `checks` would.

    Raises
    ------
    GeographyError
        The table's areas are not the study's, or an LSOA of the study is in no piece.
    FormatError
        The table of areas lacks columns that a topic needs.
    DataError
        Official totals contradict each other, or are of a topic that the study does not estimate.
    """
    _check_inputs(study, areas, totals)
    for model in _estimable(study):
        stratified(areas, model)
    if pieces is not None:
        footprint_of(study, study.name, LEVELS).refined(pieces.new)


def _check_inputs(study: Study, areas: AreaTable, totals: Totals | None) -> None:
    check_areas(areas, study)
    check_totals(totals or {}, areas)
    official = {topic for topic, _ in totals or {}}
    if official - {model.name for model in _estimable(study)}:
        raise DataError("the official totals name a topic that the study does not estimate; correct the table")


def electricity(
    study: Study, areas: AreaTable, sums: Mapping[str, BlockSum], record: Sequence[Check]
) -> tuple[Estimate, ...]:
    """Electricity use of every area, in kWh a home and day, where a study asks for it, under a record of checks."""
    if not has(study, "area_use"):
        return ()
    return disclose(use_estimates(study, areas, sums), record)


def compare(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    *,
    planning: Planning = PLANNING,
    record: Sequence[Check] | None = None,
) -> dict[str, tuple[Estimate, ...]]:
    """The shares estimated from less: old census alone, panel alone, meters alone, by the same model and rules.

    Where a study has bought histograms of scores, also by expectation-maximisation on them (`histograms`).

    `record` is as `estimate` takes it; what the old census alone says is public and never suppressed.
    """
    check_areas(areas, study)
    record = checks(study, areas, sums, planning=planning) if record is None else record
    public: list[Estimate] = []
    found: dict[str, list[Estimate]] = {PANEL_ALONE: [], METERS_ALONE: []}
    for topic, evidence in _evidence(study, areas, sums):
        public.extend(census_estimates(evidence, topic))
        found[PANEL_ALONE].extend(share_estimates(evidence, topic, planning, meters=False))
        found[METERS_ALONE].extend(share_estimates(evidence, topic, planning, panel=False))
        if all(has(study, source, topic) for source in _HISTOGRAMS):
            counted = Histograms(*(find(study, sums, source, topic) for source in _HISTOGRAMS))
            by_em = histogram_estimates(areas, evidence.positive, counted, topic)
            found.setdefault(HISTOGRAM_EM, []).extend(by_em)
    disclosed = {name: disclose(estimates, record) for name, estimates in found.items()}
    return {CENSUS_ALONE: tuple(public), **disclosed}


def census(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> tuple[Estimate, ...]:
    """The shares of the old census, without intervals, for every topic and area."""
    estimated = (census_estimates(evidence, topic) for topic, evidence in _evidence(study, areas, sums))
    return tuple(chain.from_iterable(estimated))


def checks(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    earlier: Sequence[Footprint] = (),
    *,
    market: Market | None = None,
    pieces: Pieces | None = None,
    planning: Planning = PLANNING,
) -> tuple[Check, ...]:
    """The record of every disclosure rule applied to every area and topic, for a human to read.

    Parameters
    ----------
    study, areas, sums
        As `estimate` takes them.
    earlier : sequence of Footprint
        What earlier releases let out, in this study's LSOAs or in `pieces`, so that nothing follows from both.
    market : Market, optional
        Public numbers of homes by area and supplier, where there are any.
    pieces : Pieces, optional
        What this study's LSOAs and those of another vintage have in common, where an earlier release has such.
    planning : Planning
        As `estimate` takes it.

    Raises
    ------
    RunError
        A sum is missing or misshapen.
    GeographyError
        An LSOA of the study is in no piece.
    """
    topics = tuple(_topics(study, areas, sums))
    trees = [topic.tree for topic in topics]
    diagnosed = (diagnose(evidence, topic, planning) for topic, evidence in _evidence(study, areas, sums))
    counts = (check_count(topic.name, topic.tree.homes, areas, topic.homes) for topic in topics)
    record = (
        *check_all(study.thresholds, _facts(topics)),
        *check_spreads(study.thresholds, _spreads(study, sums, topics)),
        *(check_market(study.thresholds, market, [tree.footprint for tree in trees]) if market else ()),
        *chain.from_iterable(diagnosed),
        *chain.from_iterable(counts),
        *median_checks(study, areas, sums),
    )
    if pieces is not None:
        trees = [replace(tree, footprint=tree.footprint.refined(pieces.new), atoms=pieces.households) for tree in trees]
    return complete(record, trees, study.thresholds.least_homes, earlier)


@dataclass(frozen=True, slots=True)
class _Topic:
    """What the rules look at: a topic's areas, their noised counts, the sum that counts, shares in the least sum."""

    tree: Tree
    counted: Mapping[tuple[str, str], float]
    homes: BlockSum
    suppliers: int

    @property
    def name(self) -> str:
        return self.tree.footprint.topic

    @property
    def noise(self) -> float:
        """Standard deviation of the noise in the count of an LSOA's homes."""
        return float(self.homes.deviation[0])


def _topics(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Iterator[_Topic]:
    for model in _estimable(study):
        blocks = (find(study, sums, source, model.name) for source in ("area_score", "class_score", "area_label"))
        yield _topic(study, areas, (model.name, LEVELS), *blocks)
    if _asks_occupancy(study):
        scores = find(study, sums, "area_score", _estimable(study)[0].name)
        others = (find(study, sums, source) for source in ("area_profile", "diary_profile"))
        yield _topic(study, areas, (OCCUPANCY, study.occupancy.levels), scores, *others)
    if has(study, "area_use"):
        medians = [find(study, sums, "area_use_histogram")] if has(study, "area_use_histogram") else []
        yield _topic(study, areas, (ELECTRICITY, LEVELS), find(study, sums, "area_use"), *medians)


def _topic(
    study: Study, areas: AreaTable, topic: tuple[str, Sequence[Level]], counted: BlockSum, *others: BlockSum
) -> _Topic:
    """A topic, by name and levels, whose homes one sum counts, and that is made of others too.

    However much noise there is, no area is taken to have more homes than the public table says.
    """
    whole = footprint_of(study, *topic)
    noised, public = (
        dict(zip(areas.codes["LSOA"], column.tolist(), strict=True))
        for column in (counted.values[:, 0], areas.households)
    )
    every, most = (
        {(cell.level, cell.code): fsum(atoms[atom] for atom in cell.atoms) for cell in whole.cells}
        for atoms in (noised, public)
    )
    homes = {place: min(count, most[place]) for place, count in every.items()}
    atoms = {code: min(count, public[code]) for code, count in noised.items()}
    suppliers = min(block.shares for block in (counted, *others))
    return _Topic(Tree(whole, homes, atoms), every, counted, suppliers)


def _facts(topics: Iterable[_Topic]) -> Iterator[Facts]:
    for topic in topics:
        for level, code in sorted(topic.tree.homes, key=lambda place: (LEVELS.index(place[0]), place[1])):
            yield Facts(level, code, topic.name, topic.tree.homes[level, code], topic.suppliers)


def _spreads(study: Study, sums: Mapping[str, BlockSum], topics: Iterable[_Topic]) -> Iterator[Spread]:
    """What a capped count, where the study has one, tells of every area's suppliers."""
    if not has(study, "area_capped_count"):
        return
    found = find(study, sums, "area_capped_count")
    cap = next(block.cap for block in study.blocks if block.source == "area_capped_count")
    capped = dict(zip(study.lsoas, found.values[:, 0].tolist(), strict=True))
    for topic in topics:
        for cell in topic.tree.footprint.cells:
            root = len(cell.atoms) ** 0.5
            yield Spread(
                cell.level,
                cell.code,
                topic.name,
                capped=fsum(capped[atom] for atom in cell.atoms),
                capped_deviation=float(found.deviation[0]) * root,
                cap=float(cap * len(cell.atoms)),
                homes=topic.counted[cell.level, cell.code],
                homes_deviation=topic.noise * root,
            )


def _evidence(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Iterator[tuple[str, Evidence]]:
    """Every topic of shares with what is known about it."""
    for model in _estimable(study):
        yield model.name, evidence_of(study, model, areas, sums)


def _asks_occupancy(study: Study) -> bool:
    return bool(_estimable(study)) and has(study, "area_profile") and has(study, "diary_profile")


def _estimable(study: Study) -> tuple[Model, ...]:
    return tuple(model for model in study.models if has(study, "area_score", model.name))
