# SPDX-License-Identifier: Apache-2.0
"""A store with readings that are no numbers, through the whole supplier: the home moves nothing beyond its bound."""

import hashlib
import json
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from skyglow_client.features import build_features
from skyglow_shared.layout import block_shape
from skyglow_shared.messages import Share, decode_integers, encode_weights
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.randomness import ByteStream

HOME = 7
VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "largest": 3.4e38, "negative": -3.4e38}
WEIGHTS = {"all_aged_66_plus": encode_weights(np.random.default_rng(4).normal(0, 1, 23))}


class Same:
    """The same noise every time: what differs between two shares is the sums alone."""

    def stream(self, *label):
        return ByteStream(hashlib.sha256(repr(label).encode()).digest())


@pytest.fixture
def study(town):
    whole = town.study()
    first = msgspec.structs.replace(whole.phases[0], rounds=1, sampling_rate=1.0)
    return msgspec.structs.replace(whole, phases=(first, *whole.phases[1:]))


def rewrite(town, *, kwh=None, elsewhere=False):
    """Change one home in the store as if it had been written so: the digests fit, nothing derived is kept."""
    store = town.folder / "store"
    meta = json.loads((store / "meta.json").read_text())
    folder = store / meta["folder"]
    for derived in (*folder.glob("features-*"), *folder.glob("profile-*")):
        derived.unlink()
    if kwh is not None:
        readings = np.load(folder / "kwh.npy")
        readings[HOME, np.load(folder / "valid.npy")[HOME]] = kwh
        np.save(folder / "kwh.npy", readings)
    if elsewhere:
        homes = pl.read_parquet(folder / "homes.parquet").with_row_index()
        code = pl.when(pl.col("index") == HOME).then(pl.lit("E01999999")).otherwise("lsoa21cd")
        homes.with_columns(code.alias("lsoa21cd")).drop("index").write_parquet(folder / "homes.parquet")
    for name, file in meta["files"].items():
        content = (folder / name).read_bytes()
        file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (store / "meta.json").write_text(json.dumps(meta))


def shares(town, study):
    """Every block of every round, as it leaves."""
    found = {}
    for file in town.folder.glob("ledger.sqlite*"):
        file.unlink()
    with town.open(randomness=Same()) as supplier:
        town.approve(supplier, study)
        for phase in study.phases:
            share = town.ask(supplier, town.request(study, phase.name, weights=WEIGHTS))
            assert isinstance(share, Share), share
            for block in phase.blocks:
                found[block.name] = decode_integers(share.blocks[block.name], block_shape(study, block))
    return found


@pytest.fixture
def without(town, study, tmp_path):
    """What leaves when the home is not in the study's areas."""
    copy = replace(town, folder=tmp_path / "without")
    shutil.copytree(town.folder, copy.folder)
    rewrite(copy, elsewhere=True)
    return shares(copy, study)


def moves(study, found, without):
    """By block: how far the home moves the sum, over how far one home may."""
    bounds = {block.name: sensitivity_steps(block.noise_multiplier) for block in study.blocks}
    changes = {name: [int(step) for step in (found[name] - without[name]).ravel()] for name in found}
    return {name: sum(step**2 for step in change) / bounds[name] ** 2 for name, change in changes.items()}


def test_an_ordinary_home_is_seen(town, study, without):
    """The tests below can tell: a home of the panel trains or calibrates, and is in every area's sums."""
    found = moves(study, shares(town, study), without)
    assert all(move <= 1 for move in found.values())
    assert min(max(found["gradient"], found["class_scores"]), found["area_scores"], found["profiles"]) > 0.001


@pytest.mark.parametrize("value", VALUES)
def test_readings_that_are_no_numbers(town, study, without, value):
    """Whatever got past cleaning into the store: the home counts within its bound, and no other home is touched."""
    rewrite(town, kwh=VALUES[value])
    found = moves(study, shares(town, study), without)
    assert all(move <= 1 for move in found.values()), found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
def test_features_that_are_no_numbers(town, study, without, value):
    """The same for features that were kept beside the store by something else: one of the home's, or all."""
    build_features(town.folder / "store", week_start=study.feature_week)
    for places in (slice(0, 1), slice(None)):
        for kind in ("features", "profile"):
            (file,) = town.folder.glob(f"store/data-*/{kind}-*.npy")
            table = np.load(file)
            table[HOME, ..., places] = value
            np.save(file, table)
        found = moves(study, shares(town, study), without)
        assert all(move <= 1 for move in found.values()), found
