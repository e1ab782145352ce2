# SPDX-License-Identifier: Apache-2.0
"""Whether a supplier's book and the office's tell the same story: what ``skyglow audit compare`` finds.

Everything is recomputed from the two files alone, by anyone: what left, under which charge, and what the charges cost.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec

from skyglow_shared.audit import APPROVAL, Asked, Entry, Received
from skyglow_shared.errors import LedgerError
from skyglow_shared.layout import round_numbers
from skyglow_shared.privacy.accounting import Event, study_cost
from skyglow_shared.privacy.sampling import sampler_of
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Study, digest_of

_SLACK = 1e-9

Record = TypeVar("Record")


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a ledger's ``approval`` entry, as far as it is compared."""

    study: str


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a ledger's ``charge`` entry, as far as it is compared."""

    key: str
    study: str
    event: Event


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a ledger's ``seal`` entry: which round, and the digest of the reply."""

    key: str
    reply: str


@dataclass(frozen=True, slots=True)
class Account:
    """One study in both books.

    Attributes
    ----------
    name, study : str
        The study's name and digest.
    agreed : int
        Replies that both books hold with the same digest.
    unfinished : int
        Replies sealed after all that the office received: of a round that is not complete there.
    charged, received : float
        Epsilon of the ledger's charges, and of what the office received under the plan it signed, at `delta`.
    """

    name: str
    study: str
    agreed: int
    unfinished: int
    charged: float
    received: float
    delta: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two books say together; `problems` is empty where they agree."""

    supplier: str
    accounts: tuple[Account, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)  # no slots: what is worked out once is kept
class _Books:
    """Both books decoded, the office's narrowed to one supplier."""

    approved: frozenset[str]
    charges: tuple[Charged, ...]
    seals: dict[str, str]
    studies: dict[str, Study]
    received: tuple[Received, ...]

    def together(self, study: str) -> bool:
        """Whether a study's shares are added under masks."""
        return study in self.studies and self.studies[study].trust_mode == "aggregate"

    def charge_of(self, key: str) -> str:
        """The charge that covers what was sealed: its own, or in secure aggregation that of its round."""
        parts = key.split("/")
        if len(parts) < 5 or not self.together(parts[0]):
            return key
        return "/".join((*parts[:-2], "0", "share"))

    def places(self, reply: Received) -> set[str]:
        """Digests of what was sealed where a reply belongs: its own step, or in secure aggregation its attempt."""
        if not self.together(reply.study):
            return {self.seals[reply.key]} if reply.key in self.seals else set()
        return self.left.get(_attempt(reply.key), set())

    @cached_property
    def left(self) -> dict[str, set[str]]:
        """Digests of what left in each attempt at secure aggregation."""
        return {attempt: set(sealed.values()) for attempt, sealed in self.attempts.items()}

    @cached_property
    def attempts(self) -> dict[str, dict[str, str]]:
        """What was sealed of secure aggregation and left, by attempt: digests by key, in the order in which it was."""
        found: dict[str, dict[str, str]] = {}
        for key, sealed in self.seals.items():
            if self.together(key.partition("/")[0]) and not key.endswith("/share"):
                found.setdefault(_attempt(key), {})[key] = sealed
        return found


def suppliers_of(ledger: Sequence[Entry], office: Sequence[Entry]) -> list[str]:
    """Names whose replies, as the office has them, are in the ledger; a ledger does not say whose it is."""
    sealed = {body.reply for body in _decoded(ledger, "seal", Sealed)}
    received = _decoded(office, "reply", Received)
    return sorted({body.supplier for body in received if body.reply in sealed}) or sorted(
        {body.supplier for body in received}
    )


def compare(ledger: Sequence[Entry], office: Sequence[Entry], supplier: str) -> Comparison:
    """Hold the book of one supplier against the office's.

    Parameters
    ----------
    ledger, office : sequence of Entry
        Chains that `audit.read` accepted.
    supplier : str
        Its name in the office's book.

    Returns
    -------
    Comparison

    Raises
    ------
    LedgerError
        A book says something that cannot be read.
    StudyError
        A study in the office's book is not sound.
    """
    books = _books(ledger, office, supplier)
    problems = [*_charge_problems(books), *_reply_problems(books)]
    accounts = []
    for identity in books.studies:
        account = _account(books, identity)
        accounts.append(account)
        if account.received > account.charged + _SLACK:
            problems.append(
                f"study {identity[:12]}: what the office received costs epsilon {account.received:.6f}, "
                f"the charges come to {account.charged:.6f}"
            )
    return Comparison(supplier, tuple(accounts), tuple(problems))


def _books(ledger: Sequence[Entry], office: Sequence[Entry], supplier: str) -> _Books:
    studies = {}
    for asked in _decoded(office, "study", Asked):
        if digest_of(asked.canonical.encode()) != asked.study:
            raise LedgerError("the office's book holds a study that is not of its digest; ask for the book again")
        studies[asked.study] = decode_study(asked.canonical.encode())
    return _Books(
        approved=frozenset(body.study for body in _decoded(ledger, "approval", Approved)),
        charges=tuple(_decoded(ledger, "charge", Charged)),
        seals={body.key: body.reply for body in _decoded(ledger, "seal", Sealed)},
        studies=studies,
        received=tuple(body for body in _decoded(office, "reply", Received) if body.supplier == supplier),
    )


