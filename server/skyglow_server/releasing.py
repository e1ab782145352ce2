# SPDX-License-Identifier: Apache-2.0
"""From the sums of a study that is complete to a release: made once, and held against every other of the office.

A study's folder may hold, put there by hand before the study is run::

    market.csv          homes by area and supplier, public (`disclosure.load_market`)
    totals.csv          official totals to agree with (`estimation.load_totals`)
    selection.csv       who has a smart meter and who answers, by class of composition (`estimation.load_selection`)
    vintages.csv        what LSOAs of two vintages have in common: columns earlier, later, households
    neighbours.csv      MSOAs side by side, whose drifts may be alike: columns area_code, neighbour_code
    boundaries.geojson  of MSOAs, on the British National Grid; those of other places are left out

All of it is read before the first round, as nothing should be spent on a release that cannot be made, and again after
the last. A release names each of them that is there, and its digest.

Earlier releases are those of the office's other studies, and whatever lies under ``releases/``: folders of releases
that were made elsewhere. A release that its checker turns down is taken away, and counts no more.
"""

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skyglow_server import settings
from skyglow_server.disclosure import Footprint, Market, Overlap, Pieces, load_market, pieces_of
from skyglow_server.estimation import (
    PLANNING,
    AreaTable,
    Planning,
    check_tables,
    checks,
    compare_official,
    electricity,
    estimate,
    load_areas,
    load_selection,
    load_totals,
)
from skyglow_server.estimation.benchmark import Totals
from skyglow_server.estimation.inputs import BlockSum
from skyglow_server.estimation.neighbours import load_neighbours
from skyglow_server.public_tables import digests, read_numbers, read_rows
from skyglow_server.publication import Release, places, publish, software, write_estimates_csv
from skyglow_server.publication.earlier import footprints_for, read_release
from skyglow_server.publication.provenance import INPUTS
from skyglow_server.publication.release import SELECTION
from skyglow_server.publication.tidy import use_table
from skyglow_shared import locks
from skyglow_shared.errors import FormatError
from skyglow_shared.files import write_atomically
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.study import Study

RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Beside:
    """What a release is made from beside its study's sums: public tables, and what was let out before."""

    areas: AreaTable
    market: Market | None
    totals: Totals | None
    planning: Planning
    pieces: Pieces | None
    boundaries: Mapping[str, Any] | None
    earlier: tuple[Footprint, ...]


def check_beside(folder: Path, name: str, study: Study) -> None:
    """Read all that a release will be made from, unless there is one; raises what `release` would."""
    if not (folder / "studies" / name / RELEASE).is_dir():
        beside = _beside(folder, name, study)
        check_tables(study, beside.areas, beside.totals, beside.pieces)


def release(
    folder: Path,
    name: str,
    study: Study,
    sums: Mapping[str, BlockSum],
    heads: Mapping[str, Head] = MappingProxyType({}),
) -> None:
    """Estimate, check against every earlier release, and write the tables and the folder that a checker opens.

    A release that is there stays as it is: later ones were checked against it. To have it made anew, take it away.

    Parameters
    ----------
    folder : Path
        The office's.
    name : str
        The study's.
    study : Study
    sums : mapping of block name to BlockSum
        Noised sums over suppliers of every completed block.
    heads : mapping of str to Head
        Where suppliers' ledgers stood, as far as they said (`ledger_heads.advertised`).

    Raises
    ------
    FormatError
        A table, the boundaries or an earlier release cannot be read.
    GeographyError
        Areas of an earlier release are of another vintage, and no lookup has them all; or boundaries do not fit.
    DataError
        Official totals contradict each other or the study's own figures.
    """
    place = folder / "studies" / name
    with locks.held(folder / "releasing.lock"):  # two at once would not see each other
        if (place / RELEASE).is_dir():
            return
        beside = _beside(folder, name, study)
        areas, totals, planning = beside.areas, beside.totals, beside.planning
        record = checks(
            study, areas, sums, beside.earlier, market=beside.market, pieces=beside.pieces, planning=planning
        )
        estimates = estimate(study, areas, sums, planning=planning, record=record, totals=totals)
        compared = compare_official(study, areas, sums, totals, record, planning=planning) if totals else ()
        use = electricity(study, areas, sums, record)
        write_estimates_csv(place / "estimates.csv", estimates)
        if use:
            write_atomically(place / "electricity-use.csv", use_table(use))
        own = settings.load(folder)
        made = Release(
            study=study,
            estimates=estimates,
            use=use,
            compared=compared,
            checks=record,
            made=datetime.datetime.now(datetime.UTC).date(),
            producer=own.producer or own.address.rpartition(":")[0],
            contact=own.contact,
            designation=own.designation,
            boundaries=beside.boundaries,
            inputs=digests(place, INPUTS),
            ledger_heads={supplier: head.digest for supplier, head in heads.items()},
            ledger_entries={supplier: head.entries for supplier, head in heads.items()},
            versions=software(),
        )
        publish(place / RELEASE, made)


