# SPDX-License-Identifier: Apache-2.0
"""The supplier's own limits, in a TOML file that only the supplier writes.

Whatever the office asks, and whoever approves it, nothing outside the policy is ever computed. A study that asks for
something the file does not mention is refused.
"""

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, get_args

import msgspec

from skyglow_shared.errors import FormatError, PolicyError
from skyglow_shared.layout import trains
from skyglow_shared.study import Block, Key, Positive, Rate, Source, Study
from skyglow_shared.vocabulary import Question, TrustMode

Level = Literal["all", "class", "msoa", "lsoa"]

#: What a policy without `topics` allows: the one topic there was when policies did not name any.
FIRST_TOPICS = ("all_aged_66_plus",)

#: By which groups each source's sums are made: what `levels` of a policy is about.
LEVELS: Mapping[Source, Level] = MappingProxyType(
    {
        "gradient": "all",
        "area_score": "lsoa",
        "class_score": "class",
        "area_label": "msoa",
        "area_profile": "msoa",
        "diary_profile": "all",
        "area_capped_count": "lsoa",
        "area_histogram": "lsoa",
        "class_histogram": "class",
        "area_use": "lsoa",
        "area_use_histogram": "msoa",
    }
)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a supplier allows.

    Attributes
    ----------
    office_key : str
        The only key whose studies and requests are read, Ed25519 in hex.
    epsilon, delta : float
        The most that all studies of the window together may cost (add or remove one household).
    window_days : int
        Studies whose approval and charges are all older than this, and which have expired, no longer count.
    purposes, legal_gateways, features, trust_modes, sources : tuple of str
        What a study may name. `sources` are the kinds of block, see `skyglow_shared.study.Block`.
    levels : tuple of str
        Groups by which homes may be added up: ``all`` together, by composition ``class``, by ``msoa``, by ``lsoa``; and
        areas that curves of presence may be published of, whose sums are by MSOA.
    least_homes, least_suppliers : int
        The office's release thresholds may not be lower.
    most_rounds : int
        Of all phases together.
    least_noise_multiplier : float
        No block may ask for less noise than this, whatever the budget.
    largest_sampling_rate : float
        Of any training phase.
    topics : tuple of str
        Names of models: what may be learned about homes.
    questions : tuple of str
        Which of the panel's answers a model may be about, whatever its name: see `skyglow_shared.study.QUESTIONS`.
    rivals : tuple of str, optional
        Public keys (hex) of the other suppliers that may stand on a roster. In trust mode ``aggregate`` nobody may
        unless listed: an office could invent suppliers, and what it knows of them it can take out of a sum. Without the
        list a roster in trust mode ``local`` may hold anyone, for no share relies on another.
    least_honest_suppliers : int
        In trust mode ``aggregate``, so many honest suppliers must be left in every sum, this one counted, when as many
        drop out and collude as the study withstands.
    least_colluders : int
        In trust mode ``aggregate``, the study must withstand at least so many suppliers that tell the office all.
    most_seconds, most_memory_mib : number, optional
        What one round's computation may take of this machine, see `skyglow_client.gate.limits`.
    """

    office_key: Key
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=20)]
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1e-3)]
    window_days: Annotated[int, msgspec.Meta(ge=1)]
    purposes: tuple[str, ...]
    legal_gateways: tuple[str, ...]
    features: tuple[str, ...]
    trust_modes: tuple[TrustMode, ...]
    sources: tuple[Source, ...]
    least_homes: Annotated[int, msgspec.Meta(ge=1)]
    least_suppliers: Annotated[int, msgspec.Meta(ge=1)]
    most_rounds: Annotated[int, msgspec.Meta(ge=1)]
    levels: tuple[Level, ...] = ("all", "class", "msoa", "lsoa")
    least_noise_multiplier: Positive = 0.5
    largest_sampling_rate: Rate = 1.0
    topics: tuple[str, ...] = FIRST_TOPICS
    questions: tuple[Question, ...] = ("composition",)
    rivals: tuple[Key, ...] | None = None
    least_honest_suppliers: Annotated[int, msgspec.Meta(ge=1)] = 2
    least_colluders: Annotated[int, msgspec.Meta(ge=0)] = 1
    most_seconds: Positive | None = None
    most_memory_mib: Annotated[int, msgspec.Meta(ge=1)] | None = None


def load_policy(path: Path) -> Policy:
    """Read a policy file; FormatError if it is missing, is not TOML, or has unknown or ill-typed keys."""
    try:
        return _parsed(path.read_bytes())
    except OSError as error:
        message = (
            f"{path.name} cannot be read ({type(error).__name__}); write one, see docs/reference/supplier-policy.md"
        )
        raise FormatError(message) from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError(f"{path.name} is not a policy: {error}; see docs/reference/supplier-policy.md") from None


@lru_cache(maxsize=64)  # every request asks, and simulations hold many suppliers
def _parsed(content: bytes) -> Policy:
    return msgspec.convert(tomllib.loads(content.decode()), type=Policy)


def check(policy: Policy, study: Study, own_key: str = "") -> None:
    """Raise one PolicyError that names every rule the study breaks; return if it breaks none.

    The privacy budget is not checked here but by the gate, against the ledger.

    Parameters
    ----------
    policy : Policy
    study : Study
    own_key : str
        This supplier's own public key, which may stand on the roster beside the policy's `rivals`.
    """
    broken = [*_broken(policy, study), *_broken_by_roster(policy, study, own_key)]
    if broken:
        rules = ", ".join(dict.fromkeys(rule for rule, _ in broken))
        raise PolicyError(f"the policy does not allow this study: {'; '.join(text for _, text in broken)}", rule=rules)


def _broken(policy: Policy, study: Study) -> Iterable[tuple[str, str]]:
    """Yield (rule, what to change) for every rule the study breaks."""
    blocks = study.blocks
    wanted: tuple[tuple[str, Iterable[str], tuple[str, ...]], ...] = (
        ("purposes", {study.purpose}, policy.purposes),
        ("legal_gateways", {study.legal_gateway}, policy.legal_gateways),
        ("topics", {model.name for model in study.models}, policy.topics),
        ("questions", {model.question for model in study.answer_models}, policy.questions),
        ("features", {model.features for model in study.models}, policy.features),
        ("trust_modes", {study.trust_mode}, policy.trust_modes),
        ("sources", {block.source for block in blocks}, policy.sources),
        ("levels", _levels(study, blocks), policy.levels),
    )
    if study.office_key != policy.office_key:
        yield "office_key", "the study names another office key than the policy"
    if study.delta > policy.delta:
        yield "delta", f"the study's delta may be at most {policy.delta:g}"
    for rule, asked, allowed in wanted:
        for item in sorted(set(asked) - set(allowed)):
            yield rule, f"{rule} does not list {item!r}"
    if study.thresholds.least_homes < policy.least_homes:
        yield "least_homes", f"the study must suppress areas below {policy.least_homes} homes"
    if study.thresholds.least_suppliers < policy.least_suppliers:
        yield "least_suppliers", f"the study must suppress areas below {policy.least_suppliers} suppliers"
    if sum(phase.rounds for phase in study.phases) > policy.most_rounds:
        yield "most_rounds", f"the study may have at most {policy.most_rounds} rounds"
    if any(block.noise_multiplier < policy.least_noise_multiplier for block in blocks):
        yield "least_noise_multiplier", f"every noise multiplier must be at least {policy.least_noise_multiplier}"
    training = [phase for phase in study.phases if trains(phase)]
    if any(phase.sampling_rate > policy.largest_sampling_rate for phase in training):
        yield "largest_sampling_rate", f"sampling rates may be at most {policy.largest_sampling_rate}"


def _levels(study: Study, blocks: Iterable[Block]) -> set[str]:
    """Groups by which homes are added up, and areas below districts that curves of presence are published of."""
    sources = {block.source for block in blocks}
    curves = {level.lower() for level in study.occupancy.levels} if "area_profile" in sources else set()
    return {LEVELS[source] for source in sources} | (curves & set(get_args(Level)))


def _broken_by_roster(policy: Policy, study: Study, own_key: str) -> Iterable[tuple[str, str]]:
    """Yield likewise what the study's roster, and what it withstands, break."""
    strangers = {supplier.public_key for supplier in study.suppliers} - {own_key} - set(policy.rivals or ())
    if policy.rivals is not None and strangers:
        yield "rivals", "the roster may hold only the keys that rivals lists, and your own"
    if study.trust_mode == "local":
        return
    if policy.rivals is None:
        yield "rivals", "in this trust mode suppliers rely on one another; rivals must list the keys of those you know"
    withstood = study.aggregation
    if withstood is None:
        yield "trust_modes", "a study of trust mode 'aggregate' must say what it withstands"
        return
    summed = len(study.suppliers) - withstood.dropouts
    if summed < policy.least_suppliers:
        yield "least_suppliers", f"every sum must hold the shares of at least {policy.least_suppliers} suppliers"
    if summed - withstood.colluders < policy.least_honest_suppliers:
        least = policy.least_honest_suppliers
        yield "least_honest_suppliers", f"every sum must hold the shares of at least {least} honest suppliers"
    if withstood.colluders < policy.least_colluders:
        yield "least_colluders", f"the study must withstand at least {policy.least_colluders} colluding suppliers"
