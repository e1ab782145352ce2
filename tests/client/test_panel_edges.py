# SPDX-License-Identifier: Apache-2.0
"""Few panel homes, answers that nobody gave, and starts that are no starts: defined, and never told."""

import msgspec
import numpy as np
import pytest

from skyglow_client.learning.contributions import cohort_of, contributions
from skyglow_shared import soundness
from skyglow_shared.errors import StudyError
from skyglow_shared.messages import Refusal, Share, encode_weights
from skyglow_shared.models import features
from skyglow_shared.study import COMPOSITION_CLASSES

ROUNDS = (("training", 0), ("training", 1), ("training", 2), ("calibration", 0), ("release", 0))


def panel(town, rows):
    """Replace the panel: (meter's number, composition) a row; diaries stay those of its members."""
    lines = ["meter_id,composition", *(f"{town.raw.meter(number)},{name}" for number, name in rows)]
    (town.folder / "raw" / "panel.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("members", [0, 1, 2])
def test_a_supplier_of_no_one_or_two_panel_homes_answers_as_any_other(town, members):
    """One is in one half of the panel alone: the other half's blocks are noise, of the same size."""
    study = town.study()
    panel(town, [(number, COMPOSITION_CLASSES[number]) for number in range(members)])
    with town.open() as supplier:
        town.approve(supplier, study)
        homes = supplier.homes(study)
        assert (homes.composition >= 0).sum() == members
        sizes = []
        for phase, round_ in ROUNDS:
            share = town.ask(supplier, town.request(study, phase, round_))
            assert isinstance(share, Share)
            sizes.append(sum(map(len, share.blocks.values())))
    assert sizes == [8 * 23] * 3 + sizes[3:]
    trained, calibrated = (
        cohort_of(study, block, homes).sum() for block in (study.phases[0].blocks[0], study.phases[1].blocks[0])
    )
    assert trained + calibrated == members


@pytest.mark.parametrize("only", [COMPOSITION_CLASSES[0], COMPOSITION_CLASSES[5]])
def test_an_answer_that_nobody_at_a_supplier_gave_leaves_its_group_empty(town, only):
    """All panel homes are of one class: the others' rows are noise alone; gradients are those of one label."""
    study = town.study()
    panel(town, [(number, only) for number in range(24)])
    with town.open() as supplier:
        town.approve(supplier, study)
        homes = supplier.homes(study)
        for phase, round_ in ROUNDS:
            assert isinstance(town.ask(supplier, town.request(study, phase, round_)), Share)
    weights = {study.models[0].name: np.zeros(23)}
    classes = contributions(study, study.phases[1].blocks[0], homes, weights)
    assert set(classes.groups) == {COMPOSITION_CLASSES.index(only)}
    gradients = contributions(study, study.phases[0].blocks[0], homes, weights).vectors
    assert np.isfinite(gradients).all()
    assert (np.sign(gradients[:, -1]) == (-1 if only in study.models[0].positive_classes else 1)).all()


def test_features_in_another_order_are_another_contract(town):
    contract = features.contract("class22-v1")
    turned = features.FeatureContract(contract.name, contract.features[::-1])
    assert turned.digest != contract.digest
    study = town.study()
    model = msgspec.structs.replace(study.models[0], features_digest=turned.digest)
    with town.open() as supplier:
        refused = town.ask(supplier, town.proposal(msgspec.structs.replace(study, models=(model,))))
    assert isinstance(refused, Refusal)
    assert "feature contract class22-v1 differs" in refused.message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_no_numbers_are_refused_before_anything_is_charged(town, bad):
    study = town.study()
    weights = np.zeros(23)
    weights[3] = bad
    with town.open() as supplier:
        town.approve(supplier, study)
        refused = town.ask(supplier, town.request(study, weights={study.models[0].name: encode_weights(weights)}))
        assert isinstance(refused, Refusal)
        assert "must be finite" in refused.message
        assert not supplier.gate.ledger.entries("charge")


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e999])
def test_a_start_that_holds_no_number_is_no_sound_study(town, number):
    study = town.study()
    model = msgspec.structs.replace(study.models[0], start=(0.0,) * 22 + (float(number),))
    with pytest.raises(StudyError, match="must be finite"):
        soundness.check(msgspec.structs.replace(study, models=(model,)))


def test_features_beyond_their_bounds_count_as_the_bounds_and_no_numbers_leave_a_home_out():
    contract = features.contract("class22-v1")
    low, high = (np.array([getattr(one, end) for one in contract.features]) for end in ("low", "high"))
    far, usable = features.normalise(contract, np.stack([high * 1e6 + 1e6, high, low, np.full(22, np.nan)]))
    np.testing.assert_array_equal(far[0], far[1])
    assert (far[1] == 1).all() and np.allclose(far[2], -1)
    assert usable.tolist() == [True, True, True, False]
    assert not far[3].any()
