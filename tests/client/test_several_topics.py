# SPDX-License-Identifier: Apache-2.0
"""Blocks of several models, and models that ask the panel something else than its composition."""

import msgspec
import numpy as np
import pytest

from skyglow_client.features.table import HomeFeatures
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.contributions import contributions, label_table
from skyglow_client.learning.homes import Homes, homes_of
from skyglow_client.readings import load_panel
from skyglow_shared.errors import FormatError, StudyError
from skyglow_shared.layout import block_shape, columns_of, strata
from skyglow_shared.models import presence
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import COMPOSITION_CLASSES

K = presence.load("presence_basis_v2").components.shape[1]
SHARED = ("gradient", "area_score", "class_score", "area_label")
LARGE, WORK, OLDER = "three_or_more_people", "paid_work", "all_aged_66_plus"


@pytest.fixture
def study(town):
    """The town's study with three topics, all in one block of each kind."""
    made = town.study()
    older = made.models[0]
    large = msgspec.structs.replace(older, name=LARGE, question="household_size", positive_classes=tuple("345678"))
    work = msgspec.structs.replace(older, name=WORK, question="paid_work", positive_classes=("somebody",))

    def beside(block):
        return msgspec.structs.replace(block, beside=(LARGE, WORK)) if block.source in SHARED else block

    phases = tuple(
        msgspec.structs.replace(phase, blocks=tuple(beside(block) for block in phase.blocks)) for phase in made.phases
    )
    return msgspec.structs.replace(made, models=(older, large, work), phases=phases)


def make_homes(number, seed=3):
    rng = np.random.default_rng(seed)
    lsoa, x = rng.integers(0, 3, number), rng.uniform(-1, 1, (number, 22))
    return Homes(
        pseudonyms=rng.integers(0, 256, (number, 16), dtype=np.uint8),
        lsoa=lsoa,
        msoa=lsoa // 2,
        x={OLDER: x, LARGE: x, WORK: x},
        profile=rng.normal(0, 0.3, (number, 2, K)),
        metered=np.ones(number, dtype=bool),
        composition=rng.integers(0, 6, number).astype(np.int8),
        diary=np.full((number, 2, K), np.nan),
        calibrates=rng.random(number) < 0.5,
        answers={
            "household_size": rng.integers(0, 8, number).astype(np.int8),
            "paid_work": rng.integers(0, 2, number).astype(np.int8),
        },
    )


def weights_of(size):
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, size, 23) for name in (OLDER, LARGE, WORK)}


def block_of(study, source):
    return next(block for block in study.blocks if block.source == source)


@pytest.mark.parametrize("size", [0.1, 30.0])
@pytest.mark.parametrize("source", SHARED)
def test_one_home_moves_a_block_of_several_models_by_one_bound(study, source, size):
    block, homes, weights = block_of(study, source), make_homes(40), weights_of(size)
    whole = block_sum(study, block, homes, weights).astype(float)
    most = 0.0
    for home in range(40):
        kept = np.arange(40) != home
        moved = whole - block_sum(study, block, homes.take(kept), weights)
        most = max(most, float(np.linalg.norm(moved)))
    assert 0 < most <= sensitivity_steps(block.noise_multiplier)


@pytest.mark.parametrize("source", SHARED)
def test_each_models_columns_are_those_of_a_block_of_its_own(study, source):
    """Labels and gradients to the last bit; scores where a home's are short enough together."""
    joint, homes, weights = block_of(study, source), make_homes(60), weights_of(0.1)
    found = contributions(study, joint, homes, weights).vectors
    assert found.shape[1] == block_shape(study, joint)[1]
    for name in joint.models:
        alone = msgspec.structs.replace(joint, model=name, beside=())
        own = contributions(study, alone, homes, weights)
        np.testing.assert_array_equal(found[:, columns_of(study, joint, name)], own.vectors)
        assert not np.array_equal(found[:, columns_of(study, joint, OLDER)], own.vectors) or name == OLDER


