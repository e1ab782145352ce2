# SPDX-License-Identifier: Apache-2.0
"""From a study's noised sums to everything it estimates."""

from collections.abc import Iterable, Mapping, Sequence

from skyglow_server.disclosure.footprint import Footprint, footprint_of
from skyglow_server.disclosure.record import Tree, complete
from skyglow_server.disclosure.rules import Check, Facts, check_all, disclose
from skyglow_server.disclosure.spread import Market, Spread, check_market, check_spreads
from skyglow_server.estimation.benchmark import Totals, benchmarked, check_totals
from skyglow_server.estimation.diagnostics import diagnose
from skyglow_server.estimation.electricity import TOPIC as ELECTRICITY
from skyglow_server.estimation.electricity import use_estimates
from skyglow_server.estimation.histograms import Histograms, histogram_estimates
from skyglow_server.estimation.inputs import LEVELS, AreaTable, BlockSum, check_areas, find, has
from skyglow_server.estimation.occupancy import TOPIC as OCCUPANCY
from skyglow_server.estimation.occupancy import occupancy_estimates
from skyglow_server.estimation.planning import PLANNING, Planning
from skyglow_server.estimation.results import Estimate
from skyglow_server.estimation.shares import census_estimates, evidence_of, share_estimates
from skyglow_shared.errors import DataError
from skyglow_shared.study import Model, Study

#: The comparators' names, in the order a report shows them.
CENSUS_ALONE, PANEL_ALONE, METERS_ALONE = "census_alone", "panel_alone", "meters_alone"
HISTOGRAM_EM = "histogram_em"


