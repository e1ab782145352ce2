# SPDX-License-Identifier: Apache-2.0
"""Replicates of a study of several topics: each has its own truth, answers and figures."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_shared.errors import RunError
from skyglow_shared.study import QUESTIONS
from skyglow_simulations import replication, stock
from skyglow_simulations.coverage_table import tables, together
from skyglow_simulations.experiment import begin
from skyglow_simulations.methods import OURS
from skyglow_simulations.population.frame import UNEVEN
from skyglow_simulations.replicates import World, draw
from skyglow_simulations.replication import Setting
from skyglow_simulations.run import Folder

TOPICS = ("all_aged_66_plus", "one_person", "three_or_more_people", "dependent_children", "paid_work")


@pytest.fixture(scope="module")
def one(parameters, tmp_path_factory):
    """An experiment on a few areas that asks for all five topics."""
    chosen = replace_study(parameters, "southampton-households")
    return begin(Folder(tmp_path_factory.mktemp("topics")), chosen, lambda phase, done, total: None)


@pytest.fixture(scope="module")
def homes(one):
    return stock.make(one.census, one.study, seed=1, copies=1, scale=0.25)


@pytest.fixture(scope="module")
def world(one):
    return World(one.census, panel=0.5, scale=0.2)


def replace_study(parameters, study):
    return msgspec.structs.replace(parameters, study=study)


def test_every_topic_has_the_truth_of_its_own_question(one, homes, world):
    drawn = draw(world, homes, one.study, 1)
    assert tuple(drawn.shares) == TOPICS
    counted = {topic: drawn.areas.households @ share for topic, share in drawn.shares.items()}
    answers = [homes.answers(np.arange(len(homes.area)))[question] for question in QUESTIONS]
    assert [int(given.max()) < len(QUESTIONS[question]) for question, given in zip(QUESTIONS, answers, strict=True)]
    assert (answers[1][np.isin(answers[0], [0, 2])] == 0).all()  # who lives alone is one
    assert counted["dependent_children"] < counted["three_or_more_people"]
    assert counted["one_person"] + counted["three_or_more_people"] < drawn.areas.households.sum()
    assert counted["all_aged_66_plus"] < drawn.areas.households.sum() - 0.9 * counted["paid_work"]


def test_who_leaves_a_question_open_is_not_in_the_panel(one, homes, world):
    sizes = []
    for gaps in (world.gaps, replace(world.gaps, unanswered=0.5)):
        parties = draw(replace(world, gaps=gaps), homes, one.study, 3).parties
        given = [np.concatenate([party.homes.answered(question) for party in parties]) for question in QUESTIONS]
        member = [answer >= 0 for answer in given]
        assert all((own == member[0]).all() for own in member)
        sizes.append(member[0].sum())
    assert UNEVEN.unanswered > 0
    assert sizes[1] == pytest.approx(sizes[0] / 4, rel=0.2)  # two questions, each open to half of them


def test_every_topic_is_estimated_and_judged(one, homes, world, tmp_path):
    homes.write(tmp_path / "stock.npz")
    study = replication.scaled(one.study, 1.0, 1.0)
    setting = Setting((study, replication.without_noise(study)), world, tmp_path / "stock.npz", True)
    found = replication.replicate(setting, 4)
    for topic in TOPICS:
        for method in (OURS, "without noise", "panel alone", "panel alone without noise", "old census"):
            for level in ("LSOA", "MSOA", "LAD"):
                assert np.isfinite(found[f"1|{method}|{topic}|{level}"][1:3]).all()
        assert np.abs(found[f"1|without noise|{topic}|LAD"][1]).max() < 0.06


def test_what_a_stock_has_nothing_of_is_refused(parameters, homes, world, tmp_path):
    for name in ("southampton-electricity", "southampton-presence"):
        study = begin(Folder(tmp_path), replace_study(parameters, name), lambda phase, done, total: None).study
        with pytest.raises(RunError, match="stock"):
            draw(world, homes, study, 1)


def test_what_one_of_two_districts_withholds_or_cannot_try_is_told_of_both():
    key, other = "1|withheld|all_aged_66_plus|LAD", "1|panel by Fay-Herriot|all_aged_66_plus|LAD"
    first, second = {key: np.zeros((4, 1)), other: np.zeros((4, 1))}, {key: np.ones((4, 1))}
    for districts in (([first], [second]), ([second], [first])):
        (both,) = together(districts)
        assert set(both) == {key}
        lines, _ = tables([both], [], ours=OURS)
        assert any("withheld by diagnostics in 50.0%" in line for line in lines)
