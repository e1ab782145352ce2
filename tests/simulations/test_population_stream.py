# SPDX-License-Identifier: Apache-2.0
"""A population by itself: the same bytes however it is made, loadable in every format, refused when it can't be."""

import dataclasses
import datetime
import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skyglow_client.readings import Store, ingest
from skyglow_client.readings.formats import FORMATS, load_format
from skyglow_shared import command
from skyglow_shared.errors import RunError
from skyglow_simulations.population import census, chunks, exports, frame, oracle, stream
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.timeline import Timeline

REQUEST = stream.Request(start=datetime.date(2026, 3, 16), weeks=2, scale=0.04, seed=4, dirty=True, panel_fraction=0.3)


@pytest.fixture(scope="module")
def town() -> census.Census:
    """Eighteen LSOAs: three chunks."""
    return census.load_areas([area.lsoa for area in census.load("E06000045").areas[:18]])


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def loaded(out: Path, name: str, store: Path) -> Store:
    raw = out / "suppliers" / name / "raw"
    ingest(
        raw,
        store,
        start=REQUEST.start,
        days=14,
        postcodes=out / "reference" / "postcodes.csv",
        pseudonym_key=b"k" * 32,
        form=load_format(str(raw / "format.toml")),
    )
    return Store.open(store)


def test_the_same_bytes_whatever_the_workers_and_chunks(town: census.Census, tmp_path: Path):
    stream.write(town, REQUEST, tmp_path / "a", workers=1)
    want = hashes(tmp_path / "a")
    stream.write(town, REQUEST, tmp_path / "b", workers=2, at_once=2)
    assert hashes(tmp_path / "b") == want
    stream.write(town, dataclasses.replace(REQUEST, seed=5), tmp_path / "c", workers=1)
    other = hashes(tmp_path / "c")
    assert other.keys() == want.keys()
    same = {Path(name).name for name in want if other[name] == want[name]}
    assert same <= {"format.toml", "msoa.geojson"}


def test_an_area_is_the_same_in_any_company(town: census.Census, tmp_path: Path):
    few = census.load_areas([town.areas[5].lsoa])
    for part, name in ((town, "many"), (few, "few")):
        stream.write(part, REQUEST, tmp_path / name, workers=1)
    many, one = (pl.read_parquet(tmp_path / name / "truth" / "households-*.parquet") for name in ("many", "few"))
    assert many.filter(pl.col("lsoa21cd") == town.areas[5].lsoa).equals(one)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_loads_and_the_list_gives_the_truth(form: str, town: census.Census, tmp_path: Path):
    few = census.load_areas([area.lsoa for area in town.areas[:3]])
    stream.write(few, dataclasses.replace(REQUEST, form=form), tmp_path / "dirty", workers=1)
    clean = dataclasses.replace(REQUEST, dirty=False)
    stream.write(few, clean, tmp_path / "clean", workers=1)
    timeline = Timeline.of(REQUEST.period)
    for name in ("north", "common"):
        raw = [tmp_path / out / "suppliers" / name / "raw" for out in ("dirty", "clean")]
        wide = pl.read_parquet(raw[1] / "readings-*.parquet")
        meters = wide["meter_id"].unique().sort().cast(pl.Int64).to_numpy()
        faults = pl.read_parquet(tmp_path / "dirty" / "truth" / f"faults-{name}-*.parquet")
        none = pl.read_parquet(tmp_path / "clean" / "truth" / f"faults-{name}-*.parquet")
        got = oracle.restore(raw[0], exports.form_of(form, REQUEST.start), faults, meters, timeline)
        want = oracle.restore(raw[1], FORMATS["wide"], none, meters, timeline)
        assert set(none["kind"]) == {"clock_change"}
        np.testing.assert_array_equal(got, want)
    assert len(loaded(tmp_path / "dirty", "north", tmp_path / "store").kwh) > 0


