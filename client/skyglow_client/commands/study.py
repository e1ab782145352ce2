# SPDX-License-Identifier: Apache-2.0
"""``skyglow supplier study``: look at what was proposed, see what it would send, decide."""

import argparse

import numpy as np
from numpy.typing import NDArray

from skyglow_client.commands.terminal import Verbs, chosen, open_supplier, proposed, verb
from skyglow_client.gate import budget
from skyglow_client.gate.preview import BlockPreview, preview
from skyglow_client.supplier import Supplier
from skyglow_shared.layout import block_shape, share_block, sum_deviation, trains
from skyglow_shared.models.logistic import parameter_count
from skyglow_shared.privacy.sampling import epoch_of
from skyglow_shared.screen import folded, show
from skyglow_shared.study import Block, Model, Phase, Study

_SOURCES = {
    "gradient": "training half of the panel: the gradient of each home's loss, all together",
    "area_score": "every metered home: a count and its score, by LSOA",
    "class_score": "calibration half of the panel: a count, its score and the score's square, by composition class",
    "area_label": "calibration half of the panel: a count, and 1 or -1 by its label, by MSOA",
    "area_profile": "every metered home: its presence profile on a public basis, by MSOA",
    "diary_profile": "panel homes with a diary: presence by diary less presence by meter that day, all together",
    "area_histogram": "every metered home: a count in the bin of its score, by LSOA",
    "class_histogram": "calibration half of the panel: a count in the bin of its score, by composition class",
    "area_use": "every metered home: a count, its mean kWh by part of the day, and whether it is vacant, by LSOA",
    "area_use_histogram": "every metered home: a count in the bin of its mean kWh a day, by MSOA",
    "area_capped_count": "every metered home: a count by LSOA, in which you add no more homes than the cap",
}
_OF_BOTH_HALVES = {
    "class_score": f"{_SOURCES['class_score']}; and a count of the training half",
    "area_label": "every home of the panel, those that train too: a count, and 1 or -1 by its label, by MSOA",
}
_APART = (
    "panel      kept apart: no home is in its sums and in those of all others; you are charged the dearer of the two"
)
_LEARNS_PRESENCE = (
    "training half of the panel, homes with a diary: the gradient of each home's loss over its diary's half-hours, "
    "all together"
)
_STATES = {"": "awaits a decision", "approval": "approved", "refusal": "refused"}
_ROWS, _COLUMNS, _BYTES = 3, 6, 32
_FOR_YOUR_EYES = (
    "PREVIEW, for your eyes only. Made on your homes with noise that no round will use; nothing was charged, stored or",
    "sent. It is itself a noised view of your homes that nobody has accounted for: do not forward it.",
)


