# SPDX-License-Identifier: Apache-2.0
"""Real areas peopled with a trial's homes: compositions from the census, meters from the trial.

Every household takes the features of a real home of its composition. The panel's households take homes of the parts
that train or calibrate, all others homes of the part that is kept for truth, so that no home is on both sides, and
truth counts only the latter. Sums of areas hold a twentieth of panel homes, as any real sum would.
"""

import io
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from skyglow_client.features.table import HomeFeatures, keep_features
from skyglow_client.learning.homes import calibrates
from skyglow_client.readings import store as stores
from skyglow_client.readings.meters import mark_of, pseudonyms_of
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.models import features
from skyglow_shared.study import Model, Study
from skyglow_simulations.population import census as census_tables
from skyglow_simulations.population import frame, generate, households, raw
from skyglow_simulations.population import parameters as p
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.randoms import number_of, random_of
from skyglow_simulations.population.trial import CALIBRATES, TRAINS, TRUE, Trial
from skyglow_simulations.run import Folder, Parameters

_DRAW, _FRAME, _SURVEY, _HOMES = 1, 2, 3, 8  # labels of generators


def ask(study: Study, trial: Trial, label: str) -> Study:
    """The study with the trial's features and label in place of its model's."""
    wanted = trial.label(label)

    if study.presence_model is not None:
        raise RunError(
            "a trial has no diaries to train on; give a study whose presence is by the rule or an installed model"
        )

    def asked(model: Model) -> Model:
        return msgspec.structs.replace(
            model,
            features=trial.contract.name,
            features_digest=trial.contract.digest,
            question="composition",
            positive_classes=wanted.positive_classes,
            score_centre=wanted.score_centre,
            score_width=wanted.score_width,
        )

    features.install(trial.contract)
    return msgspec.structs.replace(study, models=tuple(asked(model) for model in study.models))


def populate(census: Census, trial: Trial, study: Study, folder: Folder, parameters: Parameters) -> None:
    """Write truth, reference tables, and every supplier's store, features and panel; nothing if that is done.

    Every supplier must have its keys: which half of the panel a home is in follows from its pseudonym.
    """
    if (folder.truth / "done").exists():
        return
    for path in (folder.truth, folder.reference):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    plans = households.plan_areas(census, scale=parameters.scale, seed=parameters.seed)
    homes = pl.concat([_area(code, plan, parameters) for code, plan in zip(_codes(census), plans, strict=True)])
    homes = homes.with_columns(pl.Series("trial_home", _take(homes, trial, study, folder, parameters.seed)))
    homes.write_parquet(folder.truth / "households.parquet")
    np.save(folder.truth / "occupied.npy", np.full((len(plans), 2, 48), np.nan))
    census_tables.write_areas(census, [int(plan.classes.sum()) for plan in plans], folder.reference / "areas.csv")
    if census.boundaries is not None:
        write_atomically(folder.reference / "msoa.geojson", json.dumps(census.boundaries).encode())
    for index, name in enumerate(p.SUPPLIERS):
        _supply(homes.filter(pl.col("supplier") == index), trial, study, folder.supplier(name))
    write_atomically(folder.truth / "done", b"")


def _codes(census: Census) -> tuple[str, ...]:
    return generate.census_codes(census)


def _area(code: str, plan: households.AreaPlan, parameters: Parameters) -> pl.DataFrame:
    """One area's households: composition, meter, and whether they are in the panel."""
    seed, area = parameters.seed, number_of(code)
    homes = households.draw(plan, random_of(seed, _DRAW, area))
    market = frame.market_of(seed, 0, frame.EVEN)
    drawn = frame.draw_frame(homes, area, 1, market, frame.EVEN, random_of(seed, _FRAME, area))
    survey = frame.draw_survey(
        homes.composition, np.array([0, 1]), parameters.panel_fraction, frame.EVEN, random_of(seed, _SURVEY, area)
    )
    return pl.DataFrame(
        {
            "lsoa21cd": [code] * len(homes.size),
            "composition": homes.composition,
            "metered": drawn.metered,
            "supplier": drawn.supplier,
            "meter_id": drawn.meter_id,
            "panel": survey.panel,
            "counts": ~survey.panel,
        }
    )


def _take(homes: pl.DataFrame, trial: Trial, study: Study, folder: Folder, seed: int) -> NDArray[np.int64]:
    """Which of the trial's homes each household has."""
    part = np.full(homes.height, TRUE, np.int8)
    supplier, panel = homes["supplier"].to_numpy(), homes["panel"].to_numpy()
    part[panel] = TRAINS
    for index, name in enumerate(p.SUPPLIERS):
        rows = np.flatnonzero(panel & (supplier == index))
        pseudonyms = pseudonyms_of(homes["meter_id"][rows].cast(pl.String), _key(folder.supplier(name)))
        part[rows[calibrates(study, pseudonyms)]] = CALIBRATES
    split, kinds = trial.split(seed), homes["composition"].to_numpy()
    rng = random_of(seed, _HOMES)
    taken = np.empty(homes.height, np.int64)
    for kind in range(int(kinds.max()) + 1):
        for number in (TRAINS, CALIBRATES, TRUE):
            rows = (kinds == kind) & (part == number)
            pool = np.flatnonzero((trial.composition == kind) & (split == number))
            taken[rows] = rng.choice(pool, int(rows.sum()))
    return taken


def _key(supplier: Path) -> bytes:
    return (supplier / "pseudonym.key").read_bytes()


def _supply(own: pl.DataFrame, trial: Trial, study: Study, supplier: Path) -> None:
    """Write a supplier's store without readings, the features that came with the trial, and its panel."""
    pseudonyms = pseudonyms_of(own["meter_id"].cast(pl.String), _key(supplier))
    order = np.lexsort(pseudonyms.T[::-1])
    own, pseudonyms = own[order], pseudonyms[order]
    days = study.period.days
    table = pl.DataFrame(
        {
            "pseudonym": [row.tobytes() for row in pseudonyms],
            "lsoa21cd": own["lsoa21cd"],
            "valid_days": np.zeros(own.height, np.int16),
        },
        schema={"pseudonym": pl.Binary, "lsoa21cd": pl.String, "valid_days": pl.Int16},
    )
    with stores.incoming(supplier / "store") as incoming:
        content = io.BytesIO()
        table.write_parquet(content)
        (incoming / "homes.parquet").write_bytes(content.getvalue())
        np.save(incoming / "kwh.npy", np.full((own.height, days, 48), np.nan, np.float32))
        np.save(incoming / "valid.npy", np.zeros((own.height, days), np.bool_))
        stores.publish(supplier / "store", incoming, start=study.period.start, days=days, key=mark_of(_key(supplier)))
    profile = np.zeros((own.height, 2, 48), np.float32)  # a trial without readings says nothing of presence
    given = HomeFeatures(trial.x[own["trial_home"].to_numpy()], profile)
    keep_features(supplier / "store", given, week_start=study.feature_week, name=trial.contract.name)
    asked = own.filter("panel")
    panel = raw.panel_table(asked["meter_id"].to_numpy(), {"composition": asked["composition"].to_numpy()})
    (supplier / "raw").mkdir(exist_ok=True)
    write_atomically(supplier / "raw" / "panel.csv", panel.write_csv().encode())
