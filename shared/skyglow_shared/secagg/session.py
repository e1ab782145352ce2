# SPDX-License-Identifier: Apache-2.0
"""One attempt at one round: who takes part, how many may fail or collude, and what is added up."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, TypeVar

import msgspec

from skyglow_shared.errors import ProtocolError, StudyError
from skyglow_shared.study import Key, Name, Supplier

T = TypeVar("T")

MAX_WORDS = 10_000_000

_DOMAIN = b"skyglow-secagg-session-v5\0"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many suppliers there are, and how many may drop out or side with a dishonest office.

    Attributes
    ----------
    suppliers : int
        K, all of the roster.
    dropouts : int
        d, how many may be missing from a sum.
    colluders : int
        c, how many may tell the office all they know.

    Raises
    ------
    StudyError
        Unless K > 2d + c. With fewer suppliers, two views of who survived could both be completed, and the difference
        of the two sums would be one supplier's vector.
    """

    suppliers: Annotated[int, msgspec.Meta(ge=2, le=255)]
    dropouts: Annotated[int, msgspec.Meta(ge=0)]
    colluders: Annotated[int, msgspec.Meta(ge=0)]

    def __post_init__(self) -> None:
        if self.suppliers < 2 or min(self.dropouts, self.colluders) < 0:
            raise StudyError("secure aggregation needs two suppliers at least, and no negative numbers of them")
        if self.suppliers <= 2 * self.dropouts + self.colluders:
            raise StudyError(
                "secure aggregation needs more suppliers than twice the dropouts and once the colluders it tolerates; "
                "tolerate fewer, or enrol more suppliers"
            )
        if self.honest < 2:
            raise StudyError("without two honest suppliers in a sum, it hides nobody; tolerate fewer colluders")

    @property
    def floor(self) -> int:
        """The fewest suppliers that a sum may have: K − d."""
        return self.suppliers - self.dropouts

    @property
    def honest(self) -> int:
        """How many honest suppliers are in every sum: K − d − c. Their noise alone must do, what is spare included."""
        return self.floor - self.colluders

    @property
    def threshold(self) -> int:
        """How many shares recover a secret: the least whole number above (K + c)/2, which is at most K − d."""
        return (self.suppliers + self.colluders) // 2 + 1


class Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One attempt at one round of a study.

    Attributes
    ----------
    study : str
        Its digest.
    phase : str
    round, attempt : int
    roster : tuple of Supplier
        All suppliers of the study, in its order; which is also the order of every list here.
    parameters : Parameters
    words : int
        Length of the vectors.
    word_bits : int
        Sums are taken modulo 2 to this power; a multiple of eight.
    """

    study: Key
    phase: Name
    round: Annotated[int, msgspec.Meta(ge=0)]
    attempt: Annotated[int, msgspec.Meta(ge=0)]
    roster: tuple[Supplier, ...]
    parameters: Parameters
    words: Annotated[int, msgspec.Meta(ge=1, le=MAX_WORDS)]
    word_bits: Annotated[int, msgspec.Meta(ge=8, le=64, multiple_of=8)]

    def __post_init__(self) -> None:
        names = {supplier.name for supplier in self.roster}
        keys = {supplier.public_key for supplier in self.roster}
        if not len(self.roster) == len(names) == len(keys) == self.parameters.suppliers:
            raise StudyError("the roster must have each supplier once, each with a key of its own; correct the study")

    def identifier(self) -> bytes:
        """SHA-256 of all of this: what every message and every derived key of the attempt is bound to."""
        return self._identifier

    def check(self, session: bytes) -> None:
        """ProtocolError unless a message names this very attempt."""
        if session != self._identifier:
            raise ProtocolError("a message belongs to another study, round or attempt; drop it")

    def public_keys(self) -> Mapping[str, str]:
        """The pinned Ed25519 keys (hex) by name, in the roster's order."""
        return self._public_keys

    def places(self) -> Mapping[str, int]:
        """Each supplier's place on the roster from 1 on: where its share of a secret is evaluated."""
        return self._places

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names in the roster's order; ProtocolError if one is twice there or not on the roster."""
        given = tuple(names)
        wanted = set(given)
        ordered = tuple([name for name in self._places if name in wanted])
        if len(ordered) != len(given):
            raise ProtocolError("a list of suppliers repeats one, or names one that is not on the roster; refuse it")
        return ordered

    def ordered(self, items: Mapping[str, T]) -> dict[str, T]:
        """Items by name in the roster's order; ProtocolError if one is of a stranger."""
        ordered = {name: items[name] for name in self._places if name in items}
        if len(ordered) != len(items):
            raise ProtocolError("a supplier is named that is not on the roster; refuse it")
        return ordered

    @cached_property
    def _identifier(self) -> bytes:
        return hashlib.sha256(_DOMAIN + msgspec.msgpack.encode(self)).digest()

    @cached_property
    def _public_keys(self) -> Mapping[str, str]:
        return MappingProxyType({supplier.name: supplier.public_key for supplier in self.roster})

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return MappingProxyType({supplier.name: place for place, supplier in enumerate(self.roster, start=1)})
