# SPDX-License-Identifier: Apache-2.0
"""From half-hours to features: what models and occupancy estimates see of a home."""

from skyglow_client.features.class22 import class22
from skyglow_client.features.presence import day_profile, presence_rule
from skyglow_client.features.table import HomeFeatures, build_features

__all__ = ["HomeFeatures", "build_features", "class22", "day_profile", "presence_rule"]
