# SPDX-License-Identifier: Apache-2.0
"""Print the parameters that a study's models may begin training from, as lines for its TOML.

    python tools/make_model_start.py simulations/skyglow_simulations/studies/southampton.toml

The homes are simulated (no home's data is involved), from the census extract that ships with skyglow and a seed used
for nothing else. They are those of 2009, as in the calibration against real trials: no electric cars, no solar panels,
nobody working from home. A start made from public data would be as much out of date, and private training mends it.
Each model is fitted to their features and true answers, without privacy, for there is nobody to protect.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import msgspec

from skyglow_client.features.class22 import class22
from skyglow_client.learning.contributions import labels
from skyglow_shared.models import features
from skyglow_shared.study import Model, Period
from skyglow_simulations.population import calibration
from skyglow_simulations.population.calibration_models import fitted

_SEED = 20_260_001
_SCALE = 0.2
_RIDGE = 5.0


def main() -> int:
    """Print one line a model; return an exit code."""
    parser = argparse.ArgumentParser(description="Make the parameters that a study's models may begin from.")
    parser.add_argument("study", type=Path, help="the study's TOML")
    plain = tomllib.loads(parser.parse_args().study.read_text(encoding="utf-8"))
    days = 7 * plain.get("feature_weeks", 1)
    homes = calibration.simulate(Period(plain["feature_week"], days), scale=_SCALE, seed=_SEED)
    answers = {"composition": homes.composition, "household_size": homes.size - 1, "paid_work": homes.works}
    weeks = [class22(homes.kwh[:, day : day + 7].astype(float)) for day in range(0, days, 7)]
    for written in plain["models"]:
        contract = features.contract(written["features"])
        model = msgspec.convert({**written, "features_digest": contract.digest}, type=Model)
        x, usable = features.averaged(contract, weeks)
        weights = fitted(x[usable], labels(model, answers[model.question][usable]), _RIDGE)
        print(f"{model.name}: start = [{', '.join(f'{weight:.2f}' for weight in weights)}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
