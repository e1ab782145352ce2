# SPDX-License-Identifier: Apache-2.0
"""The CSV of estimates."""

import csv

import pytest

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import write_estimates_csv

ESTIMATES = [
    Estimate("E01000001", "Town 001A, west", "LSOA", "all_aged_66_plus", "all", 0.123456789, 0.0, 0.2),
    Estimate("E01000002", "Town 001B", "LSOA", "all_aged_66_plus", "all", status="suppressed", reason="least_homes"),
    Estimate("E02000001", "Town 001", "MSOA", "all_aged_66_plus", "all", 0.2, 0.1, 0.3),
    Estimate("E06000045", "Town", "LAD", "all_aged_66_plus", "all", 0.2, 0.15, 0.25),
    Estimate("E02000001", "Town 001", "MSOA", "occupancy", "weekday 23:30", 0.9, 0.8, 1.0),
    Estimate("E02000001", "Town 001", "MSOA", "occupancy", "weekend 00:00", 0.9, 0.8, 1.0),
]


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_lines_are_sorted_rounded_and_blank_where_suppressed(tmp_path):
    path = tmp_path / "estimates.csv"
    write_estimates_csv(path, [*ESTIMATES[3:], *ESTIMATES[:3]][::-1])
    rows = read(path)
    wanted = "area_code area_name level topic group estimate lower upper status"
    assert " ".join(rows[0]) == wanted
    assert [(row["area_code"], row["group"]) for row in rows] == [(e.area_code, e.group) for e in ESTIMATES]
    assert rows[0] == dict(
        zip(
            wanted.split(),
            [
                "E01000001",
                "Town 001A, west",
                "LSOA",
                "all_aged_66_plus",
                "all",
                "0.12346",
                "0.00000",
                "0.20000",
                "published",
            ],
            strict=True,
        )
    )
    assert [rows[1][name] for name in ("estimate", "lower", "upper", "status")] == ["", "", "", "suppressed"]
    first = path.read_bytes()
    write_estimates_csv(path, ESTIMATES)
    assert path.read_bytes() == first


def test_truth_is_added_where_known(tmp_path):
    path = tmp_path / "estimates.csv"
    write_estimates_csv(path, ESTIMATES, {("E01000001", "all_aged_66_plus", "all"): 1 / 3})
    assert [row["truth"] for row in read(path)] == ["0.33333", "", "", "", "", ""]


def test_a_failed_write_leaves_the_old_table(tmp_path):
    path = tmp_path / "estimates.csv"
    write_estimates_csv(path, ESTIMATES)
    before = path.read_bytes()

    def broken():
        yield ESTIMATES[0]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_estimates_csv(path, broken())
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["estimates.csv"]
