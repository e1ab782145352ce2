# SPDX-License-Identifier: Apache-2.0
"""Print where a study's models may begin training, and how their scores are best cut, as lines for its TOML.

    python tools/make_model_start.py simulations/skyglow_simulations/studies/southampton.toml

The homes are simulated (no home's data is involved), from the census extract that ships with skyglow and a seed used
for nothing else. They are those of 2009, as in the calibration against real trials: no electric cars, no solar panels,
nobody working from home. A start made from public data would be as much out of date, and private training mends it.
Each model is fitted to their features and true answers, without privacy, for there is nobody to protect. Centre and
width of scores are then those by which the study's own noised sums say most of areas' shares
(`skyglow_simulations.score_bounds`).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from skyglow_client.features.class22 import class22
from skyglow_client.learning.contributions import labels
from skyglow_shared.models import features
from skyglow_shared.study import Period
from skyglow_simulations import score_bounds
from skyglow_simulations.experiment import drafted
from skyglow_simulations.population import calibration, presence
from skyglow_simulations.population.calibration_models import fitted
from skyglow_simulations.run import Parameters

_SEED = 20_260_001
_SCALE = 0.2
_RIDGE = 5.0


def main() -> int:
    """Print lines for each model; return an exit code."""
    parser = argparse.ArgumentParser(description="Make what a study's models may begin from, and how scores are cut.")
    parser.add_argument("study", type=Path, help="the study's TOML")
    _, study = drafted(Parameters(study=str(parser.parse_args().study)))
    period = Period(study.feature_week, 7 * study.feature_weeks)
    homes = calibration.simulate(period, scale=_SCALE, seed=_SEED)
    answers = {"composition": homes.composition, "household_size": homes.size - 1, "paid_work": homes.works}
    kwh = np.where(presence.exists(period).all(axis=1)[:, None], homes.kwh, np.nan)
    weeks = [class22(kwh[:, day : day + 7]) for day in range(0, period.days, 7)]
    logits, positive = {}, {}
    for model in study.answer_models:
        x, usable = features.averaged(features.contract(model.features), weeks)
        own = positive[model.name] = labels(model, answers[model.question][usable]) > 0
        weights = fitted(x[usable], own, _RIDGE)
        logits[model.name] = x[usable] @ weights[:-1] + weights[-1]
        print(f"{model.name}: start = [{', '.join(f'{weight:.2f}' for weight in weights)}]", flush=True)
    for block, noise in score_bounds.score_blocks(study):
        given = (np.stack([column[name] for name in block.models], axis=1) for column in (logits, positive))
        for name, cut in zip(block.models, score_bounds.best(*given, noise), strict=True):
            print(f"{name}: score_centre = {cut.centre}, score_width = {cut.width}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
