# SPDX-License-Identifier: Apache-2.0
"""The model of presence by half-hour: convolutions along the day and across days, over inputs with public bounds."""

from skyglow_shared.models.features import Feature, FeatureContract
from skyglow_shared.models.network import SLOTS, Layer, Network

#: What goes in at each half-hour, in order. The home's own levels are of its own readings over the period.
CONTRACT = FeatureContract(
    "half-hours-v1",
    (
        Feature("kwh", "log", 0.005, 4.0),
        Feature("level_between_own_idle_and_busy", "none", -1.0, 2.0),
        Feature("sine_of_the_time_of_day", "none", -1.0, 1.0),
        Feature("cosine_of_the_time_of_day", "none", -1.0, 1.0),
        Feature("weekend", "none", 0.0, 1.0),
        Feature("presence_by_the_rule", "none", 0.0, 1.0),
    ),
)

_CHANNELS = 32


def network(days: int) -> Network:
    """The network for homes of so many days: log-odds that somebody is home, ``[homes, days, 48, 1]``.

    It looks along the day, across days and along the day again: a half-hour is judged by the six hours around it, on
    its own day and on those before and after.
    """
    layers = (
        Layer(len(CONTRACT.features), _CHANNELS, 1, 7),
        Layer(_CHANNELS, _CHANNELS, 3, 1),
        Layer(_CHANNELS, _CHANNELS, 1, 5),
        Layer(_CHANNELS, 1),
    )
    return Network(layers, (days, SLOTS))
