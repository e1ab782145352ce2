# SPDX-License-Identifier: Apache-2.0
"""The second built-in study is sound, asks what it says, and keeps to its budget."""

from importlib import resources

import pytest

from skyglow_server.draft import draft
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.study import Area, Supplier

AREAS = tuple(Area(f"E0101000{n}", f"E0200000{n // 2}", "E06000001") for n in range(4))
ROSTER = tuple(Supplier(name=f"s{n}", public_key=f"{n:064x}") for n in range(6))


@pytest.fixture
def drafted():
    def make(scale):
        template = resources.files("skyglow_simulations") / "studies" / "southampton-electricity.toml"
        with resources.as_file(template) as path:
            return draft(path, areas=AREAS, office_key="0" * 64, suppliers=ROSTER, scale=scale)

    return make


def test_it_asks_for_use_and_how_homes_are_spread_within_its_budget(drafted):
    study = drafted(1.0)
    sources = {block.source for block in study.blocks}
    assert {"area_use", "area_use_histogram", "area_capped_count"} < sources
    assert study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper <= study.epsilon


def test_a_trial_on_part_of_the_homes_has_a_cap_to_match(drafted):
    caps = [max(block.cap for block in drafted(scale).blocks) for scale in (1.0, 0.1, 1e-6)]
    assert caps == [100, 10, 1]
