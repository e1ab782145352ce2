# SPDX-License-Identifier: Apache-2.0
"""A model of presence that a study trains: one clipped gradient a home over all of its diary, and what is refused."""

from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from skyglow_client.commands import study as command
from skyglow_client.learning.block_sum import block_sum
from skyglow_client.learning.clipped_sums import DOUBLE, Batch, clipped_sum
from skyglow_client.learning.contributions import contributions
from skyglow_client.learning.diaried import diaried
from skyglow_client.learning.half_hours import half_hours
from skyglow_client.readings import Store, load_panel
from skyglow_client.readings.meters import pseudonyms_of
from skyglow_shared.layout import block_shape
from skyglow_shared.messages import Refusal, Share, encode_weights
from skyglow_shared.models import features, logistic, temporal
from skyglow_shared.models.features import HALF_HOURS
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import COMPOSITION_CLASSES, Block, Model, Phase, Study

NAME, INSTALLED = "presence", temporal.load("presence_model_v1")
ROUNDS = (("presence", 0), ("presence", 1), ("calibration", 0), ("release", 0))
SMALL = (3, 2, 3)


def of_kind(study: Study, hidden: tuple[int, ...] = SMALL, **changes: object) -> Study:
    """The study with a model of presence of its own, trained in a phase of two rounds in place of the other model."""
    model = Model(
        name=NAME,
        kind="temporal",
        hidden=hidden,
        features=HALF_HOURS.name,
        features_digest=HALF_HOURS.digest,
        learning_rate=0.1,
    )
    block = Block(name="presence_gradient", source="gradient", model=NAME, l2_bound=0.2, noise_multiplier=6.0)
    phase = Phase(name="presence", rounds=2, expected_homes=12, blocks=(block,))
    return msgspec.structs.replace(
        study,
        models=(*study.models, msgspec.structs.replace(model, **changes)),
        occupancy=msgspec.structs.replace(study.occupancy, model=NAME),
        phases=(phase, *study.phases[1:]),
    )


@pytest.fixture
def town(town):
    """The town, whose policy allows what such a study asks."""
    town.write_policy(features=["class22-v1", HALF_HOURS.name], topics=["all_aged_66_plus", NAME])
    return town


@pytest.fixture
def study(town):
    return of_kind(town.study())


def weights_of(study, seed=3):
    return {
        model.name: np.random.default_rng(seed).normal(0, 0.3, logistic.parameter_count(model))
        for model in study.models
    }


def asked(town, study, phase, round_, weights=None):
    found = {name: encode_weights(values) for name, values in (weights or weights_of(study)).items()}
    return town.request(study, phase, round_, weights=found)


def diaries(town, rows):
    """Replace the diaries: (meter's number, day, 48 times 0 or 1) a row."""
    slots = [f"hh{n:02d}" for n in range(1, 49)]
    lines = [(town.raw.meter(number), str(town.raw.date(day)), *said) for number, day, said in rows]
    schema = dict.fromkeys(["meter_id", "date"], pl.String) | dict.fromkeys(slots, pl.Int64)
    pl.DataFrame(lines, schema=schema, orient="row").write_csv(town.folder / "raw" / "diaries.csv")