def _areas(place: Path, study: Study) -> AreaTable:
    """The public table of areas and, where somebody gave it, who is whose neighbour."""
    areas, path = load_areas(place / "areas.csv", study), place / "neighbours.csv"
    return replace(areas, neighbours=load_neighbours(path, study.msoas)) if path.exists() else areas


def _beside(folder: Path, name: str, study: Study) -> Beside:
    place = folder / "studies" / name
    areas, pieces = _areas(place, study), _pieces(place / "vintages.csv")
    return Beside(
        areas=areas,
        market=load_market(place / "market.csv", study) if (place / "market.csv").exists() else None,
        totals=load_totals(place / "totals.csv", areas) if (place / "totals.csv").exists() else None,
        planning=load_selection(place / SELECTION) if (place / SELECTION).exists() else PLANNING,
        pieces=pieces,
        boundaries=_boundaries(place / "boundaries.geojson", study),
        earlier=tuple(_earlier(folder, place, study, pieces)),
    )


def _earlier(folder: Path, place: Path, study: Study, pieces: Pieces | None) -> Iterator[Footprint]:
    """Every topic of every earlier release, in this study's LSOAs or in pieces."""
    others = (path for path in sorted(folder.glob(f"studies/*/{RELEASE}")) if path.parent != place)
    paths = (*others, *sorted(path for path in folder.glob("releases/*") if path.is_dir()))
    every = [read_release(path) for path in paths]
    for found in every:
        looked_up = _looked_up(found.study, study, pieces)
        yield from (footprint.refined(looked_up) for footprint in footprints_for(found, study, every))


def _looked_up(earlier: Study, study: Study, pieces: Pieces | None) -> dict[str, frozenset[str]]:
    """What each LSOA of an earlier study is in terms of this one.

    An LSOA that one of the two leaves out is one of its own. Where each has some in a district that the other has not,
    the vintages differ: without a lookup they are nothing, and nothing can be said.
    """
    known = {lsoa: frozenset((lsoa,)) for lsoa in study.lsoas} if pieces is None else {**pieces.new, **pieces.old}
    then, now = ({area.lsoa: area.lad for area in one.areas} for one in (earlier, study))
    unlike = {now[lsoa] for lsoa in now.keys() - then.keys()} if pieces is None else set(now.values())
    return {
        lsoa: known.get(lsoa, frozenset[str]() if district in unlike else frozenset((lsoa,)))
        for lsoa, district in then.items()
    }


def _pieces(path: Path) -> Pieces | None:
    if not path.exists():
        return None
    rows = read_rows(path, ("earlier", "later", "households"))
    households = read_numbers(path, rows, ("households",))[:, 0].tolist()
    return pieces_of(Overlap(row["earlier"], row["later"], own) for row, own in zip(rows, households, strict=True))


def _boundaries(path: Path, study: Study) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormatError(f"{path.name} is not GeoJSON; fetch it again")
    return places.fitted(found, study.msoas)
