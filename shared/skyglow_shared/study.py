# SPDX-License-Identifier: Apache-2.0
"""The study: everything that will be computed, and what it costs, in one signed object.

A statistician writes a study as TOML; the office completes it (areas, keys, digests), and `soundness.check` lists every
contradiction. `canonical_bytes` is the one encoding that both sides sign: any change voids digest and approvals.

Everything a supplier ever releases for a study is a *block*: a grouped sum, over homes, of one clipped vector a home,
with integer noise on top. A phase is one or more rounds of the same blocks. The plan (phases × rounds × blocks) is
fixed before the study starts, so its whole cost is known at approval.
"""

import datetime
import hashlib
from typing import Annotated, Literal, TypeVar

import msgspec

from skyglow_shared import vocabulary
from skyglow_shared.errors import StudyError

COMPOSITION_CLASSES = vocabulary.COMPOSITION_CLASSES
QUESTIONS = vocabulary.QUESTIONS
Source = vocabulary.Source
Positive = Annotated[float, msgspec.Meta(gt=0)]
Bound = Annotated[float, msgspec.Meta(ge=1e-9, le=1e9)]  # beyond these, vectors over it are no exact integers
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Homes = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Key = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, keyword-only record that refuses keys it does not know."""


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whole local days of readings: `days` days from `start`."""

    start: datetime.date
    days: Annotated[int, msgspec.Meta(ge=7, le=366)]

    @property
    def end(self) -> datetime.date:
        """The last day of the period."""
        return self.start + datetime.timedelta(days=self.days - 1)


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One lowest-level area and the areas it nests in, as GSS codes."""

    lsoa: Annotated[str, msgspec.Meta(pattern=r"^[EW]01[0-9]{6}\Z")]
    msoa: Annotated[str, msgspec.Meta(pattern=r"^[EW]02[0-9]{6}\Z")]
    lad: Annotated[str, msgspec.Meta(pattern=r"^[EW]0[6-9][0-9]{6}\Z")]


class Supplier(Record, frozen=True, kw_only=True):
    """A supplier on the study's roster: its name and Ed25519 public key (hex)."""

    name: Name
    public_key: Key


class Model(Record, frozen=True, kw_only=True):
    """A model to be trained, and how its output becomes a score.

    Attributes
    ----------
    name : str
        Also the topic of the estimates made from it.
    kind : str
        ``logistic``; ``perceptron``: logistic on what hidden layers make of the features; ``temporal``: presence by
        half-hour, learned from diaries (`models.temporal`), which has neither question nor score.
    hidden : tuple of int
        Rectified units of each hidden layer of a perceptron, or channels of the three of a temporal model.
    features, features_digest : str
        Name of the feature contract, and what pins its content.
    question, positive_classes : str, tuple of str
        What of the panel's answers the model is about, one of `QUESTIONS`, and the answers that count as one.
    learning_rate, momentum : float
        The office's optimiser; they cost nothing.
    score_centre, score_width : float
        Score of a home = clip((logit - score_centre) / score_width, -1, 1).
    start : tuple of float
        Parameters that training begins from: a weight for each feature of the contract, then the bias; empty = zeros.
        Made from public or simulated homes alone, so that they cost nothing; everybody sees them in the study.
    start_model, start_digest : str
        In place of `start`, the installed model that a temporal one begins from, and the SHA-256 (hex) of its file.
    """

    name: Name
    kind: Literal["logistic", "perceptron", "temporal"] = "logistic"
    hidden: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=1024)], ...], msgspec.Meta(max_length=4)] = ()
    features: str
    features_digest: Key
    question: vocabulary.Question = "composition"
    positive_classes: tuple[str, ...] = ()
    learning_rate: Positive
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    score_centre: float = 0.0
    score_width: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    start: tuple[float, ...] = ()
    start_model: str = ""
    start_digest: str = ""


