# SPDX-License-Identifier: Apache-2.0
"""A small sound study as plain data, for every test of the shared package."""

import copy

import msgspec
import pytest

from skyglow_shared.study import Block, Study
from skyglow_shared.vocabulary import LEGAL_GATEWAYS

_PLAIN = {
    "protocol": 1,
    "name": "two-towns",
    "title": "Who is home in two towns",
    "purpose": "testing",
    "legal_gateway": LEGAL_GATEWAYS[-1],
    "public_good": "None: it is made up.",
    "reference_date": "2026-03-21",
    "expires": "2026-12-31",
    "trust_mode": "aggregate",
    "aggregation": {"dropouts": 0, "colluders": 0},
    "epsilon": 4.0,
    "delta": 1e-6,
    "period": {"start": "2026-03-09", "days": 28},
    "feature_week": "2026-03-16",
    "feature_weeks": 2,
    "vintage": "2021",
    "areas": [
        ["E01000001", "E02000001", "E06000001"],
        ["E01000002", "E02000001", "E06000001"],
        ["E01000003", "E02000002", "E06000001"],
    ],
    "households": 5000,
    "supplier_households": 4000,
    "panel_apart": False,
    "models": [
        {
            "name": "all_aged_66_plus",
            "kind": "logistic",
            "features": "week_v1",
            "features_digest": "ab" * 32,
            "question": "composition",
            "positive_classes": ["one_person_66_plus", "family_66_plus"],
            "learning_rate": 0.5,
            "momentum": 0.25,
            "score_centre": -0.5,
            "score_width": 2.0,
            "start_model": "",
            "start_digest": "",
        }
    ],
    "occupancy": {
        "basis": "presence_basis_v2",
        "basis_digest": "cd" * 32,
        "model": "",
        "model_digest": "",
        "levels": ["MSOA", "LAD"],
    },
    "phases": [
        {
            "name": "training",
            "rounds": 40,
            "sampling": "poisson",
            "largest_batch": 0,
            "sampling_rate": 0.5,
            "expected_homes": 200,
            "noise_multiplier": 0.0,
            "blocks": [
                {
                    "name": "gradient",
                    "source": "gradient",
                    "model": "all_aged_66_plus",
                    "l2_bound": 1.0,
                    "noise_multiplier": 8.0,
                    "cap": 0,
                    "local_steps": 1,
                    "local_rate": 0.0,
                    "counts_trainers": False,
                }
            ],
        },
        {
            "name": "release",
            "rounds": 1,
            "sampling": "poisson",
            "largest_batch": 0,
            "sampling_rate": 1.0,
            "expected_homes": 4000,
            "noise_multiplier": 0.0,
            "blocks": [
                {
                    "name": "area_scores",
                    "source": "area_score",
                    "model": "all_aged_66_plus",
                    "l2_bound": 1.5,
                    "noise_multiplier": 4.0,
                    "cap": 0,
                    "local_steps": 1,
                    "local_rate": 0.0,
                    "counts_trainers": False,
                },
                {
                    "name": "profiles",
                    "source": "area_profile",
                    "model": "",
                    "l2_bound": 0.5,
                    "noise_multiplier": 6.0,
                    "cap": 0,
                    "local_steps": 1,
                    "local_rate": 0.0,
                    "counts_trainers": False,
                },
            ],
        },
    ],
    "thresholds": {"least_homes": 50, "least_suppliers": 3, "largest_share": 0.8},
    "office_key": "01" * 32,
    "suppliers": [
        {"name": "north", "public_key": "0a" * 32},
        {"name": "south", "public_key": "0b" * 32},
    ],
}


@pytest.fixture
def plain():
    """The study as plain data; a fresh copy for each test."""
    return copy.deepcopy(_PLAIN)


@pytest.fixture(scope="session")
def study():
    return msgspec.convert(_PLAIN, type=Study)


@pytest.fixture(scope="session")
def make_block():
    def make(l2_bound=1.0, noise_multiplier=4.0, source="area_score"):
        return Block(name="block", source=source, l2_bound=l2_bound, noise_multiplier=noise_multiplier)

    return make