def estimate(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    *,
    planning: Planning = PLANNING,
    earlier: Sequence[Footprint] = (),
    market: Market | None = None,
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
    earlier : sequence of Footprint
        What earlier releases let out, in this study's LSOAs, so that nothing follows from both.
    market : Market, optional
        Public numbers of homes by area and supplier, where there are any.
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
    check_areas(areas, study)
    check_totals(totals or {}, areas)
    official = {topic for topic, _ in totals or {}}
    if official - {model.name for model in _estimable(study)}:
        raise DataError("the official totals name a topic that the study does not estimate; correct the table")
    estimates: list[Estimate] = []
    for model in _estimable(study):
        if model.name in official:
            evidence = evidence_of(study, model, areas, sums)
            estimates.extend(benchmarked(evidence, model.name, planning, totals or {}))
            continue
        estimates.extend(share_estimates(evidence_of(study, model, areas, sums), model.name, planning, workers=workers))
    if _estimable(study) and has(study, "area_profile") and has(study, "diary_profile"):
        estimates.extend(occupancy_estimates(study, areas, sums, planning))
    return disclose(estimates, checks(study, areas, sums, earlier, market))


def electricity(
    study: Study, areas: AreaTable, sums: Mapping[str, BlockSum], record: Sequence[Check]
) -> tuple[Estimate, ...]:
    """Electricity use of every area, in kWh a home and day, where a study asks for it, under a record of checks."""
    if not has(study, "area_use"):
        return ()
    return disclose(use_estimates(study, areas, sums), record)


def compare(
    study: Study, areas: AreaTable, sums: Mapping[str, BlockSum], *, planning: Planning = PLANNING
) -> dict[str, tuple[Estimate, ...]]:
    """The shares estimated from less: old census alone, panel alone, meters alone, by the same model and rules.

    Where a study has bought histograms of scores, also by expectation-maximisation on them (`histograms`).

    Census estimates have no interval and, being public, are never suppressed.
    """
    check_areas(areas, study)
    record = checks(study, areas, sums)
    found: dict[str, list[Estimate]] = {CENSUS_ALONE: [], PANEL_ALONE: [], METERS_ALONE: []}
    for model in _estimable(study):
        evidence = evidence_of(study, model, areas, sums)
        found[CENSUS_ALONE].extend(census_estimates(evidence, model.name))
        found[PANEL_ALONE].extend(share_estimates(evidence, model.name, planning, meters=False))
        found[METERS_ALONE].extend(share_estimates(evidence, model.name, planning, panel=False))
        if all(has(study, source, model.name) for source in ("area_histogram", "class_histogram")):
            counted = (
                find(study, sums, "area_histogram", model.name),
                find(study, sums, "class_histogram", model.name),
            )
            by_em = histogram_estimates(areas, evidence.positive, Histograms(*counted), model.name)
            found.setdefault(HISTOGRAM_EM, []).extend(by_em)
    return {
        name: tuple(estimates) if name == CENSUS_ALONE else disclose(estimates, record)
        for name, estimates in found.items()
    }


def checks(
    study: Study,
    areas: AreaTable,
    sums: Mapping[str, BlockSum],
    earlier: Sequence[Footprint] = (),
    market: Market | None = None,
) -> tuple[Check, ...]:
    """The record of every disclosure rule applied to every area and topic, for a human to read."""
    counted = {topic: found for topic, found, _ in _topics(study, sums)}
    trees = [_tree(study, areas, topic, found) for topic, found in counted.items()]
    record = (
        *check_all(study.thresholds, _facts(study, areas, sums)),
        *check_spreads(study.thresholds, _spreads(study, sums, trees, counted)),
        *(check_market(study.thresholds, market, [tree.footprint for tree in trees]) if market else ()),
        *(check for model in _estimable(study) for check in _diagnosed(study, model, areas, sums)),
    )
    return complete(record, trees, study.thresholds.least_homes, earlier)


def _spreads(
    study: Study, sums: Mapping[str, BlockSum], trees: Iterable[Tree], counted: Mapping[str, BlockSum]
) -> Iterable[Spread]:
    """What a capped count, where the study has one, tells of every area's suppliers."""
    if not has(study, "area_capped_count"):
        return
    found = find(study, sums, "area_capped_count")
    cap = next(block.cap for phase in study.phases for block in phase.blocks if block.source == "area_capped_count")
    capped = dict(zip(study.lsoas, found.values[:, 0].tolist(), strict=True))
    for tree in trees:
        noise = float(counted[tree.footprint.topic].deviation[0])
        for cell in tree.footprint.cells:
            size = len(cell.atoms)
            yield Spread(
                cell.level,
                cell.code,
                tree.footprint.topic,
                sum(capped[atom] for atom in cell.atoms),
                float(found.deviation[0]) * size**0.5,
                float(cap * size),
                sum(tree.atoms[atom] for atom in cell.atoms),
                noise * size**0.5,
            )


def _diagnosed(study: Study, model: Model, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Iterable[Check]:
    return diagnose(evidence_of(study, model, areas, sums), model.name)


def _tree(study: Study, areas: AreaTable, topic: str, scores: BlockSum) -> Tree:
    atoms = dict(zip(areas.codes["LSOA"], scores.values[:, 0].tolist(), strict=True))
    whole = footprint_of(study, topic, LEVELS[1:] if topic == OCCUPANCY else LEVELS)
    homes = {(cell.level, cell.code): sum(atoms[atom] for atom in cell.atoms) for cell in whole.cells}
    return Tree(whole, homes, atoms)


def _topics(study: Study, sums: Mapping[str, BlockSum]) -> Iterable[tuple[str, BlockSum, tuple[BlockSum, ...]]]:
    """Every topic with the sum that counts its homes and the further sums that it is made of."""
    for model in _estimable(study):
        blocks = (find(study, sums, "class_score", model.name), find(study, sums, "area_label", model.name))
        yield model.name, find(study, sums, "area_score", model.name), blocks
    if _estimable(study) and has(study, "area_profile") and has(study, "diary_profile"):
        blocks = (find(study, sums, "area_profile"), find(study, sums, "diary_profile"))
        yield OCCUPANCY, find(study, sums, "area_score", _estimable(study)[0].name), blocks
    if has(study, "area_use"):
        medians = (find(study, sums, "area_use_histogram"),) if has(study, "area_use_histogram") else ()
        yield ELECTRICITY, find(study, sums, "area_use"), medians


def _facts(study: Study, areas: AreaTable, sums: Mapping[str, BlockSum]) -> Iterable[Facts]:
    for topic, scores, others in _topics(study, sums):
        suppliers = min(block.shares for block in (scores, *others))
        for level in LEVELS[1:] if topic == OCCUPANCY else LEVELS:
            homes: dict[str, float] = {}
            for code, count in zip(areas.codes[level], scores.values[:, 0].tolist(), strict=True):
                homes[code] = homes.get(code, 0.0) + count
            yield from (Facts(level, code, topic, count, suppliers) for code, count in sorted(homes.items()))


def _estimable(study: Study) -> tuple[Model, ...]:
    return tuple(model for model in study.models if has(study, "area_score", model.name))
