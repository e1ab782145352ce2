# SPDX-License-Identifier: Apache-2.0
"""The office's side of one attempt: each step takes what suppliers sent, and gives the next state and what to send.

States are frozen and hold what came so far. A step raises the error of the first reply that is wrong and leaves
everything as it was: the office may drop that reply and take the step again, as long as enough are left. Messages must
have come in envelopes signed by their senders.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg import agreement, codec, keys, masks, messages, shamir
from skyglow_shared.secagg.ledger_heads import Seen
from skyglow_shared.secagg.messages import (
    Advertisement,
    Advertisements,
    Delivery,
    EncryptedShares,
    MaskedInput,
    SurvivorSet,
    SurvivorSignature,
    SurvivorSignatures,
    Unmasking,
)
from skyglow_shared.secagg.session import Session

Reply = TypeVar("Reply", EncryptedShares, MaskedInput, SurvivorSignature, Unmasking)


@dataclass(frozen=True, slots=True)
class Begun:
    """Waits for advertisements."""

    session: Session

    def advertised(self, replies: Mapping[str, Advertisement]) -> tuple["Collecting", Advertisements]:
        """Check the keys and publish them to all who sent some; ProtocolError or SignatureError."""
        heard = agreement.check_advertisements(self.session, replies)
        message = Advertisements(session=self.session.identifier(), advertisements=tuple(heard.values()))
        return Collecting(self.session, heard), message


@dataclass(frozen=True, slots=True)
class Collecting:
    """Waits for encrypted shares."""

    session: Session
    heard: Mapping[str, Advertisement]

    def shared(self, replies: Mapping[str, EncryptedShares]) -> tuple["Adding", dict[str, Delivery]]:
        """Sort the encrypted shares by recipient: one delivery for each supplier that shared.

        Raises
        ------
        ProtocolError
            Too few, of another attempt, or not for each of the others that advertised.
        """
        ordered = _replies(self.session, replies, self.heard)
        agreement.check_floor(self.session, ordered, what="shared their secrets")
        for name, reply in ordered.items():
            if reply.shares.keys() != self.heard.keys() - {name}:
                raise ProtocolError(f"{name} shared its secrets with other suppliers than it should; drop its reply")
        identifier = self.session.identifier()
        deliveries = {
            recipient: Delivery(
                session=identifier,
                recipient=recipient,
                shares={sender: reply.shares[recipient] for sender, reply in ordered.items() if sender != recipient},
            )
            for recipient in ordered
        }
        transcript = messages.transcript(messages.keys_digest(identifier, self.heard.values()), ordered)
        return Adding(self.session, self.heard, tuple(ordered), transcript), deliveries

    def heads(self) -> dict[str, Seen]:
        """Where the suppliers say their ledgers stand."""
        return {name: one.seen() for name, one in self.heard.items()}


@dataclass(frozen=True, slots=True)
class Adding:
    """Waits for masked vectors."""

    session: Session
    heard: Mapping[str, Advertisement]
    sharers: tuple[str, ...]
    transcript: bytes

    def masked(self, replies: Mapping[str, MaskedInput]) -> tuple["Asking", SurvivorSet]:
        """Add the masked vectors; whoever sent none has dropped.

        Raises
        ------
        ProtocolError
            Too few, of another attempt, masked against others, or of another length.
        """
        ordered = _replies(self.session, replies, self.sharers)
        dropped = tuple(name for name in self.sharers if name not in ordered)
        survivors = agreement.check_survivors(self.session, self.sharers, ordered, dropped)
        bits = self.session.word_bits
        total = np.zeros(self.session.words, dtype=codec.lane(bits))
        for name, reply in ordered.items():
            if reply.transcript != self.transcript:
                raise ProtocolError(f"{name} masked its vector against other suppliers than the rest; drop its reply")
            total += codec.unpack(reply.words, self.session.words, bits)
        message = SurvivorSet(session=self.session.identifier(), survivors=survivors, dropped=dropped)
        return Asking(self.session, self.heard, self.transcript, survivors, dropped, codec.reduce(total, bits)), message


@dataclass(frozen=True, slots=True)
class Asking:
    """Waits for the survivors' signatures."""

    session: Session
    heard: Mapping[str, Advertisement]
    transcript: bytes
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    total: codec.Words

    def signed(self, replies: Mapping[str, SurvivorSignature]) -> tuple["Recovering", SurvivorSignatures]:
        """Collect the signatures over the survivor set.

        Raises
        ------
        ProtocolError
            Fewer than the threshold, or of another attempt.
        SignatureError
            One is not by its supplier's pinned key.
        """
        ordered = _replies(self.session, replies, self.survivors)
        _check_threshold(self.session, len(ordered), "signed the survivor set")
        body = messages.survivors_body(self.session.identifier(), self.transcript, self.survivors)
        signatures = {name: reply.signature for name, reply in ordered.items()}
        messages.verify_survivors(body, signatures, self.session.public_keys())
        message = SurvivorSignatures(session=self.session.identifier(), signatures=signatures)
        return Recovering(self.session, self.heard, self.survivors, self.dropped, self.total), message


