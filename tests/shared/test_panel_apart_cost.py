# SPDX-License-Identifier: Apache-2.0
"""A study that keeps its panel apart costs each home the dearer of two, and studies add up to no less than that."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyglow_shared.privacy.accounting import Event, adaptive_cost, merged, plan, study_cost

PANEL, OTHERS, ALL = (
    Event(noise, 1.0, 1, 9, cohort=cohort) for noise, cohort in ((4.0, "panel"), (5.0, "others"), (9.0, ""))
)
DELTA = 1e-6
NUMBERS = {"training": 23, "release": 42}


def everybody(event):
    """The same event, of all homes."""
    return msgspec.structs.replace(event, cohort="")


def test_a_plan_costs_the_dearer_of_what_the_two_cost():
    cost = study_cost([PANEL, OTHERS, ALL], DELTA)
    apart = [study_cost([everybody(one), ALL], DELTA) for one in (PANEL, OTHERS)]
    assert cost.epsilon_upper == pytest.approx(max(one.epsilon_upper for one in apart), rel=1e-9)
    assert cost.epsilon_lower == pytest.approx(max(one.epsilon_lower for one in apart), rel=1e-9)
    assert cost.epsilon_upper < study_cost([everybody(PANEL), everybody(OTHERS), ALL], DELTA).epsilon_upper


@pytest.mark.parametrize("events", [[PANEL], [OTHERS], [PANEL, ALL], [OTHERS, ALL]])
def test_of_one_cohort_alone_everything_counts(events):
    plain = [everybody(event) for event in events]
    assert study_cost(events, DELTA) == study_cost(plain, DELTA)
    assert adaptive_cost([events], DELTA) == adaptive_cost([plain], DELTA)


def test_a_home_of_one_studys_panel_may_be_among_the_others_of_the_next():
    """Two studies, one dear for its panel and one for the others: no home escapes both, some may be hit by both."""
    dear = Event(2.0, 1.0, 1, 9)
    first = [msgspec.structs.replace(dear, cohort="panel"), OTHERS]
    second = [PANEL, msgspec.structs.replace(dear, cohort="others")]
    assert adaptive_cost([first, second], DELTA) == pytest.approx(adaptive_cost([[dear], [dear]], DELTA), rel=1e-9)


COHORTS = st.builds(
    Event,
    st.sampled_from([1.0, 3.0, 8.0]),
    st.sampled_from([0.3, 1.0]),
    st.integers(1, 5),
    st.just(3),
    cohort=st.sampled_from(["", "panel", "others"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(COHORTS, min_size=1, max_size=4), min_size=1, max_size=3))
def test_no_home_whatever_panels_it_is_of_costs_more_than_the_total(studies):
    """Against the slow reference: every way in which a home may be of the panel of some studies and not of others."""
    total = adaptive_cost(studies, DELTA)
    ways = itertools.product(("panel", "others"), repeat=len(studies))
    for way in ways:
        own = [
            [everybody(event) for event in events if event.cohort in ("", cohort)]
            for events, cohort in zip(studies, way, strict=True)
        ]
        assert adaptive_cost(own, DELTA) <= total * (1 + 1e-9)


def test_what_a_full_sample_of_the_others_may_differ_by_is_taken_off_for_the_panel_too():
    """A home of the panel may push out another where samples have a cap, in a phase that it has no part in itself."""
    distance = 4e-16
    dear = msgspec.structs.replace(PANEL, noise_multiplier=2.0)
    capped = msgspec.structs.replace(OTHERS, distance=distance)
    found = study_cost([dear, capped], DELTA)
    assert found.epsilon_upper > study_cost([dear, OTHERS], DELTA).epsilon_upper + 1e-3
    itself = msgspec.structs.replace(dear, distance=distance)
    assert found.epsilon_upper == pytest.approx(study_cost([itself, OTHERS], DELTA).epsilon_upper, rel=1e-9)
    assert adaptive_cost([[dear, capped], [dear]], DELTA) > adaptive_cost([[dear, OTHERS], [dear]], DELTA) + 1e-3


def test_charges_of_two_cohorts_are_never_merged():
    assert len(merged([PANEL, everybody(PANEL), PANEL])) == 2


def test_a_phase_is_of_the_panel_only_if_all_its_blocks_are(study):
    """Where the panel is not kept apart, and in phases that mix, an event is of all homes."""
    apart = msgspec.structs.replace(study, panel_apart=True)
    assert {event.cohort for event in plan(study, NUMBERS)} == {""}
    assert [event.cohort for event in plan(apart, NUMBERS)] == ["panel", "others"]
    training, release = apart.phases
    joined = msgspec.structs.replace(
        release,
        blocks=(*release.blocks, msgspec.structs.replace(release.blocks[0], name="labels", source="area_label")),
    )
    mixed = msgspec.structs.replace(apart, phases=(training, joined))
    assert [event.cohort for event in plan(mixed, NUMBERS)] == ["panel", ""]


def test_a_ledger_of_before_reads_as_of_all_homes():
    plain = msgspec.json.encode(everybody(PANEL))
    assert b"cohort" not in plain
    assert msgspec.json.decode(plain, type=Event).cohort == ""
    assert msgspec.json.decode(msgspec.json.encode(PANEL), type=Event) == PANEL