def _charge_problems(books: _Books) -> list[str]:
    """Charges made twice or of something else than the signed plan, and replies that no charge covers."""
    found = []
    keys = [charge.key for charge in books.charges]
    found += [f"{_place(key)}: charged twice" for key in _repeated(keys)]
    covered = set(keys)
    found += [f"{_place(key)}: sealed without a charge" for key in books.seals if books.charge_of(key) not in covered]
    begun: set[str] = set()
    for charge in books.charges:
        study = books.studies.get(charge.study)
        if study is None:
            found.append(f"{_place(charge.key)}: charged for a study that the office's book does not hold")
        elif charge.event != _planned(study, charge.key, begun):
            found.append(f"{_place(charge.key)}: charged otherwise than the signed study says")
    return found


def _reply_problems(books: _Books) -> list[str]:
    """Replies that only one book holds, or that are not the same in both."""
    found = []
    for reply in books.received:
        place = _place(reply.key)
        if reply.study not in books.studies:
            found.append(f"{place}: received for a study that the office's book does not hold")
        if reply.step == APPROVAL:
            if reply.study not in books.approved:
                found.append(f"{place}: the office has an approval that the ledger does not record")
        elif reply.step == "share" and books.together(reply.study):
            found.append(f"{place}: the office has a share without its masks")
        elif not books.places(reply):
            found.append(f"{place}: the office has a reply that the ledger does not record")
        elif reply.reply not in books.places(reply):
            found.append(f"{place}: the office has another reply than the ledger sealed")
    received = [reply.key for reply in books.received]
    found += [f"{_place(key)}: the office has it twice" for key in _repeated(received)]
    found += [f"{_place(key)}: it left, and the office does not show it" for key in _missing(books)]
    return found


def _missing(books: _Books) -> list[str]:
    """Keys sealed and not received although the office has a later reply of the same study: it had them all.

    In secure aggregation a supplier that was not heard is not asked on, so that holds within an attempt.
    """
    received, missing = {reply.reply for reply in books.received}, []
    for attempt in books.attempts.values():
        shown = [sealed in received for sealed in attempt.values()]
        last = len(shown) - 1 - shown[::-1].index(True) if any(shown) else 0
        missing += [key for key, seen in list(zip(attempt, shown, strict=True))[:last] if not seen]
    keys = {reply.key for reply in books.received}
    sealed = [key for key in books.seals if not books.together(key.partition("/")[0])]
    latest = {key.partition("/")[0]: place for place, key in enumerate(sealed) if key in keys}
    return missing + [
        key for place, key in enumerate(sealed) if key not in keys and place < latest.get(key.partition("/")[0], -1)
    ]


def _account(books: _Books, identity: str) -> Account:
    study = books.studies[identity]
    received = [reply for reply in books.received if reply.study == identity and reply.step != APPROVAL]
    sealed = [key for key in books.seals if key.partition("/")[0] == identity and not books.together(identity)]
    keys = {reply.key for reply in received}
    missing = set(_missing(books))
    rounds = {(reply.phase, reply.round): reply.key for reply in received}
    begun: set[str] = set()
    events = [event for key in rounds.values() if (event := _planned(study, key, begun)) is not None]
    charged = [charge.event for charge in books.charges if charge.study == identity]
    return Account(
        name=study.name,
        study=identity,
        agreed=sum(reply.reply in books.places(reply) for reply in received),
        unfinished=sum(key not in keys and key not in missing for key in sealed),
        charged=study_cost(charged, study.delta).epsilon_upper,
        received=study_cost(events, study.delta).epsilon_upper,
        delta=study.delta,
    )


def _planned(study: Study, key: str, begun: set[str]) -> Event | None:
    """What the signed study says that a step costs; None if it has no such round.

    `begun` holds the epochs of which a round was looked at before, and takes this one's: only the first is charged.
    """
    parts = key.split("/")
    found = [phase for phase in study.phases if phase.name == parts[1]] if len(parts) > 2 else []
    if not found or not _is_below(parts[2], found[0].rounds):
        return None
    sampler = sampler_of(study, found[0], round_numbers(study, found[0]))
    epoch = f"{parts[0]}/{parts[1]}/{int(parts[2]) // sampler.epoch}"
    begins = epoch not in begun
    begun.add(epoch)
    return sampler.event(begins=begins)


def _is_below(text: str, limit: int) -> bool:
    """Whether a text is a whole number below a limit, as keys have it: a book may say anything, at any length."""
    return text.isdecimal() and len(text) <= len(str(limit)) and str(int(text)) == text and int(text) < limit


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _attempt(key: str) -> str:
    return key.rpartition("/")[0]


def _place(key: str) -> str:
    study, _, rest = key.partition("/")
    return f"study {study[:12]}, {rest}"


def _decoded(entries: Sequence[Entry], kind: str, record: type[Record]) -> list[Record]:
    try:
        return [msgspec.json.decode(entry.body, type=record) for entry in entries if entry.kind == kind]
    except msgspec.MsgspecError:
        raise LedgerError(f"an entry of kind {kind!r} says nothing that can be read; ask for the book again") from None