def register(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add the verbs of ``skyglow supplier study``."""
    verb(verbs, "list", _list, "list proposed studies")
    for name, function, text in (
        ("show", _show, "what a study asks, in plain words, and what it would cost"),
        ("preview", _preview, "what one round of each phase would send, made on your own homes; nothing is sent"),
        ("approve", _approve, "approve a study: sign it, and let its rounds be answered"),
        ("refuse", _refuse, "refuse a study"),
    ):
        verb(verbs, name, function, text).add_argument("study", help="the study's digest, or its first characters")


def _list(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        for identity, study in proposed(supplier).items():
            show(f"{identity[:12]}  {study.name}  {_STATES[supplier.gate.ledger.decision(identity)]}")
    return 0


def _show(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        identity, study = chosen(supplier, options.study)
        show(
            *folded("title      ", study.title),
            f"digest     {identity}",
            f"state      {_STATES[supplier.gate.ledger.decision(identity)]}",
            f"purpose    {study.purpose} ({study.legal_gateway})",
            *folded("why        ", study.public_good),
            f"homes      of {len(study.areas)} areas, readings of {study.period.start} to {study.period.end}",
            f"until      {study.expires}",
            f"trust      {_trust(study)}",
            *((_APART,) if study.panel_apart else ()),
            *folded("presence   ", _presence(study)),
            *(f"topic      {_topic(model)}" for model in study.answer_models),
        )
        for phase in study.phases:
            show("", f"{phase.name}: {phase.rounds} round{'s' * (phase.rounds > 1)}{_sample(phase)}")
            if phase.noise_multiplier:
                show(f"  all of it together: one home counts for at most 1/{phase.noise_multiplier:g} of the noise")
            for block in phase.blocks:
                show(*_describe(study, block))
        show("", *_cost(supplier, study))
        supplier.gate.check(study)
        show("", "Nothing else would leave. The policy allows this study; it is for you to approve or refuse.")
    return 0


def _sample(phase: Phase) -> str:
    """Which homes are in a round, told after the number of rounds."""
    if phase.sampling == "random_allocation":
        return f", each home in one of every {epoch_of(phase)}, drawn here once for them all"
    if phase.sampling_rate == 1:
        return ""
    most = f", at most {phase.largest_batch:,} homes in a round" if phase.largest_batch else ""
    return f", each home in with chance {phase.sampling_rate:g}{most}"


def _topic(model: Model) -> str:
    return f"{model.name}: homes whose {model.question} in the panel is {' or '.join(model.positive_classes)}"


def _presence(study: Study) -> str:
    if not any(block.source == "area_profile" for block in study.blocks):
        return _teller(study)
    return f"{_teller(study)}; curves of the day may be published by {' and '.join(study.occupancy.levels)}"


def _teller(study: Study) -> str:
    own = study.presence_model
    if own is not None:
        begun = f"the installed {own.start_model}" if own.start_model else "nothing"
        return (
            f"when homes are occupied is said by {own.name}, a model of {parameter_count(own):,} numbers, trained from "
            f"{begun} on diaries of your panel; what leaves of them is said below"
        )
    if not study.occupancy.model:
        return "when homes are occupied is said by the installed rule, from readings"
    return f"when homes are occupied is said by the installed model {study.occupancy.model}, from readings"


def _trust(study: Study) -> str:
    if study.aggregation is None:
        return "local: your share is private by itself"
    dropouts, colluders = study.aggregation.dropouts, study.aggregation.colluders
    return (
        f"aggregate: your share leaves under masks; of {len(study.suppliers)} suppliers {dropouts} may drop out and "
        f"{colluders} may tell the office all"
    )


def _cost(supplier: Supplier, study: Study) -> tuple[str, ...]:
    gate = supplier.gate
    found = budget.of_study(gate.policy, gate.ledger, study)
    cost = found.requested
    after = max(found.limit - found.after, 0.0)
    return (
        f"cost       epsilon {cost.epsilon_upper:.3f} at delta {cost.delta:g}, add or remove one household",
        f"remaining  epsilon {found.remaining:.3f} of the policy's {found.limit:g} without it, {after:.3f} with it",
    )


def _what(study: Study, block: Block) -> str:
    own = study.presence_model
    if own is not None and block.model == own.name:
        return _LEARNS_PRESENCE
    said = _OF_BOTH_HALVES[block.source] if block.counts_trainers else _SOURCES[block.source]
    said = said if trains(study) else said.replace("calibration half of the panel", "whole panel")
    return said.replace("home:", "home not of the panel:") if study.panel_apart else said


def _describe(study: Study, block: Block) -> tuple[str, ...]:
    groups, width = block_shape(study, block)
    part = share_block(study, block)
    noise = f"{sum_deviation(study, block, 1, 1):.4g}"
    whole = "" if part == block else f", in the sum of all at least {block.noise_multiplier * block.l2_bound:g}"
    topics = f"; for {', '.join(block.models)} together" if block.beside else ""
    steps = f"; added up over {block.local_steps} steps that each home takes by itself" if block.local_steps > 1 else ""
    return (
        f"  {block.name}: {_what(study, block)}{topics}{steps}",
        f"    {groups} × {width} numbers; one home counts for at most {block.l2_bound:g}, "
        f"noise {noise} on each number{whole}" + (f"; your own sums are held to {block.cap}" if block.cap else ""),
    )


def _preview(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        _, study = chosen(supplier, options.study)
        show(*_FOR_YOUR_EYES)
        for one in preview(study, supplier.homes(study), supplier.gate.name):
            rounds = f"one of {one.phase.rounds} rounds" if one.phase.rounds > 1 else "its one round"
            show("", f"{one.phase.name}: {rounds} sends {one.sent:,} bytes")
            if study.aggregation is None:
                show(f"  begins   {one.message[:_BYTES].hex(' ')} …")
            else:
                show("  the numbers below leave under masks alone, added to the other suppliers'")
            for block in one.blocks:
                show(*_numbers(block))
        show("", _FOR_YOUR_EYES[0].partition(".")[0] + ": do not forward it.")
    return 0


def _numbers(one: BlockPreview) -> tuple[str, ...]:
    groups, width = one.integers.shape
    lines = [f"  {one.block.name}: {groups} × {width} numbers"]
    for row in range(min(groups, _ROWS)):
        more = " …" * (width > _COLUMNS)
        lines.append(f"    row {row + 1}    {_row(one.values[row], '{:.4g}')}{more}")
        lines.append(f"      sent as {_row(one.integers[row], '{}')}{more}")
    if groups > _ROWS:
        lines.append(f"    … and {groups - _ROWS} more rows")
    return tuple(lines)


def _row(numbers: NDArray[np.float64] | NDArray[np.int64], form: str) -> str:
    return "  ".join(form.format(number) for number in numbers[:_COLUMNS].tolist())


def _approve(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        identity, study = chosen(supplier, options.study)
        cost = supplier.approve(identity).requested
        show(f"approved {study.name}: at most epsilon {cost.epsilon_upper:.3f} at delta {cost.delta:g}")
    return 0


def _refuse(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        identity, study = chosen(supplier, options.study)
        supplier.refuse(identity)
        show(f"refused {study.name}")
    return 0
