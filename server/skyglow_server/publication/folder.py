# SPDX-License-Identifier: Apache-2.0
"""Writing a release's folder, whole or not at all."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from skyglow_server.publication import (
    check_folder,
    electricity,
    geopackage,
    official,
    places,
    provenance,
    quality_page,
    tidy,
    words,
)
from skyglow_server.publication.columns import table
from skyglow_server.publication.release import Release
from skyglow_shared.files import write_atomically
from skyglow_shared.study import canonical_bytes

CHECKS, STUDY, WORKBOOK = "checks.csv", "study.json", "small-area-estimates.xlsx"


def publish(path: Path, release: Release) -> None:
    """Write the folder that an output checker opens, and that is published if they approve it.

    Parameters
    ----------
    path : Path
        Replaced as a whole: an earlier release there is gone.
    release : Release

    Raises
    ------
    GeographyError
        The boundaries are not those of the study's areas.

    Privacy
    -------
    Holds what `disclose` has let through, noised counts, public tables and ledgers' heads; never a withheld figure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    old = new.with_name(new.name + ".old")
    try:
        for name, content in _contents(release, new).items():
            write_atomically(new / name, content)
        new.chmod(0o755)
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _contents(release: Release, scratch: Path) -> dict[str, bytes]:
    """Every file of a release by name; the spreadsheet's writer needs a place to write to."""
    tables = tidy.files(release)
    titles = {tidy.table_name(topic): words.title(topic) for topic in release.topics} | {
        electricity.NAME: electricity.TITLE,
        official.NAME: official.TITLE,
    }
    further = {name: content for name, content in tables.items() if name not in titles}
    further[WORKBOOK] = _workbook(release, scratch)
    further[quality_page.NAME] = quality_page.page(release)
    further[CHECKS] = _checks(release)
    further[STUDY] = canonical_bytes(release.study)
    if drawn := places.drawn(release):
        further[places.NAME] = places.geojson(drawn)
        further[geopackage.NAME] = geopackage.geopackage(release, drawn)
    about = {name: _ABOUT[name] for name in further}
    described = {**tables, **further}
    further[provenance.NAME] = provenance.crate(release, described, {**titles, **about})
    about[provenance.NAME] = _ABOUT[provenance.NAME]
    checked = {
        **tables,
        **further,
        check_folder.NAME: check_folder.results(release, about),
        check_folder.CONFIG: check_folder.config(release),
    }
    return {**checked, **check_folder.checksums(checked)}


_ABOUT: Mapping[str, str] = {
    CHECKS: "Every release rule applied to every area and topic, with what it compared",
    STUDY: "The study as it was signed",
    places.NAME: "Shares by MSOA with boundaries, longitude and latitude",
    geopackage.NAME: "Shares by MSOA with boundaries, British National Grid",
    provenance.NAME: "Provenance: study, ledgers, software, files and their digests",
    quality_page.NAME: "Quality and methods in plain words",
    WORKBOOK: "The figures as an accessible spreadsheet",
    tidy.METADATA: "CSVW metadata of the CSV files",
    tidy.SOURCES: "What the intervals are made of",
}


def _workbook(release: Release, scratch: Path) -> bytes:
    from skyglow_server.publication import spreadsheet  # noqa: PLC0415 - half a second that no other command wants

    path = scratch / WORKBOOK
    spreadsheet.write(path, release)
    return path.read_bytes()


def _checks(release: Release) -> bytes:
    return table(
        ("rule", "topic", "group", "level", "area_code", "passed", "reason"),
        (
            (one.rule, one.topic, one.group, one.level, one.area_code, "yes" if one.passed else "no", one.reason)
            for one in release.checks
        ),
    )