class Block(Record, frozen=True, kw_only=True):
    """One noised grouped sum of clipped per-home vectors.

    Attributes
    ----------
    source : str
        What a home contributes, and by which group it is summed: see `vocabulary.Source`.
    model : str
        The model whose weights, scores or labels are meant; empty for presence.
    beside : tuple of str
        Further models: their gradients, scores or labels stand beside that model's in the same vector, which is clipped
        as one.
    l2_bound : float
        Largest Euclidean norm of what one home contributes; longer vectors are scaled to it. From 1e-9 to 1e9.
    noise_multiplier : float
        Standard deviation of the noise over `l2_bound`.
    cap : int
        The most homes that one supplier's own sum of an area may come to, for ``area_capped_count``; else 0.
    local_steps, local_rate : int and float
        Of a ``gradient``: steps of that size that each home takes by itself from the round's weights; what it
        contributes is the sum of their gradients.
    counts_trainers : bool
        Homes that trained too: of a ``class_score`` in groups of their own, without scores; of an ``area_label`` alike.
    """

    name: Name
    source: Source
    model: str = ""
    beside: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    l2_bound: Bound
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0.1, le=1000)]
    cap: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    local_steps: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    local_rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    counts_trainers: bool = False

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all the models that it is about, in the order of its columns."""
        return (self.model, *self.beside) if self.model else ()


class Phase(Record, frozen=True, kw_only=True):
    """One or more rounds of the same blocks over homes sampled in the same way, see `privacy.sampling`.

    `sampling` is ``poisson``, each home by itself with chance `sampling_rate`, of which a supplier takes at most
    `largest_batch` (0 = all); or ``random_allocation``, each home in exactly one of every 1 / `sampling_rate` rounds.
    `expected_homes` is the public number of homes of all suppliers that sums are divided by; the true one is not used.
    `noise_multiplier`, if not 0, is of one bound for all blocks (`privacy.release.room`), and what the phase costs.
    """

    name: Name
    rounds: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    sampling: Literal["poisson", "random_allocation"] = "poisson"
    sampling_rate: Rate = 1.0
    largest_batch: Homes = 0
    expected_homes: Count
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    blocks: Annotated[tuple[Block, ...], msgspec.Meta(max_length=100)]


Item = TypeVar("Item", Phase, Model)


class Thresholds(Record, frozen=True, kw_only=True):
    """The office's release rules, decided on noised counts only.

    `largest_share` is the most of an area's homes that one supplier may have; it is asked where an
    ``area_capped_count`` or a public table tells.
    """

    least_homes: Count = 50
    least_suppliers: Count = 3
    largest_share: Rate = 0.8


class Occupancy(Record, frozen=True, kw_only=True):
    """How presence becomes curves, and of which areas they are published: `levels`, smallest first.

    Profiles are projected on the public `basis`. `model` says from readings when somebody is home: the study's own
    temporal model, or an installed one; empty: the rule that needs no training. Digests are the SHA-256 (hex) of the
    files of the basis and of an installed model.
    """

    basis: str
    basis_digest: Key
    model: str = ""
    model_digest: str = ""
    levels: tuple[vocabulary.AreaLevel, ...] = ("MSOA", "LAD")


class Aggregation(Record, frozen=True, kw_only=True):
    """In trust mode ``aggregate``: how many suppliers may be missing from a sum, how many may tell the office all."""

    dropouts: Annotated[int, msgspec.Meta(ge=0, le=127)]
    colluders: Annotated[int, msgspec.Meta(ge=0, le=127)]


class Study(Record, frozen=True, kw_only=True):
    """Everything that will be computed for one question, and what it may cost.

    `epsilon` at `delta` is the most that any supplier is charged for all phases together (add or remove one household).
    `households` is a public upper bound on the homes whose readings the study covers; delta may be at most a tenth of
    one over it. `supplier_households` is one on those of any one supplier; 0 = `households`. `panel_apart`: sums over
    all homes leave out the panel's; a home is then in the panel's blocks or in these, and charged the dearer.
    """

    protocol: Literal[1] = 1
    name: Name
    title: Annotated[str, msgspec.Meta(max_length=200)]
    purpose: Name
    legal_gateway: str
    public_good: Annotated[str, msgspec.Meta(max_length=2000)]
    reference_date: datetime.date
    expires: datetime.date
    trust_mode: vocabulary.TrustMode
    aggregation: Aggregation | None = None
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=20)]
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1e-3)]
    period: Period
    feature_week: datetime.date
    feature_weeks: Annotated[int, msgspec.Meta(ge=1, le=52)] = 1
    vintage: Literal["2021"] = "2021"
    areas: Annotated[tuple[Area, ...], msgspec.Meta(max_length=100_000)]
    households: Count
    supplier_households: Homes = 0
    panel_apart: bool = False
    models: Annotated[tuple[Model, ...], msgspec.Meta(max_length=100)]
    occupancy: Occupancy
    phases: Annotated[tuple[Phase, ...], msgspec.Meta(max_length=32)]
    thresholds: Thresholds = Thresholds()
    office_key: Key
    suppliers: Annotated[tuple[Supplier, ...], msgspec.Meta(max_length=1000)]

    def phase(self, name: str) -> Phase:
        """Return the phase called `name`; StudyError if there is none."""
        return _named(self.phases, name)

    def model(self, name: str) -> Model:
        """Return the model called `name`; StudyError if there is none."""
        return _named(self.models, name)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of all phases, in their order."""
        return tuple(block for phase in self.phases for block in phase.blocks)

    @property
    def answer_models(self) -> tuple[Model, ...]:
        """The models of what the panel answers: all but temporal ones."""
        return tuple(model for model in self.models if model.kind != "temporal")

    @property
    def presence_model(self) -> Model | None:
        """The study's own model that says when homes are occupied, if it has one."""
        return next((model for model in self.models if model.name == self.occupancy.model), None)

    @property
    def noise_shares(self) -> int:
        """Over how many shares the noise that is charged is spread: the honest suppliers, `privacy.spare` apart."""
        lost = self.aggregation
        return 1 if lost is None else len(self.suppliers) - lost.colluders

    @property
    def lsoas(self) -> tuple[str, ...]:
        """The lowest-level areas, in the order of every LSOA-indexed array."""
        return tuple(area.lsoa for area in self.areas)

    @property
    def msoas(self) -> tuple[str, ...]:
        """The middle-level areas, sorted: the order of every MSOA-indexed array."""
        return tuple(sorted({area.msoa for area in self.areas}))


def _named(items: tuple[Item, ...], name: str) -> Item:
    for item in items:
        if item.name == name:
            return item
    raise StudyError(f"the study has nothing called {name!r} there; ask for one of its own phases or models")


def canonical_bytes(study: Study) -> bytes:
    """Encode a study in the one way that is signed: JSON with sorted keys and shortest round-trip floats."""
    return msgspec.json.encode(study, order="sorted")


def digest(study: Study) -> str:
    """Return the SHA-256 (hex) of the canonical bytes under a domain prefix: the study's identity everywhere."""
    return digest_of(canonical_bytes(study))


def digest_of(canonical: bytes) -> str:
    """Return the digest of a study that is already encoded."""
    return hashlib.sha256(b"skyglow-study-v1\0" + canonical).hexdigest()
