# SPDX-License-Identifier: Apache-2.0
"""Make the model of presence that a study may name in place of the rule: a file of the release.

    python tools/make_presence_model.py shared/skyglow_shared/models/presence_model_v1.json

The homes are simulated (no home's data is involved), of towns whose seeds are used for nothing else; their true
presence is known on every day. Trained without privacy, for there is nobody to protect. Minutes on one core; the same
numbers again on the same machine.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.presence import LEVELS, adam, correlation, joined, plainly, scores, town

from skyglow_shared.files import write_atomically
from skyglow_shared.models import temporal
from skyglow_shared.models.network import initial

_SEEDS, _SCALE, _HOMES = (20_260_011, 20_260_012, 20_260_013), 0.03, 1500
_STEPS, _BATCH, _RATE = 3000, 16, 2e-3
_JUDGED = 600  # homes of all towns on which the level is chosen


def main() -> int:
    """Write the file; return an exit code."""
    parser = argparse.ArgumentParser(description="Make the model of presence that a study may name.")
    parser.add_argument("out", type=Path, help="the file to write")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    homes = joined([town(seed, _SCALE, _HOMES) for seed in _SEEDS])
    network = temporal.network(homes.x.shape[1])
    batch = homes.batch(np.ones_like(homes.valid))
    weights = adam(initial(network, bytes(32)), plainly(batch, _STEPS, _BATCH), _RATE).astype(np.float32)
    judged = homes.part(slice(None, None, len(homes.x) // _JUDGED))
    log_odds = scores(weights.astype(np.float64), judged)
    found = [correlation(log_odds > level, judged) for level in LEVELS]
    level = round(float(LEVELS[int(np.argmax(found))]), 3)
    source = f"Simulated homes of Southampton, seeds {', '.join(map(str, _SEEDS))}; tools/make_presence_model.py"
    write_atomically(out, temporal.encoded(weights, level=level, source=source))
    print(f"{out}: MCC {max(found):.3f} at {level}, the rule {correlation(judged.rule, judged):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
