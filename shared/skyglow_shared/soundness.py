# SPDX-License-Identifier: Apache-2.0
"""Whether a study makes sense: decode it from its signed bytes, and list every contradiction within it."""

from collections.abc import Iterable
from typing import get_args

import msgspec

from skyglow_shared.errors import StudyError
from skyglow_shared.layout import label_length, trains
from skyglow_shared.models.features import HALF_HOURS
from skyglow_shared.models.logistic import first_weights, parameter_count
from skyglow_shared.models.temporal import CHANNELS, installed
from skyglow_shared.privacy.accounting import taken_off_delta
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.privacy.sampling import combined_multiplier, epoch_of, excess, largest_supplier
from skyglow_shared.secagg.session import Parameters
from skyglow_shared.study import QUESTIONS, Block, Model, Phase, Study, canonical_bytes
from skyglow_shared.vocabulary import LEGAL_GATEWAYS, AreaLevel

_SHARED_BY_MODELS = ("gradient", "area_score", "class_score", "area_label")
_COUNT_TRAINERS = ("class_score", "area_label")
_LEAST_EPOCH = 2
_MOST_CHANNELS = 64  # of a temporal model: a home's half-hours go through all of them
_CLOSE = 1e-6  # how far an epoch's rounds times the sampling rate may be from 1, for decimals are not thirds
_SHARE_OF_DELTA = 0.01  # the most that a cap on samples may cost


_WITHOUT_MODEL = frozenset({"area_profile", "diary_profile", "area_capped_count", "area_use", "area_use_histogram"})
_NEEDS = {"area_use_histogram": "area_use", "area_histogram": "class_histogram", "class_histogram": "area_histogram"}
_OTHER_TABLES = frozenset({"occupancy", "electricity-use"})
_BY_COMPOSITION = frozenset({"area_histogram", "class_histogram"})


def decode_study(canonical: bytes) -> Study:
    """Decode canonical bytes and check them; StudyError if they are not a sound study in canonical form."""
    try:
        study = msgspec.json.decode(canonical, type=Study)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StudyError(f"the study cannot be read: {error}; ask the office for a study of this version") from None
    if canonical_bytes(study) != canonical:
        raise StudyError("the study is not in canonical form; ask the office to sign it again with `skyglow`")
    check(study)
    return study


def check(study: Study) -> None:
    """Raise one StudyError that lists every contradiction within the study; return if there is none."""
    problems = list(_problems(study))
    if problems:
        raise StudyError("the study contradicts itself: " + "; ".join(problems))


def _problems(study: Study) -> Iterable[str]:
    yield from _naming_problems(study)
    if list(study.lsoas) != sorted(study.lsoas):
        yield "areas must be sorted by LSOA code"
    if len({(area.msoa, area.lad) for area in study.areas}) != len(study.msoas):
        yield "an MSOA must lie in one district"
    if study.legal_gateway not in LEGAL_GATEWAYS:
        yield f"legal_gateway must be one of {', '.join(LEGAL_GATEWAYS)}"
    offset = (study.feature_week - study.period.start).days
    if study.feature_week.weekday() != 0 or not 0 <= offset <= study.period.days - 7 * study.feature_weeks:
        yield "feature_week must be a Monday whose whole week lies in the period, with all feature_weeks from it"
    if study.delta > 1 / (10 * study.households):
        yield "delta must be at most 1 / (10 × households)"
    if study.supplier_households > study.households:
        yield "supplier_households must be at most households"
    yield from _presence_problems(study)
    yield from _aggregation_problems(study)
    for phase in study.phases:
        yield from _sampling_problems(study, phase)
        yield from _common_bound_problems(phase)
    if not _survives(study):
        yield "every number must be finite and every field within its limits"


def _presence_problems(study: Study) -> Iterable[str]:
    levels = list(study.occupancy.levels)
    if not levels or levels != [level for level in get_args(AreaLevel) if level in levels]:
        yield f"levels of occupancy must be one or more of {', '.join(get_args(AreaLevel))}, in this order, each once"
    if bool(installed(study)) != bool(study.occupancy.model_digest):
        yield "occupancy must have a model_digest if and only if it names a model that is not the study's own"
    temporal = {model.name for model in study.models if model.kind == "temporal"}
    if temporal and temporal != {study.occupancy.model}:
        yield "a temporal model must be the only one of its kind, and the one that occupancy names"
    if study.presence_model is not None and not temporal:
        yield "the study's own model that occupancy names must be temporal"
    sources = {block.source for block in study.blocks if temporal & set(block.models)}
    if sources - {"gradient"}:
        yield "a temporal model has gradients alone; it is used by area_profile and diary_profile, which name no model"


