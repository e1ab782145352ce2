# SPDX-License-Identifier: Apache-2.0
"""Tidy CSV and its metadata hold by a CSVW reader's own judgement."""

import csv
import json
import warnings

import pytest

from skyglow_server.publication import tidy

with warnings.catch_warnings():  # the reader's own dependencies warn at import
    warnings.simplefilter("ignore")
    from csvw import CSVW


def validated(path):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            valid = CSVW(str(path / tidy.METADATA), validate=True).is_valid
        except ValueError:  # how the reader reports a key that is there twice
            valid = False
    return valid, [str(warning.message) for warning in found]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metadata_and_tables_are_valid(published):
    assert validated(published) == (True, [])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("estimates-all-aged-66-plus.csv", "0.200", "1.200"),
        ("estimates-all-aged-66-plus.csv", "E01010001", "E01010000"),
        ("estimates-all-aged-66-plus.csv", "suppressed", "hidden"),
        ("uncertainty-by-source.csv", "0.250", "a quarter"),
    ],
)
def test_a_spoilt_table_is_not(published, name, old, new):
    path = published / name
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    valid, found = validated(published)
    assert not valid or found


def test_figures_are_rounded_and_marked(published):
    found = {row["area_code"]: row for row in rows(published / "estimates-all-aged-66-plus.csv")}
    assert list(found) == ["E06000001", "E02000000", "E02000001", "E01010000", "E01010001", "E01010002"]
    town = found["E06000001"]
    names = ["estimate", "lower", "upper", "unclipped", "standard_error", "quality", "shorthand"]
    assert [town[name] for name in names] == ["0.200", "0.190", "0.210", "0.200", "0.005", "precise", ""]
    below = found["E01010001"]
    assert [below[name] for name in names[:5]] == ["0.000", "0.000", "0.068", "-0.010", "0.040"]
    assert (below["quality"], below["shorthand"]) == ("use with caution", "[u]")
    assert found["E01010000"]["quality"] == "acceptable"
    assert [found[code]["shorthand"] for code in ("E01010002", "E02000001")] == ["[c]", "[x]"]


def test_every_figure_is_in_one_table(published, release):
    found = [row for name in ("all-aged-66-plus", "occupancy") for row in rows(published / f"estimates-{name}.csv")]
    keys = {(row["area_code"], row["topic"], row["group"]) for row in found}
    assert keys == {(item.area_code, item.topic, item.group) for item in release.estimates}
    assert len(found) == len(release.estimates)


def test_shares_by_source_add_up(published):
    found: dict[tuple[str, str], float] = {}
    for row in rows(published / tidy.SOURCES):
        key = row["topic"], row["level"]
        found[key] = found.get(key, 0.0) + float(row["share_of_variance"])
    assert found
    assert all(total == pytest.approx(1, abs=2e-3) for total in found.values())


def test_documents_say_that_homes_are_made_up(published):
    metadata = json.loads((published / tidy.METADATA).read_text("utf-8"))
    assert metadata["dc:description"].startswith("Simulated figures")
