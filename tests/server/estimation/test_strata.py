# SPDX-License-Identifier: Apache-2.0
"""Topics that composition does not decide, and sums of several topics in one block."""

import csv
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from skyglow_server import estimation
from skyglow_server.estimation.inputs import COLUMNS, EMPLOYED_COLUMN, SIZE_COLUMNS, find, load_areas
from skyglow_server.estimation.planning import PLANNING
from skyglow_server.estimation.shares import evidence_of, share_estimates
from skyglow_server.estimation.strata import positive_strata, stratified
from skyglow_shared.errors import FormatError

LARGE, WORK = "three_or_more_people", "paid_work"
GIVEN = np.array([0.0, 0.03, 0.0, 0.3, 0.9, 0.7])  # chance by class of three or more people, in the towns of this page


@pytest.fixture(scope="module")
def town(simulator):
    """A town with old tables of sizes and of employment, and its study with three topics."""
    rng = np.random.default_rng(5)
    areas = simulator.town(replace(simulator.World(), lsoas=60, msoas=12), rng)
    single = areas.counts[:, [0, 2]].sum(axis=1)
    large = (areas.counts * GIVEN).sum(axis=1).round()
    sizes = np.zeros((60, 8))
    sizes[:, 0], sizes[:, 2] = single, large
    sizes[:, 1] = areas.counts.sum(axis=1) - single - large
    areas = replace(areas, sizes=sizes, employed=rng.uniform(0.45, 0.7, 60))
    study = simulator.study_of(areas)
    older = study.models[0]
    size = msgspec.structs.replace(older, name=LARGE, question="household_size", positive_classes=tuple("345678"))
    work = msgspec.structs.replace(older, name=WORK, question="paid_work", positive_classes=("somebody",))
    return areas, beside(study, older, size, work)


def beside(study, *models):
    """The study with these models, all in every block of scores and labels."""
    names = tuple(model.name for model in models)

    def one(block):
        return msgspec.structs.replace(block, model=names[0], beside=names[1:]) if block.model else block

    phases = [msgspec.structs.replace(phase, blocks=tuple(map(one, phase.blocks))) for phase in study.phases]
    return msgspec.structs.replace(study, models=models, phases=tuple(phases))


def test_strata_hold_the_old_homes_and_the_topics_own_old_share(town):
    areas, study = town
    for model in study.models[1:]:
        table, positive = stratified(areas, model), positive_strata(model)
        assert table.counts.shape == (60, 12) and positive.tolist() == [False] * 6 + [True] * 6
        assert (table.counts >= 0).all()
        np.testing.assert_allclose(table.counts[:, :6] + table.counts[:, 6:], areas.counts)
    large = stratified(areas, study.models[1]).counts[:, 6:].sum(axis=1)
    np.testing.assert_allclose(large, areas.sizes[:, 2:].sum(axis=1), rtol=0.01)
    assert stratified(areas, study.models[0]) is areas
    working = stratified(areas, study.models[2]).counts[:, 6:].sum(axis=1) / areas.counts.sum(axis=1)
    assert np.corrcoef(working, areas.employed)[0, 1] > 0.5
    nobody = msgspec.structs.replace(study.models[2], positive_classes=("nobody",))
    np.testing.assert_allclose(
        stratified(areas, nobody).counts[:, :6], stratified(areas, study.models[2]).counts[:, 6:]
    )