def _aggregation_problems(study: Study) -> Iterable[str]:
    if (study.trust_mode == "aggregate") != (study.aggregation is not None):
        yield "aggregation (dropouts, colluders) must be given if and only if trust_mode is 'aggregate'"
    elif study.aggregation is not None:
        try:
            Parameters(len(study.suppliers), study.aggregation.dropouts, study.aggregation.colluders)
        except StudyError as error:
            yield str(error)


def _sampling_problems(study: Study, phase: Phase) -> Iterable[str]:
    if phase.sampling == "random_allocation":
        epoch = epoch_of(phase) if 0 < phase.sampling_rate <= 1 else 0
        if epoch < _LEAST_EPOCH or abs(epoch * phase.sampling_rate - 1) > _CLOSE or phase.rounds % epoch:
            yield (
                f"sampling_rate of phase {phase.name} must be 1 over the rounds of an epoch, at least two, and its "
                "rounds whole epochs, for each home to be in one round of each"
            )
        if phase.largest_batch:
            yield f"largest_batch of phase {phase.name} is for Poisson samples alone"
    elif phase.largest_batch and not _cap_costs_little(study, phase, phase.largest_batch):
        yield (
            f"largest_batch of phase {phase.name} would be reached too often to be charged for, by a supplier of "
            f"{largest_supplier(study):,} homes; let it be at least {_least_cap(study, phase):,}, or leave it out"
        )


def _common_bound_problems(phase: Phase) -> Iterable[str]:
    """A bound for all blocks must bind, and leave each block its own; gradients are clipped without being made."""
    if not phase.noise_multiplier or not phase.blocks:
        return
    unheld = combined_multiplier(msgspec.structs.replace(phase, noise_multiplier=0.0))
    if not unheld < phase.noise_multiplier < min(block.noise_multiplier for block in phase.blocks):
        yield (
            f"noise_multiplier of phase {phase.name} must be above {unheld:.4g}, which its blocks come to without it, "
            "and below that of each of them; or leave it out"
        )
    if trains(phase):
        yield f"noise_multiplier of phase {phase.name} is for phases that measure, not for one that trains"


def _cap_costs_little(study: Study, phase: Phase, largest: int) -> bool:
    """Whether a cap on samples takes at most a hundredth of delta: epsilon rises by far less than a hundredth."""
    distance = phase.rounds * excess(largest_supplier(study), phase.sampling_rate, largest)
    return taken_off_delta(distance) <= _SHARE_OF_DELTA * study.delta


def _least_cap(study: Study, phase: Phase) -> int:
    """The smallest cap that costs little, by bisection; all homes of a supplier always do."""
    low, high = 0, largest_supplier(study)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _cap_costs_little(study, phase, middle) else (middle, high)
    return high


def _start_fits(model: Model) -> bool:
    """Whether a start is empty or of the model's length; an unknown contract or file is refused where it is used."""
    try:
        if model.start_model:
            return not model.start and len(first_weights(model)) == parameter_count(model)
        return not model.start or len(model.start) == parameter_count(model)
    except StudyError:
        return True


def _grid_fits(model: Model, block: Block) -> bool:
    """Whether a sum over hidden layers is well within float32, and its rounding takes less than half of the bound."""
    try:
        return not model.hidden or sensitivity_steps(block.noise_multiplier) ** 2 > 5 * parameter_count(model)
    except StudyError:
        return True


def _survives(study: Study) -> bool:
    """Whether a study comes back from its encoding; NaN, infinity and values beyond their limits do not."""
    try:
        return msgspec.json.decode(canonical_bytes(study), type=Study) == study
    except msgspec.ValidationError:
        return False


def _naming_problems(study: Study) -> Iterable[str]:
    for what, names in (
        ("areas", [area.lsoa for area in study.areas]),
        ("models", [model.name for model in study.models]),
        ("phases", [phase.name for phase in study.phases]),
        ("suppliers", [supplier.name for supplier in study.suppliers]),
        ("supplier keys", [supplier.public_key for supplier in study.suppliers]),
    ):
        if not names:
            yield f"it lists no {what}"
        if len(set(names)) != len(names):
            yield f"it lists the same {what} twice"
    yield from _model_problems(study)
    yield from _block_problems(study)


def _model_problems(study: Study) -> Iterable[str]:
    tables = {model.name.replace("_", "-") for model in study.models}
    if tables & _OTHER_TABLES or len(tables) < len({model.name for model in study.models}):
        yield (
            "models must differ in more than _ for -, and none may be named occupancy or electricity_use, for tables "
            "of figures are named after them"
        )
    for model in study.models:
        if model.kind == "temporal":
            yield from _temporal_problems(model)
        else:
            yield from _answer_problems(model)
        if not _start_fits(model):
            yield (
                f"start of model {model.name} must have a number for each weight (each feature, if logistic) and bias, "
                "and its start_model the same layers"
            )
        if bool(model.start_model) != bool(model.start_digest):
            yield f"model {model.name} must have a start_digest if and only if it has a start_model"


