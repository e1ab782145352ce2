# SPDX-License-Identifier: Apache-2.0
"""Sums over homes of clipped gradients: little slower than training without privacy, each home within its bound.

`clipped_sum` is the mathematics, in floating point; `exact_sum` is what the gate adds noise to. Both take the fastest
way for the network at hand, found once by a short timing on zeros, unless told which.
"""

from skyglow_client.learning.clipped_sums.batch import Batch
from skyglow_client.learning.clipped_sums.choice import METHODS, Method, clipped_sum, exact_sum, fastest
from skyglow_client.learning.clipped_sums.rounding import DOUBLE, SINGLE, Arithmetic

__all__ = ["DOUBLE", "METHODS", "SINGLE", "Arithmetic", "Batch", "Method", "clipped_sum", "exact_sum", "fastest"]
