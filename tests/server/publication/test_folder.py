# SPDX-License-Identifier: Apache-2.0
"""A release's folder: complete, whole, the same every time, with a digest of every file."""

import hashlib
import json
from pathlib import Path

import pytest

from skyglow_server.publication import folder, publish
from skyglow_shared.errors import GeographyError
from skyglow_shared.study import canonical_bytes, digest

WANTED = {
    "checks.csv",
    "config.json",
    "csv-metadata.json",
    "estimates-all-aged-66-plus.csv",
    "estimates-msoa.geojson",
    "estimates-msoa.gpkg",
    "estimates-occupancy.csv",
    "quality-and-methods.html",
    "results.json",
    "ro-crate-metadata.json",
    "small-area-estimates.xlsx",
    "study.json",
    "uncertainty-by-source.csv",
}


def files(path):
    return {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}


def test_every_file_is_there_with_its_digest(published):
    found = files(published)
    assert {name for name in found if "/" not in name} == WANTED
    assert {name for name in found if "/" in name} == {f"checksums/{name}.txt" for name in WANTED}
    for name in WANTED:
        assert found[f"checksums/{name}.txt"].decode() == hashlib.sha256(found[name]).hexdigest()


def test_the_same_release_gives_the_same_bytes_and_leaves_nothing_behind(published, release):
    before = files(published)
    (published / "left over").write_text("from an earlier release", encoding="utf-8")
    publish(published, release)
    assert files(published) == before
    assert [item.name for item in published.parent.iterdir()] == ["release"]


def test_a_release_that_fails_leaves_the_earlier_one(published, release, boundaries, monkeypatch):
    before = files(published)
    boundaries["features"].pop()
    with pytest.raises(GeographyError, match="lack 1"):
        publish(published, release)
    monkeypatch.setattr(folder, "write_atomically", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    boundaries["features"].clear()
    with pytest.raises(OSError, match="disk full"):
        publish(published, release)
    assert files(published) == before
    assert [item.name for item in published.parent.iterdir()] == ["release"]


def test_a_release_that_cannot_take_its_place_gives_it_back(published, release, monkeypatch):
    before, rename = files(published), Path.rename

    def refused(path, target):
        if target == published and not path.name.endswith(".old"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="no"):
        publish(published, release)
    assert files(published) == before
    assert [item.name for item in published.parent.iterdir()] == ["release"]


def test_no_number_of_a_withheld_figure_is_anywhere(published):
    lines = (published / "estimates-all-aged-66-plus.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[5:] for line in lines if "E01010002" in line] == [
        ["", "", "", "", "", "", "suppressed", "[c]", "least_homes"]
    ]


def test_the_crate_says_where_the_release_comes_from(published, release):
    crate = json.loads((published / "ro-crate-metadata.json").read_text("utf-8"))
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"])
    referred = {part["@id"] for entity in crate["@graph"] for part in references(entity)}
    outside = {item for item in referred if item not in graph}
    assert outside == {"https://w3id.org/ro/crate/1.1"}
    described = {part["@id"] for part in graph["./"]["hasPart"]}
    assert described == WANTED - {"ro-crate-metadata.json", "results.json", "config.json"}
    for name in described:
        assert graph[name]["sha256"] == hashlib.sha256((published / name).read_bytes()).hexdigest()
    assert graph["#study"]["identifier"] == digest(release.study)
    assert graph["#ledger-north"]["value"] == "ab" * 32
    assert "charged 1.2500 epsilon" in graph["#ledger-north"]["description"]
    assert graph["#software-skyglow-server"]["softwareVersion"] == "0.1.0"
    assert "all_aged_66_plus: panel sampling, privacy noise of areas" in graph["#intervals"]["description"]
    assert (published / "study.json").read_bytes() == canonical_bytes(release.study)


def references(entity):
    for value in entity.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and set(part) == {"@id"}:
                yield part