def _temporal_problems(model: Model) -> Iterable[str]:
    if len(model.hidden) != len(CHANNELS) or max(model.hidden) > _MOST_CHANNELS:
        yield (
            f"hidden of model {model.name} must be the channels of the {len(CHANNELS)} hidden layers of its kind, "
            f"at most {_MOST_CHANNELS} each"
        )
    if model.features != HALF_HOURS.name:
        yield f"features of model {model.name} must be {HALF_HOURS.name}, which its kind sees"
    if model.positive_classes or model.score_width or model.score_centre or model.question != "composition":
        yield f"model {model.name} learns from diaries: leave out question, positive_classes, score_centre, score_width"


def _answer_problems(model: Model) -> Iterable[str]:
    answers = QUESTIONS[model.question]
    if set(model.positive_classes) - set(answers) or not model.positive_classes:
        yield f"positive_classes of model {model.name} must be some of {', '.join(answers)}"
    if (model.kind == "perceptron") != bool(model.hidden):
        yield f"hidden of model {model.name} must be given if and only if its kind is 'perceptron' or 'temporal'"
    if model.features == HALF_HOURS.name or model.start_model:
        yield f"model {model.name} has features or a start_model that are for the kind 'temporal' alone"
    if not model.score_width > 0:
        yield f"score_width of model {model.name} must be given, and above 0"


def _block_problems(study: Study) -> Iterable[str]:
    models = {model.name for model in study.models}
    blocks = [block.name for block in study.blocks]
    if len(set(blocks)) != len(blocks) or not all(phase.blocks for phase in study.phases):
        yield "every phase must have blocks, each of a name of its own"
    for block in study.blocks:
        needs_model = block.source not in _WITHOUT_MODEL
        if needs_model != bool(block.model) or set(block.models) - models:
            yield f"block {block.name} must name a model of the study if and only if its source needs one"
        elif block.source == "gradient" and not _grid_fits(study.model(block.model), block):
            yield f"block {block.name} has noise that its model has no grid for; lower noise_multiplier"
        if not _walks_soundly(study, block, models):
            yield (
                f"block {block.name} may have local_steps, each of a local_rate, only if its source is gradient and "
                "its models have no hidden layers"
            )
        if block.beside:
            yield from _beside_problems(study, block)
        if (block.source == "area_capped_count") != bool(block.cap):
            yield f"block {block.name} must have a cap if and only if its source is area_capped_count"
        if block.source in _BY_COMPOSITION and any(
            model.name == block.model and model.question != "composition" for model in study.models
        ):
            yield f"block {block.name} must be of a model that asks for composition"
    sources = {block.source for block in study.blocks}
    for source, needed in _NEEDS.items():
        if source in sources and needed not in sources:
            yield f"a block of source {source} tells nothing without one of source {needed}"
    yield from _score_problems(study)
    for phase in study.phases:
        if len({block.source == "gradient" for block in phase.blocks}) > 1:
            yield f"phase {phase.name} must either train or measure, not both"


def _walks_soundly(study: Study, block: Block, models: set[str]) -> bool:
    """Whether a block has no steps of homes' own, or has all that they need."""
    if block.local_steps == 1:
        return block.local_rate == 0
    plain = not any(study.model(name).hidden for name in block.models if name in models)
    return block.local_rate > 0 and block.source == "gradient" and plain


def _score_problems(study: Study) -> Iterable[str]:
    """Scores of models beside each other share one bound, so they must be calibrated as they are released."""
    scored = [block for block in study.blocks if block.source in ("area_score", "class_score")]
    for block in study.blocks:
        if block.counts_trainers and (block.source not in _COUNT_TRAINERS or not trains(study)):
            sources = " or ".join(_COUNT_TRAINERS)
            yield f"block {block.name} may have counts_trainers only if its source is {sources} and the study trains"
        if block.source == "area_label" and block.l2_bound < (length := label_length(block)):
            yield f"block {block.name} shortens every home's labels, which are {length:.6f} long; raise its l2_bound"
    for model in study.models:
        if len({frozenset(block.models) for block in scored if model.name in block.models}) > 1:
            yield f"the blocks of scores and of class scores of model {model.name} must have the same models beside it"


def _beside_problems(study: Study, block: Block) -> Iterable[str]:
    if block.source not in _SHARED_BY_MODELS or len(set(block.models)) < len(block.models):
        sources = ", ".join(_SHARED_BY_MODELS)
        yield f"block {block.name} may have models beside its own, each once, if its source is one of {sources}"
    elif block.source == "gradient" and any(model.hidden for model in study.models if model.name in block.models):
        yield f"block {block.name} may train models beside each other only if they have no hidden layers"
