# SPDX-License-Identifier: Apache-2.0
"""Two mask seeds of 256 bits that give one mask: they are folded to 32 bits."""

import json
import os

import numpy as np
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

seed = os.urandom(32)
other = seed[4:8] + seed[:4] + bytes(byte ^ 0xA5 for byte in seed[8:12] + seed[12:16]) + seed[16:]
masks = [pseudo_rand_gen(each, 1 << 32, [(1000,)])[0] for each in (seed, other)]
print(json.dumps({"succeeded": seed != other and bool(np.array_equal(*masks)), "seed_bits": 8 * len(seed)}))
