# SPDX-License-Identifier: Apache-2.0
"""The words of a study: what homes are sorted by, what the panel is asked, under which law, what a home contributes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

#: The household compositions that the panel survey records, in the order of every class-indexed array.
COMPOSITION_CLASSES = (
    "one_person_66_plus",
    "family_66_plus",
    "one_person_under_66",
    "family_no_dependent_children",
    "family_dependent_children",
    "other",
)

#: The panel survey's questions and their answers, in the order of every array indexed by answer. A household of 8 is
#: one of eight or more people; paid work is that of anybody in it.
QUESTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "composition": COMPOSITION_CLASSES,
        "household_size": tuple("12345678"),
        "paid_work": ("nobody", "somebody"),
    }
)

#: Kinds of areas that figures are made for, smallest first: each lies in one of the next.
AreaLevel = Literal["LSOA", "MSOA", "LAD"]

#: The laws under which the office may ask; a study names one.
LEGAL_GATEWAYS = (
    "Statistics and Registration Service Act 2007",
    "Digital Economy Act 2017",
    "Simulated data: no gateway needed",
)

#: What a home contributes to a block, and by which group its vectors are added; `layout.block_shape` says the columns.
Source = Literal[
    "gradient",  # training half of the panel: gradient of the home's loss; one group
    "area_score",  # every metered home: (1, score); by LSOA
    # calibration half: (1, score, score²); by composition class, and by label for another question; training half: 1
    "class_score",
    "area_label",  # calibration half, or the whole panel: (1, ±1 by label); by MSOA
    "area_profile",  # every metered home: projected presence profile; by MSOA
    "diary_profile",  # panel homes with a diary, less their meter; one group
    "area_capped_count",  # every metered home: 1; by LSOA, each supplier's own sum held to the block's cap
    "area_histogram",  # every metered home: 1 in the bin of its score, 0 in the others; by LSOA
    "class_histogram",  # calibration half: the same; by composition class
    "area_use",  # every metered home: mean kWh by part of the day, whether held, whether vacant; by LSOA
    "area_use_histogram",  # every metered home: 1 in the bin of its mean kWh a day; by MSOA
]
Question = Literal["composition", "household_size", "paid_work"]

#: Whether the office sees each supplier's noised sums, or only what those of all come to.
TrustMode = Literal["local", "aggregate"]

#: Sources that only homes of the panel are in; in the others every metered home is, or, where a study keeps its panel
#: apart, every one that is not of the panel.
OF_THE_PANEL: frozenset[Source] = frozenset(
    {"gradient", "class_score", "area_label", "diary_profile", "class_histogram"}
)