def test_the_gradient_is_of_each_training_home_over_all_of_its_diary(town, study):
    block = study.phases[0].blocks[0]
    weights = weights_of(study)
    with town.open() as supplier:
        homes = supplier.homes(study)
    homes = replace(homes, calibrates=np.arange(24) % 2 == 0)  # whatever halves the study's digest makes
    store = Store.open(town.folder / "store")
    written = pl.read_csv(town.folder / "raw" / "diaries.csv", schema_overrides={"meter_id": pl.String})
    place = {home.tobytes(): row for row, home in enumerate(store.pseudonyms)}
    y = np.full((24, 28, 48, 1), np.nan, dtype=np.float32)
    for meter, date, *said in written.iter_rows():
        number = next(n for n in range(24) if town.raw.meter(n) == meter)
        y[row_of(town, place, number), [str(town.raw.date(day)) for day in range(28)].index(date), :, 0] = said
    rows = np.flatnonzero(~homes.calibrates & np.isfinite(y).any(axis=(1, 2, 3)))
    assert 2 < len(rows) < 12 and (np.isfinite(y[rows]).sum(axis=(1, 2, 3)) == 96).all()
    x, valid = half_hours(store.kwh[rows], store.start)
    batch = Batch(np.arange(len(rows), dtype=np.uint64), x, y[rows], valid)
    network = temporal.network(28, SMALL)
    wanted = clipped_sum(network, weights[NAME], batch, block.l2_bound, arithmetic=DOUBLE, method="by_home")
    found = block_sum(study, block, homes, weights)
    assert found.shape == block_shape(study, block) == (1, network.parameters)
    np.testing.assert_allclose(found[0] * step_size(block), wanted, rtol=0, atol=0.002 * len(rows) * block.l2_bound)
    assert np.linalg.norm(wanted) > block.l2_bound
    bound = sensitivity_steps(block.noise_multiplier)
    for home in rows:
        rest = block_sum(study, block, homes.take(np.arange(24) != home), weights)
        assert 0 < np.linalg.norm(found - rest) <= bound


def row_of(town, place, number):
    return place[pseudonyms_of(pl.Series([town.raw.meter(number)]), town.raw.key)[0].tobytes()]


@pytest.mark.parametrize("keepers", [0, 1, 2])
def test_a_supplier_with_hardly_a_diary_answers_like_any_other(town, study, keepers):
    said = np.random.default_rng(1).integers(0, 2, (keepers, 48))
    diaries(town, [(number, 9, row) for number, row in enumerate(said)])
    with town.open() as supplier:
        town.approve(supplier, study)
        sizes = []
        for phase, round_ in ROUNDS:
            share = town.ask(supplier, asked(town, study, phase, round_))
            assert isinstance(share, Share), share
            sizes.append(sum(map(len, share.blocks.values())))
        exact = block_sum(study, study.phases[0].blocks[0], supplier.homes(study), weights_of(study))
    assert sizes[:2] == [8 * temporal.network(1, SMALL).parameters] * 2
    assert np.linalg.norm(exact) <= keepers * sensitivity_steps(6.0)


@pytest.mark.parametrize("always", [0, 1])
def test_diaries_that_never_change_are_no_special_case(town, study, always):
    diaries(town, [(number, 9, [always] * 48) for number in range(24)])
    with town.open() as supplier:
        found = block_sum(study, study.phases[0].blocks[0], supplier.homes(study), weights_of(study))
    assert np.sign(found[0, -1]) == (-1 if always else 1), "the last bias is to rise where somebody is always home"


def test_days_outside_the_period_or_without_readings_teach_nothing(town, study):
    block, said = study.phases[0].blocks[0], [1, 0] * 24
    store = Store.open(town.folder / "store")
    diaries(town, [(number, day, said) for number in range(24) for day in (-1, 9, 28)])
    with town.open() as supplier:
        homes = supplier.homes(study)
    assert block_sum(study, block, homes, weights_of(study)).any()
    valid = store.valid.copy()
    valid[:, 9] = False
    panel = load_panel(town.folder / "raw", store.pseudonyms, town.raw.key, COMPOSITION_CLASSES)
    own = diaried(replace(store, valid=valid), np.ones(24, dtype=np.bool_), panel.days)
    assert (own.kept >= 0).all()
    assert not block_sum(study, block, replace(homes, diaried=own), weights_of(study)).any()


