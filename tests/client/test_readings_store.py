# SPDX-License-Identifier: Apache-2.0
"""The store's description, its permissions, and what ingesting again keeps and removes."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest

from skyglow_client.features import build_features
from skyglow_client.readings import Store, load_panel
from skyglow_shared.errors import FormatError
from skyglow_shared.study import COMPOSITION_CLASSES


def test_ingesting_the_same_files_again_keeps_what_is_cached(supplier):
    _, store = supplier.ingest()
    (store.folder / "features.npy").write_bytes(b"kept")
    supplier.ingest()
    assert (store.folder / "features.npy").read_bytes() == b"kept"


def test_other_readings_replace_the_old_ones_and_all_made_from_them(supplier, row_of):
    _, first = supplier.ingest()
    (first.folder / "features.npy").write_bytes(b"of the old readings")
    supplier.set(0, 0, {"hh01": 3.0})
    _, second = supplier.ingest()
    assert second.kwh[row_of(supplier, second, 0), 0, 0] == 3.0
    assert not first.folder.exists()


def test_what_a_killed_run_left_behind_is_removed(supplier):
    leftover = supplier.store / ".incoming" / "gathered.npy"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half-written readings")
    supplier.ingest()
    assert not leftover.parent.exists()


def test_only_the_owner_may_read_the_readings(supplier):
    _, store = supplier.ingest()
    assert store.folder.stat().st_mode & 0o077 == 0
    assert (supplier.store / "meta.json").stat().st_mode & 0o077 == 0


def test_a_damaged_store_is_repaired_by_ingesting_again(supplier):
    _, store = supplier.ingest()
    want = np.array(store.kwh)
    (store.folder / "kwh.npy").write_bytes(b"damaged")
    _, again = supplier.ingest()
    np.testing.assert_array_equal(again.kwh, want)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "skyglow-store-9"},
        {"folder": "../elsewhere"},
        {"folder": "data-/.."},
        {"folder": ""},
        {"days": 27},
        {"days": "7.777"},
        {"start": "7.777"},
        {"files": {}},
        {"surplus": 7.777},
    ],
)
def test_a_description_that_was_tampered_with_is_refused(supplier, change):
    supplier.ingest()
    meta = json.loads((supplier.store / "meta.json").read_text())
    (supplier.store / "meta.json").write_text(json.dumps(meta | change))
    with pytest.raises(FormatError) as caught:
        Store.open(supplier.store)
    assert "7.777" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"7.777", b"\xff\xfe", b'{"format": 7.777'])
def test_a_foreign_description_is_refused(supplier, content):
    supplier.ingest()
    (supplier.store / "meta.json").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        Store.open(supplier.store)
    assert "7.777" not in str(caught.value)


def test_opening_nothing_says_what_to_do(tmp_path):
    with pytest.raises(FormatError, match="ingest readings first"):
        Store.open(tmp_path / "nowhere")


def test_a_list_of_homes_with_other_columns_is_refused_even_if_its_digest_fits(supplier):
    _, store = supplier.ingest()
    path = store.folder / "homes.parquet"
    pl.read_parquet(path).rename({"lsoa21cd": "place"}).write_parquet(path)
    meta = json.loads((supplier.store / "meta.json").read_text())
    content = path.read_bytes()
    meta["files"]["homes.parquet"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (supplier.store / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(FormatError, match="lacks the columns lsoa21cd"):
        Store.open(supplier.store)


def test_the_mapped_readings_are_read_only(supplier):
    _, store = supplier.ingest()
    with pytest.raises(ValueError, match="read-only"):
        store.kwh[0, 0, 0] = 1.0


def test_no_representation_shows_data(supplier):
    supplier.set(0, 0, {"hh01": 7.777})
    _, store = supplier.ingest()
    panel = load_panel(supplier.raw, store.pseudonyms, supplier.key, COMPOSITION_CLASSES)
    table = build_features(supplier.store, week_start=store.start)
    for thing in (store, panel, table):
        assert "array" not in repr(thing) and "7.777" not in repr(thing)
