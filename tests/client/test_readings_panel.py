# SPDX-License-Identifier: Apache-2.0
"""The panel and its diaries, aligned with the store."""

import numpy as np
import pytest

from skyglow_client.readings import load_panel
from skyglow_shared.errors import FormatError
from skyglow_shared.study import COMPOSITION_CLASSES


def _panel(supplier, store, rows, diaries=(), columns="meter_id,composition"):
    text = "\n".join([columns, *(",".join(row) for row in rows)]) + "\n"
    (supplier.raw / "panel.csv").write_text(text)
    header = ",".join(["meter_id", "date", *(f"hh{n:02d}" for n in range(1, 49))])
    (supplier.raw / "diaries.csv").write_text("\n".join([header, *(",".join(row) for row in diaries)]) + "\n")
    return load_panel(supplier.raw, store.pseudonyms, supplier.key, COMPOSITION_CLASSES)


def test_the_panel_is_aligned_with_the_store(supplier, row_of):
    _, store = supplier.ingest()
    rows = [(supplier.meter(number), COMPOSITION_CLASSES[number]) for number in (4, 0, 5)]
    panel = _panel(supplier, store, rows)
    for number in range(6):
        want = number if number in (4, 0, 5) else -1
        assert panel.composition[row_of(supplier, store, number)] == want
    assert panel.composition.dtype == np.int8 and len(panel.days.home) == 0
    assert panel.days.at_home.shape == (0, 48) and panel.days.at_home.dtype == np.float32


def test_rows_of_the_panel_that_are_unclear_are_counted(supplier, row_of):
    _, store = supplier.ingest()
    good = (supplier.meter(0), "other")
    rows = [good, good, (supplier.meter(1), "castle 7.777"), (supplier.meter(2), "other")]
    rows += [(supplier.meter(2), "family_66_plus"), ("8888888888888", "other"), ("", "other")]
    panel = _panel(supplier, store, rows)
    assert (panel.composition >= 0).sum() == 1 and panel.composition[row_of(supplier, store, 0)] == 5
    wanted = {"panel_unknown_class": 2, "panel_repeated": 1, "panel_conflicting": 2, "panel_without_readings": 1}
    assert dict(panel.counts) | wanted == dict(panel.counts)


def test_diaries_are_told_by_home_and_day(supplier, row_of):
    _, store = supplier.ingest()
    home = supplier.meter(3)
    diaries = [
        (home, "2026-03-10", *("1" * 48)),
        (home, "2026-03-11", *("01" * 24)),
        (supplier.meter(2), "2026-03-14", *("0" * 48)),
    ]
    panel = _panel(supplier, store, [(supplier.meter(n), "other") for n in (2, 3)], diaries)
    both, weekend = row_of(supplier, store, 3), row_of(supplier, store, 2)
    keys = zip(panel.days.home.tolist(), panel.days.date.astype(str), strict=True)
    found = dict(zip(keys, panel.days.at_home, strict=True))
    assert set(found) == {(both, "2026-03-10"), (both, "2026-03-11"), (weekend, "2026-03-14")}
    np.testing.assert_array_equal(found[both, "2026-03-11"], np.tile([0.0, 1.0], 24))
    assert (found[both, "2026-03-10"] == 1).all() and (found[weekend, "2026-03-14"] == 0).all()


def test_diaries_that_are_unclear_are_counted_and_left_out(supplier, row_of):
    _, store = supplier.ingest()
    home, ones, zeros = supplier.meter(3), "1" * 48, "0" * 48
    diaries = [
        (home, "2026-03-10", *ones),
        (home, "2026-03-10", *ones),
        (home, "2026-03-11", *ones),
        (home, "2026-03-11", *zeros),
        (home, "2026-03-12", *(["7.777"] + ["1"] * 47)),
        (home, "2026-03-13", *([""] + ["1"] * 47)),
        (home, "yesterday", *ones),
        (supplier.meter(1), "2026-03-10", *ones),
        ("8888888888888", "2026-03-10", *ones),
    ]
    panel = _panel(supplier, store, [(home, "other")], diaries)
    assert panel.days.home.tolist() == [row_of(supplier, store, 3)]
    assert (panel.days.at_home == 1).all()
    wanted = {"diary_unreadable": 3, "diary_repeated": 1, "diary_conflicting": 2, "diary_outside_panel": 2}
    assert dict(panel.counts) | wanted == dict(panel.counts)


def test_a_supplier_may_have_no_panel(supplier):
    _, store = supplier.ingest()
    panel = load_panel(supplier.raw, store.pseudonyms, supplier.key, COMPOSITION_CLASSES)
    assert (panel.composition == -1).all() and len(panel.days.home) == 0


def test_a_panel_with_other_columns_is_refused(supplier):
    _, store = supplier.ingest()
    with pytest.raises(FormatError, match="lacks the columns composition") as caught:
        _panel(supplier, store, [(supplier.meter(0), "other")], columns="meter_id,7.777")
    assert "7.777" not in str(caught.value)


def test_another_key_finds_nobody_of_the_panel(supplier):
    _, store = supplier.ingest()
    supplier.key = supplier.key[::-1]
    panel = _panel(supplier, store, [(supplier.meter(0), "other")])
    assert (panel.composition == -1).all()