def test_scores_of_one_home_have_length_one_at_most(study):
    homes, block = make_homes(200), block_of(study, "area_score")
    short, long = (contributions(study, block, homes, weights_of(size)).vectors for size in (0.1, 30.0))
    assert np.linalg.norm(short[:, 1:], axis=1).max() < 1
    assert np.linalg.norm(long[:, 1:], axis=1) == pytest.approx(1.0)
    np.testing.assert_array_equal(long[:, 0], 0.5)  # counts are never shortened


def test_class_sums_have_a_group_for_every_composition_and_label(study):
    block, homes = block_of(study, "class_score"), make_homes(300)
    assert block_shape(study, block)[0] == 24
    found = contributions(study, block, homes, weights_of(1.0))
    chosen = homes.take(homes.calibrates)
    label = label_table(study, block, chosen).astype(int)
    np.testing.assert_array_equal(found.groups, chosen.composition + 6 * label[:, 1] + 12 * label[:, 2])
    for place, name in enumerate(block.models):
        stratum = strata(study, block, name)[found.groups]
        np.testing.assert_array_equal(stratum % 6, chosen.composition)
        np.testing.assert_array_equal(stratum // 6, label[:, place] if name != OLDER else 0)


def panel_of(supplier, store, columns, *rows):
    lines = [",".join(columns), *(",".join(row) for row in rows)]
    (supplier.raw / "panel.csv").write_text("\n".join(lines) + "\n")
    return load_panel(supplier.raw, store.pseudonyms, supplier.key, COMPOSITION_CLASSES)


def test_further_answers_are_read_and_may_be_open(supplier, row_of):
    _, store = supplier.ingest()
    columns = ["meter_id", "composition", "paid_work", "household_size"]
    rows = [
        (supplier.meter(0), "other", "somebody", "8"),
        (supplier.meter(1), "other", "unknown", "3"),
        (supplier.meter(2), "other", "nobody", "9"),
        (supplier.meter(3), "other", "maybe", "1"),
        (supplier.meter(4), "unknown", "nobody", "1"),
        (supplier.meter(5), "other", "nobody", ""),
    ]
    panel = panel_of(supplier, store, columns, *rows)
    first, second = (row_of(supplier, store, number) for number in (0, 1))
    assert (panel.composition >= 0).sum() == 2, "a home with an answer that is none is left out whole"
    assert panel.counts["panel_unknown_class"] == 4
    assert (panel.answers["household_size"][first], panel.answers["paid_work"][first]) == (7, 1)
    assert (panel.answers["household_size"][second], panel.answers["paid_work"][second]) == (2, -1)


def test_a_column_that_nobody_knows_is_refused(supplier):
    _, store = supplier.ingest()
    with pytest.raises(FormatError, match="1 columns too many"):
        panel_of(supplier, store, ["meter_id", "composition", "income"], (supplier.meter(0), "other", "7"))


def test_who_left_a_question_open_is_in_no_block_of_a_study_that_asks_it(study, supplier):
    _, store = supplier.ingest()
    columns, homes = ["meter_id", "composition", "household_size", "paid_work"], range(6)
    rows = [(supplier.meter(n), "other", "4", "unknown" if n == 2 else "somebody") for n in homes]
    panel = panel_of(supplier, store, columns, *rows)
    table = featureless(len(store.pseudonyms))
    found = homes_of(study, store, table, panel)
    assert (found.composition >= 0).sum() == 5
    assert all(((found.answered(name) >= 0) == (found.composition >= 0)).all() for name in found.answers)
    alone = msgspec.structs.replace(study, models=study.models[:1])
    assert (homes_of(alone, store, table, panel).composition >= 0).sum() == 6, "the others' answers do not matter"


def test_a_panel_from_before_the_question_loads_and_refuses_by_name(study, supplier):
    _, store = supplier.ingest()
    panel = panel_of(supplier, store, ["meter_id", "composition"], (supplier.meter(0), "other"))
    assert not panel.answers
    table = featureless(len(store.pseudonyms))
    with pytest.raises(StudyError, match="household_size, a column that panel"):
        homes_of(study, store, table, panel)
    assert len(homes_of(msgspec.structs.replace(study, models=study.models[:1]), store, table, panel))


def featureless(homes):
    """Features of homes that no test here looks at."""
    return HomeFeatures(np.ones((homes, 22)), np.full((homes, 2, 48), 0.5, dtype=np.float32))