@dataclass(frozen=True, slots=True)
class Recovering:
    """Waits for shares of what masks the sum."""

    session: Session
    heard: Mapping[str, Advertisement]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    total: codec.Words

    def unmasked(self, replies: Mapping[str, Unmasking]) -> "Sum":
        """Recover the survivors' seeds and the dropped ones' mask keys, and take their masks out of the sum.

        Raises
        ------
        ProtocolError
            Too few shares, for other suppliers than asked, or wrong ones: they must give what was advertised.
        """
        ordered = _replies(self.session, replies, self.survivors)
        _check_threshold(self.session, len(ordered), "sent shares for unmasking")
        for name, reply in ordered.items():
            if reply.seeds.keys() != set(self.survivors) or reply.mask_keys.keys() != set(self.dropped):
                raise ProtocolError(f"{name} sent shares of other secrets than the survivor set needs; drop its reply")
        seeds = {name: self._seed(name, ordered) for name in self.survivors}
        mask_keys = {name: self._mask_key(name, ordered) for name in self.dropped}
        identifier, places = self.session.identifier(), self.session.places()
        plus: list[bytes] = []
        minus = [keys.self_mask_key(seed, identifier, name) for name, seed in seeds.items()]
        for gone, secret in mask_keys.items():
            for alive in self.survivors:
                first, second = sorted((gone, alive), key=places.__getitem__)
                key = keys.pair_mask_key(secret, self.heard[alive].mask_key, identifier, first, second)
                (minus if alive == first else plus).append(key)
        bits = self.session.word_bits
        total = masks.apply(self.total.copy(), bits, plus=plus, minus=minus)
        return Sum(codec.decode(total, bits), self.survivors)

    def _seed(self, name: str, replies: Mapping[str, Unmasking]) -> bytes:
        seed = self._join({sender: reply.seeds[name] for sender, reply in replies.items()})
        if keys.commitment(seed, self.session.identifier(), name) != self.heard[name].seed_commitment:
            raise ProtocolError(f"the shares of {name}'s seed give another than it committed to; one of them is wrong")
        return seed

    def _mask_key(self, name: str, replies: Mapping[str, Unmasking]) -> bytes:
        secret = self._join({sender: reply.mask_keys[name] for sender, reply in replies.items()})
        if keys.public_key(secret) != self.heard[name].mask_key:
            raise ProtocolError(
                f"the shares of {name}'s mask key give another than it advertised; one of them is wrong"
            )
        return secret

    def _join(self, shares: Mapping[str, bytes]) -> bytes:
        places = self.session.places()
        return shamir.join({places[name]: share for name, share in shares.items()}, self.session.parameters.threshold)


@dataclass(frozen=True, slots=True)
class Sum:
    """What the office learns.

    Attributes
    ----------
    values : ndarray of int64, shape (words,)
        The survivors' vectors added up, exactly.
    survivors : tuple of str
        Whose vectors are in it: how much noise it has follows.
    """

    values: NDArray[np.int64]
    survivors: tuple[str, ...]


def begin(session: Session) -> Begun:
    """Start an attempt."""
    return Begun(session)


def _replies(session: Session, replies: Mapping[str, Reply], allowed: Collection[str]) -> dict[str, Reply]:
    """Replies in the roster's order; ProtocolError if one is of another attempt, or of somebody who has dropped."""
    ordered = session.ordered(replies)
    for name, reply in ordered.items():
        session.check(reply.session)
        if reply.sender != name or name not in allowed:
            raise ProtocolError("a reply names another sender, or one that took no part in the step before; drop it")
    return ordered


def _check_threshold(session: Session, count: int, what: str) -> None:
    if count < session.parameters.threshold:
        raise ProtocolError(
            f"fewer than {session.parameters.threshold} survivors {what}; ask again, or start a new attempt if none has"
        )
