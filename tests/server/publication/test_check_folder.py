# SPDX-License-Identifier: Apache-2.0
"""The folder loads as SACRO-Viewer loads one, and flags the figures that were withheld.

`load` does what the viewer's `models.find_acro_metadata` and `ACROOutputs` do, in our own words.
"""

import hashlib
import json


def load(folder):
    """Find the one results file among the JSON files, check its form and every checksum; (results, cells by file)."""
    assert not (folder / "outputs.json").exists()
    valid = []
    for path in folder.glob("*.json"):
        found = json.loads(path.read_text("utf-8"))
        if "version" in found and "results" in found:
            valid.append(found)
    assert len(valid) == 1, "the viewer refuses a folder with two results files"
    major, minor, *_ = valid[0]["version"].split(".")
    assert (int(major), int(minor)) >= (0, 4)
    cells = {}
    for record in valid[0]["results"].values():
        assert record["files"]
        for file in record["files"]:
            checksum = (folder / "checksums" / f"{file['name']}.txt").read_text("utf-8")
            assert checksum == hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
            for rule, places in file.get("sdc", {}).get("cells", {}).items():
                for x, y in places:
                    cells.setdefault(file["name"], {}).setdefault((x, y), []).append(rule)
    return valid[0]["results"], cells


def test_the_viewer_finds_every_table_and_file(published):
    results, _ = load(published)
    named = {file["name"] for record in results.values() for file in record["files"]}
    own = {"results.json", "config.json"}
    assert named == {path.name for path in published.iterdir() if path.is_file()} - own
    for uid, record in results.items():
        assert record["uid"] == uid
        assert record["summary"].split(";")[0] == record["status"]
        fields = {"type", "properties", "outcome", "command", "timestamp", "comments", "exception", "fair"}
        assert fields < set(record)


def test_withheld_figures_are_flagged_at_their_cells(published):
    results, cells = load(published)
    name = "estimates-all-aged-66-plus.csv"
    lines = (published / name).read_text("utf-8").splitlines()
    flagged = {(x, y): rules for (x, y), rules in cells[name].items()}
    assert set(cells) == {name}
    for (x, y), rules in flagged.items():
        line = lines[x + 1].split(",")  # the viewer's rows start below the head, its columns after the first
        assert line[y + 1] == ""
        assert (line[-1] or "not_available") == rules[0]
    assert len(flagged) == 2 * 5
    record = results["table-all-aged-66-plus"]
    assert record["status"] == "review"
    assert record["properties"]["rules"] == {"least_homes": {"applied": 2, "failed": 1}}
    assert results["table-occupancy"]["status"] == "pass"


def test_the_risk_profile_holds_the_studys_thresholds(published):
    profile = json.loads((published / "config.json").read_text("utf-8"))
    assert (profile["least_homes"], profile["least_suppliers"]) == (50, 3)
    assert profile["privacy_unit"].startswith("one household")