def test_profiles_are_by_the_weights_of_the_request(town):
    """At the installed model's own weights they are those of a study that names it."""
    own = of_kind(town.study(), temporal.CHANNELS)
    occupancy = msgspec.structs.replace(own.occupancy, model="presence_model_v1", model_digest=INSTALLED.digest)
    named = msgspec.structs.replace(town.study(), occupancy=occupancy)
    block = next(one for one in own.phases[2].blocks if one.source == "area_profile")
    with town.open() as supplier:
        homes, theirs = supplier.homes(own), supplier.homes(named)
    weights = {NAME: INSTALLED.weights}
    found = contributions(own, block, homes, weights).vectors
    np.testing.assert_allclose(found, contributions(named, block, theirs, {}).vectors, atol=1e-6)
    other = contributions(own, block, homes, {NAME: 0.5 * INSTALLED.weights}).vectors
    assert abs(found - other).max() > 0.01
    kept = np.arange(24) % 3 == 1
    part = contributions(own, block, homes.take(kept), weights).vectors
    np.testing.assert_array_equal(part, found[kept], "to the last bit, whoever is beside a home")


@pytest.mark.parametrize("size", [0.0, 1e3, 1e150, 1.7e308])
def test_absurd_weights_give_numbers_and_no_warning(town, study, size):
    weights = {name: np.full(len(values), size) for name, values in weights_of(study).items()}
    with town.open() as supplier:
        homes = supplier.homes(study)
        for block in study.blocks:
            assert np.abs(block_sum(study, block, homes, weights)).max() < 2**40


def refused(town, study, match):
    with town.open() as supplier:
        reply = town.ask(supplier, town.proposal(study))
    assert isinstance(reply, Refusal) and match in reply.message, reply


def test_what_is_not_installed_here_is_refused(town):
    start = {"start_model": "presence_model_v1", "start_digest": "ab" * 32}
    refused(town, of_kind(town.study(), temporal.CHANNELS, **start), "presence_model_v1 differs from the study's")
    gone = {"start_model": "presence_model_v9", "start_digest": "ab" * 32}
    refused(town, of_kind(town.study(), temporal.CHANNELS, **gone), "no model of presence of that name is installed")
    contract = of_kind(town.study(), features_digest=features.contract("class22-v1").digest)
    refused(town, contract, "feature contract half-hours-v1 differs")


def test_a_policy_that_does_not_list_its_features_and_name_refuses(town, study):
    town.write_policy()
    refused(town, study, "features does not list 'half-hours-v1'")
    refused(town, study, "topics does not list 'presence'")


@pytest.mark.parametrize("bad", [np.zeros(22), np.full(temporal.network(1, SMALL).parameters, np.nan)])
def test_weights_of_another_length_or_that_are_no_numbers_cost_nothing(town, study, bad):
    with town.open() as supplier:
        town.approve(supplier, study)
        reply = town.ask(supplier, asked(town, study, "presence", 0, weights_of(study) | {NAME: bad}))
        assert isinstance(reply, Refusal)
        assert not supplier.gate.ledger.charges()


def test_what_is_asked_is_said_in_plain_words(town, study):
    from_installed = of_kind(town.study(), temporal.CHANNELS, start_model="presence_model_v1", start_digest="0" * 64)
    words = command._presence(from_installed)
    assert "presence, a model of 9,665 numbers" in words and "from the installed presence_model_v1" in words
    assert "from nothing" in command._presence(study)
    [first, second] = command._describe(study, study.phases[0].blocks[0])
    assert "homes with a diary: the gradient of each home's loss over its diary's half-hours" in first
    assert "one home counts for at most 0.2" in second


def test_only_homes_that_did_not_train_say_how_far_the_model_is_off(town, study):
    block = next(block for block in study.blocks if block.source == "diary_profile")
    with town.open() as supplier:
        plain, homes = supplier.homes(town.study()), supplier.homes(study)
    keeps = np.isfinite(plain.diary).all(axis=2).any(axis=1) & (plain.composition >= 0)
    assert (keeps & ~homes.calibrates).any() and (keeps & homes.calibrates).any()
    assert len(contributions(study, block, homes, weights_of(study)).vectors) == (keeps & homes.calibrates).sum()
    assert len(contributions(town.study(), block, plain, {}).vectors) == keeps.sum()
