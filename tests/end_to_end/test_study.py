# SPDX-License-Identifier: Apache-2.0
"""The real command, from nothing to estimates, on part of a real city and on a district of one's own tables."""

import csv
import json
import math
import shutil

import pytest

from skyglow_client.gate.ledger import open_ledger
from skyglow_shared.command import main
from skyglow_shared.privacy.accounting import study_cost
from skyglow_simulations.suppliers import NAMES

COLUMNS = ["area_code", "area_name", "level", "topic", "group", "estimate", "lower", "upper", "status", "truth"]
PHASES = ["people, homes and load", "suppliers clean and store", "suppliers approve the study", "training rounds"]
PHASES += ["calibration", "release of area sums", "estimates and truth", "report"]


@pytest.fixture(scope="module")
def city(skyglow, tmp_path_factory):
    """Southampton at a twentieth of its size: the finished process and the run's folder."""
    out = tmp_path_factory.mktemp("city") / "run"
    return skyglow.run("simulate", "--scale", "0.05", "--seed", "3", "--out", out), out


@pytest.fixture(scope="module")
def rows(city):
    with (city[1] / "estimates.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


@pytest.fixture(scope="module")
def summary(city):
    return json.loads((city[1] / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def areas(city):
    with (city[1] / "reference" / "areas.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_ends_well_and_speaks_in_lines(city):
    done, out = city
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no colours and no moving bars where there is no terminal"
    assert "\r" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= 5 * len(PHASES)
    told = [line.partition(" s  ")[2].partition(":")[0] for line in lines]
    assert list(dict.fromkeys(told)) == PHASES, done.stderr
    assert str(out) in done.stdout.replace("\n", "")
    assert {path.name for path in out.iterdir()} >= {"estimates.csv", "summary.json", "report.html", "ledger"}


def test_every_area_of_every_level_is_there_once(rows, areas):
    wanted = {
        "LSOA": {row["lsoa21cd"]: row["lsoa21nm"] for row in areas},
        "MSOA": {row["msoa21cd"]: row["msoa21nm"] for row in areas},
        "LAD": {row["lad22cd"]: row["lad22nm"] for row in areas},
    }
    assert (len(wanted["LSOA"]), len(wanted["MSOA"]), len(wanted["LAD"])) == (152, 33, 1)
    for level, names in wanted.items():
        found = [row for row in rows if (row["level"], row["topic"]) == (level, "all_aged_66_plus")]
        assert {row["area_code"]: row["area_name"] for row in found} == names
        assert len(found) == len(names)
    slots = {f"{kind} {slot // 2:02d}:{slot % 2 * 30:02d}" for kind in ("weekday", "weekend") for slot in range(48)}
    for level in ("MSOA", "LAD"):
        found = [
            (row["area_code"], row["group"]) for row in rows if (row["level"], row["topic"]) == (level, "occupancy")
        ]
        assert set(found) == {(code, slot) for code in wanted[level] for slot in slots}
        assert len(found) == len(set(found))


def test_numbers_are_shares_with_intervals_around_them(rows):
    for row in rows:
        numbers = [row[name] for name in ("lower", "estimate", "upper")]
        if row["status"] == "published":
            lower, estimate, upper = map(float, numbers)
            assert 0 <= lower <= estimate <= upper <= 1, row
        else:
            assert (row["status"], numbers) == ("suppressed", ["", "", ""])
        assert 0 <= float(row["truth"]) <= 1
    published = [row for row in rows if row["status"] == "published"]
    assert {row["level"] for row in published} == {"LSOA", "MSOA", "LAD"}
    widths = [float(row["upper"]) - float(row["lower"]) for row in published]
    assert min(widths) > 0


def test_the_district_is_the_weighted_mean_of_its_truths(rows, areas, city):
    """Truths of all levels agree, so that the column is one population's."""
    true = {(row["area_code"], row["group"]): float(row["truth"]) for row in rows if row["level"] != "LAD"}
    homes = {}
    for area in areas:
        homes[area["msoa21cd"]] = homes.get(area["msoa21cd"], 0) + int(area["households"])
    for row in rows:
        if row["level"] == "LAD":
            mean = sum(true[code, row["group"]] * count for code, count in homes.items()) / sum(homes.values())
            assert mean == pytest.approx(float(row["truth"]), abs=2e-5)


def test_the_summary_says_how_good_and_how_private(summary):
    for topic, levels in (("all_aged_66_plus", ("LSOA", "MSOA", "LAD")), ("occupancy", ("MSOA", "LAD"))):
        for level in levels:
            figures = summary["topics"][topic][level]
            assert {"rmse", "mae", "bias", "coverage", "interval_width"} <= figures.keys()
            assert abs(figures["bias"]) <= figures["mae"] <= figures["rmse"] <= 1
            assert 0 <= figures["coverage"] <= 1
            assert 0 < figures["interval_width"] <= 1
    for name in ("all_aged_66_plus", "presence_rule"):
        assert -1 <= summary["models"][name]["mcc"] <= 1
    assert 0 < summary["models"]["all_aged_66_plus"]["auc"] < 0.9  # of so few homes noise may make anything
    assert summary["rounds"] == 42
    assert {"population", "readings", "rounds", "estimation", "evaluation"} <= summary["seconds"].keys()
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert 50 < summary["peak_memory_mib"] < 8000
    assert summary["simulated"] is True
    assert all(math.isfinite(value) for value in numbers_of(summary))


def numbers_of(plain):
    if isinstance(plain, dict):
        for value in plain.values():
            yield from numbers_of(value)
    elif isinstance(plain, float):
        yield plain


def test_the_figures_are_those_of_the_table(rows, summary):
    """The summary recomputed by hand from the CSV."""
    for topic, levels in summary["topics"].items():
        for level, figures in levels.items():
            group = [row for row in rows if (row["topic"], row["level"]) == (topic, level)]
            shown = [row for row in group if row["status"] == "published"]
            assert (figures["published"], figures["suppressed"]) == (len(shown), len(group) - len(shown))
            error = [float(row["estimate"]) - float(row["truth"]) for row in shown]
            within = [float(row["lower"]) <= float(row["truth"]) <= float(row["upper"]) for row in shown]
            assert figures["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in error) / len(error)), abs=2e-5)
            assert figures["bias"] == pytest.approx(sum(error) / len(error), abs=2e-5)
            assert figures["coverage"] == pytest.approx(sum(within) / len(within), abs=2 / len(within))


def test_no_supplier_spent_more_than_four(summary):
    assert summary["suppliers"].keys() == set(NAMES)
    for figures in summary["suppliers"].values():
        assert 0 < figures["epsilon_lower"] <= figures["epsilon_upper"] <= 4
        assert figures["delta"] == 1e-6


def test_the_ledgers_are_whole_and_say_the_same(city, summary, tmp_path):
    for name in NAMES:
        shutil.copy(city[1] / "ledger" / f"{name}.sqlite", tmp_path / f"{name}.sqlite")
        ledger = open_ledger(tmp_path / f"{name}.sqlite")
        try:
            assert ledger.verify() == summary["suppliers"][name]["ledger_head"]
            (events,) = ledger.charges().values()
            assert len(events) == len(ledger.entries("seal")) == 42
            assert study_cost(events, 1e-6).epsilon_upper == pytest.approx(
                summary["suppliers"][name]["epsilon_upper"], abs=1e-4
            )
        finally:
            ledger.close()


def test_each_phase_says_what_was_spent_when_it_was_over(city, summary):
    said = [line.partition("epsilon ")[2].rstrip(")") for line in city[0].stderr.splitlines() if "epsilon" in line]
    assert len(said) == 3
    assert said == sorted(said)
    assert float(said[-1]) == pytest.approx(summary["suppliers"]["north"]["epsilon_upper"], abs=0.006)


def test_the_same_seed_gives_the_same_estimates_whatever_the_workers(skyglow, hamlet, unbroken, tables, tmp_path):
    again = skyglow.run(*hamlet(tmp_path / "again", workers=2))
    assert again.returncode == 0, again.stderr
    assert tables(tmp_path / "again") == tables(unbroken)


def test_a_district_of_ones_own_tables(unbroken):
    with (unbroken / "estimates.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["area_code"] for row in rows if row["level"] == "LAD"} == {"E06000099"}
    assert {row["area_name"] for row in rows if row["level"] == "LAD"} == {"Hamlet"}
    assert len({row["area_code"] for row in rows if row["level"] == "LSOA"}) == 16
    assert {row["status"] for row in rows} == {"published", "suppressed"}
    assert (unbroken / "report.html").stat().st_size > 10_000, "without boundaries there is a report all the same"


def test_quiet_says_nothing(unbroken, tmp_path, capfd):
    run = shutil.copytree(unbroken, tmp_path / "run")
    assert main(["simulate", "--resume", str(run), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_what_is_secret_is_readable_by_its_owner_only(unbroken):
    for name in NAMES:
        folder = unbroken / "suppliers" / name
        for file in ("identity.key", "pseudonym.key", "ledger.sqlite"):
            assert (folder / file).stat().st_mode & 0o077 == 0, file


def test_the_office_holds_nothing_but_signed_replies(unbroken):
    assert {path.name.partition("-")[0] for path in (unbroken / "office").iterdir()} == {"checkpoints.sqlite"}


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--area", "--census", "--scale", "--seed", "--panel", "--engine", "--out", "--resume", "--quiet"):
        assert option in shown