def test_one_models_part_of_a_joint_sum_is_what_it_would_have_alone(town, simulator):
    _, study = town
    rng = np.random.default_rng(1)
    names, alone = [model.name for model in study.models], {}
    cell = rng.integers(0, 24, 5000)  # composition + 6 × large + 12 × work
    score = rng.normal(0, 0.4, (5000, 3))
    ones = np.ones(5000)
    pairs = [column for place in range(3) for column in (score[:, place], score[:, place] ** 2)]
    joint = simulator.Sum(simulator.grouped(cell, 24, ones, *pairs), np.arange(1.0, 8.0))
    for place, stratum in enumerate((cell % 6, cell % 6 + 6 * (cell // 6 % 2), cell % 6 + 6 * (cell // 12))):
        alone[place] = simulator.grouped(stratum, 6 if place == 0 else 12, ones, *pairs[2 * place : 2 * place + 2])
    for place, name in enumerate(names):
        found = find(study, {"class_scores": joint}, "class_score", name)
        np.testing.assert_allclose(found.values, alone[place])
        times = np.sqrt(4 if place == 0 else 2)  # as many noised groups are added up for a stratum
        np.testing.assert_allclose(found.deviation, times * np.array([1.0, 2 + 2 * place, 3 + 2 * place]))
    areal = simulator.Sum(rng.normal(0, 1, (60, 4)), np.arange(1.0, 5.0))
    found = find(study, {"area_scores": areal}, "area_score", WORK)
    np.testing.assert_array_equal(found.values, areal.values[:, [0, 3]])
    np.testing.assert_array_equal(found.deviation, [1.0, 4.0])


def replicate(areas, simulator, rng):
    """One town of today with two topics in one block: true shares of large homes, and all noised sums."""
    truth, cells, lsoa = np.zeros(len(areas.households)), [], []
    drift = rng.normal(0.1, 0.25, 12)[areas.membership("MSOA").argmax(axis=0)]
    for row, homes in enumerate(areas.households.astype(int)):
        kind = rng.choice(6, homes, p=areas.counts[row] / areas.counts[row].sum())
        logit = np.log((GIVEN + 0.001) / (1.001 - GIVEN)) + drift[row] + rng.normal(0, 0.1)
        large = rng.random(homes) < (1 / (1 + np.exp(-logit)))[kind]
        truth[row] = large.mean()
        cells.append(kind + 6 * large)
        lsoa.append(np.full(homes, row))
    cell, lsoa = np.concatenate(cells), np.concatenate(lsoa)
    kind, large = cell % 6, cell // 6
    score = np.clip(
        np.array([-0.4, -0.1, -0.5, -0.1, 0.0, -0.1])[kind] + 0.5 * large + rng.normal(0, 0.45, len(cell)), -1, 1
    )
    older = np.clip(0.5 * (kind <= 1) - 0.2 + rng.normal(0, 0.4, len(cell)), -1, 1)
    panel = rng.choice(len(cell), 1500, replace=False)
    metered = rng.random(len(cell)) < 0.75
    msoa = areas.membership("MSOA").argmax(axis=0)
    ones, labels = np.ones(len(cell)), 2.0 * np.stack([kind <= 1, large]) - 1
    columns = (ones, older, older**2, score, score**2)
    sums = {
        "area_scores": simulator.grouped(lsoa[metered], 60, *(each[metered] for each in (ones, older, score))),
        "class_scores": simulator.grouped(cell[panel], 12, *(column[panel] for column in columns)),
        "panel_labels": simulator.grouped(msoa[lsoa[panel]], 12, ones[panel], *labels[:, panel]),
    }
    noise = simulator.World().noise
    return truth, {name: simulator.noised(exact, noise[name], rng) for name, exact in sums.items()}


def test_intervals_of_a_topic_beyond_composition_hold_the_truth(town, simulator):
    areas, study = town
    study = beside(study, *study.models[:2])
    held, errors, before = [], [], []
    weights, old = areas.weights("MSOA"), areas.sizes[:, 2:].sum(axis=1) / areas.sizes.sum(axis=1)
    for seed in range(6):
        truth, sums = replicate(areas, simulator, np.random.default_rng(seed))
        evidence = evidence_of(study, study.models[1], areas, sums)
        found = share_estimates(evidence, LARGE, replace(PLANNING, turnover=1.0))  # all households are drawn anew
        true = [*truth, *(weights @ truth)]
        held += [item.lower <= value <= item.upper for item, value in zip(found, true, strict=False)]
        errors += [item.estimate - value for item, value in zip(found[60:], weights @ truth, strict=False)]
        before += (weights @ (old - truth)).tolist()
    assert 0.9 <= np.mean(held) <= 1
    assert abs(np.mean(errors)) < 0.015
    assert np.sqrt(np.mean(np.square(errors))) < 0.9 * np.sqrt(np.mean(np.square(before)))


def test_every_topic_of_a_joint_block_is_estimated_and_checked(town, simulator):
    areas, study = town
    study = beside(study, *study.models[:2])
    _, sums = replicate(areas, simulator, np.random.default_rng(9))
    phases = [
        msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if block.model))
        for phase in study.phases
    ]
    study = msgspec.structs.replace(study, phases=tuple(phases))
    found = estimation.estimate(study, areas, sums)
    topics = {item.topic for item in found}
    assert topics == {study.models[0].name, LARGE}
    assert {item.status for item in found} == {"published"}
    assert {check.topic for check in estimation.checks(study, areas, sums)} == topics


@pytest.fixture
def lines(town):
    areas, _ = town
    header = [*COLUMNS, *SIZE_COLUMNS, EMPLOYED_COLUMN]
    rows = []
    for row in range(60):
        nesting = [text for level in areas.codes for text in (areas.codes[level][row], areas.names[level][row])]
        numbers = [areas.households[row], *areas.counts[row], *areas.sizes[row], areas.employed[row]]
        rows.append([*nesting, *(repr(float(number)) for number in numbers)])
    return [header, *rows]


def loaded(path, lines, study):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return load_areas(path, study)


def test_old_sizes_and_employment_survive_the_way_to_disk_and_may_be_missing(town, lines, tmp_path):
    areas, study = town
    found = loaded(tmp_path / "areas.csv", lines, study)
    np.testing.assert_array_equal(found.sizes, areas.sizes)
    np.testing.assert_array_equal(found.employed, areas.employed)
    part = found.part(np.arange(60) < 7)
    assert part.sizes.shape == (7, 8) and part.employed.shape == (7,)
    older = loaded(tmp_path / "older.csv", [line[: len(COLUMNS)] for line in lines], study)
    assert older.sizes is None and older.employed is None
    for model, words in zip(study.models[1:], ("people_1", "employed"), strict=True):
        with pytest.raises(FormatError, match=f"lacks {words}.* topic {model.name} needs"):
            stratified(older, model)


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        ("people_3", "-1", "people_3.*negative"),
        ("people_8", "many", "not a number"),
        ("people_8", "inf", "infinite"),
        ("employed", "1.0", "employed share of 1"),
        ("employed", "0", "all zero"),
    ],
)
def test_bad_old_columns_are_refused(town, lines, tmp_path, column, text, words):
    lines[4][lines[0].index(column)] = text
    with pytest.raises(FormatError, match=words):
        loaded(tmp_path / "areas.csv", lines, town[1])
