# SPDX-License-Identifier: Apache-2.0
"""Make the public presence basis: mean curves and the components along which homes differ most.

    python tools/make_presence_basis.py --components 4 --out shared/skyglow_shared/models/presence_basis_v2.json

The homes are simulated (no home's data is involved), from the census extract that ships with skyglow and a seed used
for nothing else; they are of 2014, when the last large time-use survey was made and few worked from home, as a public
curve would be. For each day type the components are the leading eigenvectors of the covariance, over homes, of the
share of days on which somebody is home, lightly smoothed along the day. A released basis is never changed under its
name.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.study import Period
from skyglow_simulations.population import census, households, parameters, presence

_SEED = 20_260_000
_WORKED_AT_HOME_IN_2014 = 0.05  # of workers, on a given weekday (ONS, Labour Force Survey)
_PERIOD = Period(datetime.date(2026, 3, 9), 28)


def main() -> int:
    """Write the basis; return an exit code."""
    parser = argparse.ArgumentParser(description="Make the public presence basis.")
    parser.add_argument("--components", type=int, default=4)
    parser.add_argument("--district", default="E06000045")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    parameters.WORKS_AT_HOME = _WORKED_AT_HOME_IN_2014  # type: ignore[misc] # a constant everywhere but here
    profiles = _profiles(options.district)
    mean = profiles.mean(axis=0)
    components = np.stack([_leading(profiles[:, kind], options.components) for kind in range(2)])
    plain = {
        "source": "simulated homes, tools/make_presence_basis.py",
        "mean": mean.round(4).tolist(),
        "components": components.round(6).tolist(),
    }
    options.out.write_text(json.dumps(plain) + "\n", encoding="utf-8")
    return 0


def _profiles(district: str) -> NDArray[np.float64]:
    """Share of weekdays and weekend days with somebody home, [homes, 2, 48]."""
    plans = households.plan_areas(census.load(district), scale=0.2, seed=_SEED)
    kinds = presence.day_types(_PERIOD)
    parts = []
    for area, plan in enumerate(plans):
        rng = households.random_of(_SEED, 1, area)
        occupied = presence.simulate(households.draw(plan, rng), _PERIOD, rng).occupied
        parts.append(np.stack([occupied[:, kinds == 0].mean(axis=1), occupied[:, kinds > 0].mean(axis=1)], axis=1))
    return np.concatenate(parts)


def _leading(profiles: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    kernel = np.array([0.25, 0.5, 0.25])
    covariance = np.cov(profiles.T)
    _, vectors = np.linalg.eigh(covariance)
    leading = vectors.T[::-1][:count]
    smooth = np.stack([np.convolve(np.pad(vector, 1, mode="wrap"), kernel, "valid") for vector in leading])
    orthonormal = np.linalg.qr(smooth.T)[0].T
    signs: NDArray[np.float64] = np.sign(orthonormal.sum(axis=1, keepdims=True))
    return orthonormal * signs


if __name__ == "__main__":
    sys.exit(main())
