# SPDX-License-Identifier: Apache-2.0
"""What pages say that built-in studies cost is what they cost."""

import math
from pathlib import Path

import msgspec
import pytest

from skyglow_shared.layout import all_round_numbers
from skyglow_shared.privacy.accounting import adaptive_cost, plan, study_cost
from skyglow_simulations.experiment import drafted
from skyglow_simulations.run import Parameters

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
DELTA = 1e-6


def events(name):
    study = drafted(Parameters(study=name))[1]
    assert study.delta == DELTA
    return plan(study, all_round_numbers(study))


def planned(found):
    return f"{study_cost(found, DELTA).epsilon_upper:.2f}"


def text_of(page):
    return " ".join((HOW_TO / page).read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("page", "words", "study"),
    [
        ("choose-topics.md", "the study costs ε {}", "southampton-households"),
        ("choose-topics.md", "single topic costs {}", "southampton"),
        ("use-the-presence-model.md", "and curves, {}", "southampton-presence"),
    ],
)
def test_a_page_says_what_a_study_costs(page, words, study):
    assert words.format(planned(events(study))) in text_of(page)


@pytest.mark.parametrize("studies", [1, 2, 3])
def test_a_page_says_what_several_dates_cost_and_what_a_ledger_counts(studies):
    one = events("southampton")
    counted = f"{adaptive_cost([one] * studies, DELTA):.2f}"
    assert f"| {studies} | {planned(one * studies)} | {counted} |" in text_of("compare-two-dates.md")


def test_a_page_says_what_two_dates_cost_with_more_noise():
    quiet = tuple(
        msgspec.structs.replace(one, noise_multiplier=math.sqrt(2) * one.noise_multiplier)
        for one in events("southampton")
    )
    words = f"then has ε {planned(quiet)} by itself, and the two together {planned(quiet * 2)}."
    assert words in text_of("compare-two-dates.md")


def test_a_page_says_what_training_presence_costs_as_built_in_and_as_measured():
    text, (training, *_) = text_of("use-the-presence-model.md"), events("southampton-presence")
    assert f"noise_multiplier = {training.noise_multiplier} ```" in text
    assert f"This training alone costs ε = {planned([training])} at" in text
    measured = msgspec.structs.replace(training, noise_multiplier=6.0)
    assert f"a noise multiplier of 6.0 (ε = {planned([measured])}):" in text