def test_a_meter_that_counts_two_homes_is_read_in_watt_hours_too(town: census.Census, tmp_path: Path, monkeypatch):
    crowded = dataclasses.replace(frame.UNEVEN, shared_meter=0.5)
    monkeypatch.setitem(frame.FRAMES, "uneven", crowded)
    few = census.load_areas([town.areas[0].lsoa])
    request = dataclasses.replace(REQUEST, dirty=False, scale=0.2)
    stream.write(few, request, tmp_path / "out", workers=1)
    homes = pl.read_parquet(tmp_path / "out" / "truth" / "households-*.parquet")
    assert (homes["behind_meter_id"] > 0).sum() > 5
    for path in (tmp_path / "out" / "suppliers").rglob("readings-*.parquet"):
        values = pl.read_parquet(path).select(pl.selectors.float()).to_numpy()
        there = values[np.isfinite(values)]
        assert np.array_equal(np.round(there.astype(float), 3).astype(np.float32), there)


def test_what_was_asked_is_written_last(town: census.Census, tmp_path: Path):
    few = census.load_areas([town.areas[0].lsoa])
    stream.write(few, REQUEST, tmp_path / "out", workers=1)
    said = json.loads((tmp_path / "out" / "population.json").read_text())
    assert (said["seed"], said["start"], said["areas"], said["dirty"]) == (4, "2026-03-16", 1, True)
    with pytest.raises(RunError, match="not empty"):
        stream.write(few, REQUEST, tmp_path / "out", workers=1)


def test_a_full_disk_leaves_nothing(town: census.Census, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(chunk: chunks.Chunk) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(chunks, "generate", full)
    with pytest.raises(RunError, match="full"):
        stream.write(town, REQUEST, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weeks": 53}, "--weeks"),
        ({"weeks": 1}, "--weeks"),
        ({"start": datetime.date(1999, 1, 1)}, "--start"),
        ({"scale": 0.0}, "--scale"),
        ({"panel_fraction": 1.5}, "--panel"),
        ({"seed": -1}, "--seed"),
        ({"drift": float("nan")}, "--drift"),
        ({"frame": "odd"}, "--frame"),
        ({"form": "xls"}, "--format"),
    ],
)
def test_an_impossible_request_names_the_option(wrong: dict, says: str):
    with pytest.raises(RunError, match=says):
        stream.Request(**wrong)


def test_shares_that_do_not_add_up_are_refused(town: census.Census, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RunError, match="vacant"):
        frame.Amounts(vacant=1.2)
    with pytest.raises(RunError, match="response"):
        frame.Amounts(response=(1.0,))
    monkeypatch.setattr(p, "NOT_PARTICIPATING", 0.5)
    with pytest.raises(RunError, match="add up"):
        stream.write(town, REQUEST, tmp_path / "out", workers=1)


def test_the_command_writes_and_refuses(town: census.Census, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    codes = [area.lsoa for area in town.areas[:2]]
    (tmp_path / "codes.txt").write_text("\n".join(codes))
    words = ["simulate", "population", "--workers", "1", "--quiet", "--weeks", "2", "--out"]
    asked = [*words, str(tmp_path / "a"), "--lsoas", ",".join(codes), "--homes", "60", "--format", "lcl"]
    assert command.main(asked) == 0
    homes = pl.read_parquet(tmp_path / "a" / "truth" / "households-*.parquet")
    assert abs(homes.height - 60) <= 6
    again = [*words, str(tmp_path / "b"), "--lsoas", str(tmp_path / "codes.txt"), "--homes", "60", "--format", "lcl"]
    assert command.main(again) == 0
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    capsys.readouterr()
    for extra, code, says in (
        (["--lsoas", "E01999999"], 12, "E01999999"),
        (["--lsoas", ",".join(["E01999999"] * 900)], 12, "E01999999"),
        (["--lsoas", "no-such-file.txt"], 60, "--lsoas"),
        (["--area", "E07000026"], 12, "--census"),
        (["--homes", "9999999"], 60, "--homes"),
        (["--weeks", "60"], 60, "--weeks"),
        (["--dirty", "--format", "pdf"], 60, "--format"),
    ):
        assert command.main([*words, str(tmp_path / "c"), *extra]) == code
        assert says in capsys.readouterr().err
    assert command.main(["simulate", "--weeks", "4", "--quiet", "--out", str(tmp_path / "d")]) == 60
    assert "--weeks" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
