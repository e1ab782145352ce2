# SPDX-License-Identifier: Apache-2.0
"""A store outlives crashes and notices damage; the same files always make the same store."""

import errno
import hashlib
import os

import numpy as np
import polars as pl
import pytest

from skyglow_client.features import build_features
from skyglow_client.readings import Store
from skyglow_client.readings import store as stores
from skyglow_shared.errors import FormatError, RunError


def _files(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_files_give_the_same_bytes(new_supplier):
    suppliers = [new_supplier("first"), new_supplier("second")]
    for supplier in suppliers:
        supplier.ingest()
        build_features(supplier.store, week_start=supplier.start)
    first, second = (_files(supplier.store) for supplier in suppliers)
    assert len(first) == 6
    assert first == second


@pytest.mark.parametrize("name", ["homes.parquet", "kwh.npy", "valid.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["gone", "truncated", "flipped"])
def test_a_damaged_store_is_not_opened(supplier, name, damage):
    supplier.ingest()
    path = next(supplier.store.rglob(name))
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-3])
    else:
        content[len(content) // 2] ^= 0x55
        path.write_bytes(content)
    with pytest.raises(FormatError, match=r"ingest|Export"):
        Store.open(supplier.store)


@pytest.mark.parametrize("step", range(3))
def test_a_crash_while_publishing_leaves_the_old_store_or_the_new(supplier, monkeypatch, step):
    _, store = supplier.ingest()
    old = store.kwh.tobytes()
    supplier.readings = supplier.readings.with_columns(pl.selectors.float() * 0.5)
    supplier.write()
    calls = []

    def breaking(real):
        def act(*arguments, **options):
            calls.append(real)
            if len(calls) == step + 1:
                raise OSError(errno.EIO, "the disk is gone")
            return real(*arguments, **options)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", breaking(os.replace))
        patch.setattr(os, "rename", breaking(os.rename))
        if step < 2:
            with pytest.raises(OSError, match="disk is gone"):
                supplier.ingest_again()
        else:
            supplier.ingest_again()
    assert len(calls) == min(step + 1, 2)
    assert (Store.open(supplier.store).kwh.tobytes() == old) == (step < 2)
    _, store = supplier.ingest_again()
    assert store.kwh.tobytes() != old
    assert len(list(supplier.store.glob("data-*"))) == 1
    assert not (supplier.store / ".incoming").exists()


def test_a_long_period_asks_for_half_of_its_days(new_supplier, row_of):
    supplier = new_supplier(homes=2, days=40)
    first, second = supplier.meter(0), supplier.meter(1)
    absent = ((pl.col("meter_id") == first) & (pl.col("date") >= supplier.date(19))) | (
        (pl.col("meter_id") == second) & (pl.col("date") >= supplier.date(20))
    )
    supplier.readings = supplier.readings.filter(~absent)
    _, store = supplier.ingest()
    assert row_of(supplier, store, 0) == -1
    assert np.count_nonzero(store.valid[row_of(supplier, store, 1)]) == 20


def test_two_never_load_into_one_store(supplier):
    """The second took the first one's folder away and made its own there: the first then published parts of both."""
    _, store = supplier.ingest()
    before = store.kwh.tobytes()
    with stores.incoming(supplier.store) as folder:
        (folder / "kwh.npy").write_bytes(b"half")
        with pytest.raises(RunError, match="another process loads"):
            supplier.ingest_again()
        assert (folder / "kwh.npy").read_bytes() == b"half"
    assert supplier.ingest_again()[1].kwh.tobytes() == before
