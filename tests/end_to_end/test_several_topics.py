# SPDX-License-Identifier: Apache-2.0
"""The built-in study of five topics, from nothing to estimates, on a hamlet; and what is wrong with such studies."""

import csv
import json
import math
from importlib import resources
from pathlib import Path

import pytest

from skyglow_shared.command import main

BUILT_IN = Path(str(resources.files("skyglow_simulations") / "studies" / "southampton-households.toml"))
TOPICS = ("all_aged_66_plus", "one_person", "three_or_more_people", "dependent_children", "paid_work")


def text():
    """The study with few rounds of training."""
    return BUILT_IN.read_text(encoding="utf-8").replace("rounds = 40", "rounds = 4")


@pytest.fixture(scope="module")
def words(hamlet, tmp_path_factory):
    """The words of a command that runs a study on the hamlet."""

    def of(study, **changes):
        folder = tmp_path_factory.mktemp("topics")
        (folder / "study.toml").write_text(study, encoding="utf-8")
        found = hamlet(folder / "run", **changes)
        return [found[0], str(folder / "study.toml"), *found[2:]]

    return of


@pytest.fixture(scope="module", params=["local", pytest.param("aggregate", marks=pytest.mark.slow)])
def finished(request, skyglow, words):
    """The finished process and the run's folder."""
    command = words(text(), trust=request.param, scale=0.15)  # of fewer homes noise decides which areas are shown
    done = skyglow.run(*command)
    assert done.returncode == 0, done.stderr
    return done, Path(command[-1])


def test_every_topic_is_estimated_near_its_truth(finished):
    with (finished[1] / "estimates.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truths, held = {}, []
    for topic in TOPICS:
        own = [row for row in rows if row["topic"] == topic]
        assert {row["level"] for row in own} == {"LSOA", "MSOA", "LAD"}
        shown = [row for row in own if row["status"] == "published"]
        assert len(shown) > len(own) / 3
        held += [float(row["lower"]) <= float(row["truth"]) <= float(row["upper"]) for row in shown]
        errors = [float(row["estimate"]) - float(row["truth"]) for row in shown]
        assert math.sqrt(sum(error**2 for error in errors) / len(errors)) < 0.15
        truths[topic] = next(float(row["truth"]) for row in own if row["level"] == "LAD")
    assert sum(held) >= 0.8 * len(held)
    assert truths["one_person"] + truths["three_or_more_people"] < 1
    assert truths["dependent_children"] < truths["three_or_more_people"] + 0.1
    assert truths["paid_work"] > truths["one_person"] > truths["all_aged_66_plus"]


def test_report_release_and_terminal_speak_of_every_topic(finished):
    done, run = finished
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert {*TOPICS, "occupancy"} == summary["topics"].keys()
    assert {*TOPICS, "presence_rule", "presence_model"} == summary["models"].keys()
    assert all(set(TOPICS) <= figures.keys() for figures in summary["methods"].values() if figures)
    assert all(cost["epsilon_upper"] <= 4 for cost in summary["suppliers"].values())
    for words in ("homes of one person", "homes of three or more people", "families with children", "paid work"):
        assert words in done.stdout
    html = (run / "report.html").read_text(encoding="utf-8")
    assert all(f'name="topic" value="{topic}"' in html for topic in (*TOPICS, "occupancy"))
    names = {path.name for path in (run / "release").iterdir()}
    assert {f"estimates-{topic.replace('_', '-')}.csv" for topic in TOPICS} <= names


BAD = {
    "positive_classes of model paid_work must be some of nobody, somebody": ('["somebody"]', '["employed"]'),
    "Invalid enum value 'income'": ('question = "paid_work"', 'question = "income"'),
    "block class_scores must name a model of the study": ('beside = ["one_person"', 'beside = ["tall_person"'),
    "must have the same models beside it": (
        'source = "class_score"\nmodel = "all_aged_66_plus"\nbeside = ["one_person", ',
        'source = "class_score"\nmodel = "all_aged_66_plus"\nbeside = [',
    ),
    "may have models beside its own": (
        'model = "all_aged_66_plus"\nbeside = ["one_person", ',
        'model = "one_person"\nbeside = ["one_person", ',
    ),
}


@pytest.mark.parametrize("said", BAD)
def test_a_study_that_contradicts_itself_is_refused_in_words(words, capsys, said):
    before, after = BAD[said]
    assert before in text()
    assert main(words(text().replace(before, after))) == 20
    assert said in " ".join(capsys.readouterr().err.split())


def test_there_is_no_built_in_study_of_another_name(capsys, tmp_path):
    assert main(["simulate", "winchester", "--out", str(tmp_path / "run")]) == 60
    assert "southampton-households" in " ".join(capsys.readouterr().err.split())
