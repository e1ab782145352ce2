# SPDX-License-Identifier: Apache-2.0
"""What pages say that built-in studies cost is what they cost."""

from pathlib import Path

import pytest

from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_simulations.experiment import drafted
from skyglow_simulations.run import Parameters

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"


def cost(name):
    study = drafted(Parameters(study=name))[1]
    return study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper


@pytest.mark.parametrize(
    ("page", "words", "study"),
    [
        ("choose-topics.md", "the study costs ε {}", "southampton-households"),
        ("choose-topics.md", "single topic costs {}", "southampton"),
        ("compare-two-dates.md", "| 1 | {} |", "southampton"),
        ("use-the-presence-model.md", "and curves, {}", "southampton-presence"),
    ],
)
def test_a_page_says_what_a_study_costs(page, words, study):
    text = " ".join((HOW_TO / page).read_text(encoding="utf-8").split())
    assert words.format(f"{cost(study):.2f}") in text
