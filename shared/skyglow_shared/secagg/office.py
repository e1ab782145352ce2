# SPDX-License-Identifier: Apache-2.0
"""The office's side of one attempt: each step takes what suppliers sent, and gives the next state and what to send.

States are frozen and hold what came so far. A reply that is wrong is left out, and its sender has dropped out of the
attempt, as if it had not answered; `left_out` says why. A step raises only where too few are left, and leaves
everything as it was: the office may ask again and take the step again. Messages must have come in envelopes signed by
their senders, so that what is wrong with a reply can be laid to who sent it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError, SkyglowError
from skyglow_shared.secagg import agreement, codec, keys, masks, messages, shamir
from skyglow_shared.secagg.messages import (
    Advertisement,
    Advertisements,
    Delivery,
    EncryptedShares,
    FromSupplier,
    MaskedInput,
    SurvivorSet,
    SurvivorSignature,
    SurvivorSignatures,
    Unmasking,
)
from skyglow_shared.secagg.session import Session

Reply = TypeVar("Reply", Advertisement, EncryptedShares, MaskedInput, SurvivorSignature, Unmasking)

#: Why a supplier was left out, by its name.
LeftOut = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Begun:
    """Waits for advertisements."""

    session: Session

    def advertised(self, replies: Mapping[str, FromSupplier]) -> tuple["Collecting", Advertisements]:
        """Publish the keys that are right to all who sent some; ProtocolError if they are too few."""
        pinned = self.session.public_keys()

        def check(name: str, reply: Advertisement) -> None:
            agreement.check_advertisement(reply, pinned[name])

        heard, wrong = _sound(self.session, replies, Advertisement, pinned, check)
        for name in agreement.repeated(heard):
            del heard[name]
            wrong[name] = "it advertises a key that is advertised twice"
        _check_floor(self.session, heard, wrong, "advertised keys")
        message = Advertisements(session=self.session.identifier(), advertisements=tuple(heard.values()))
        return Collecting(self.session, heard, wrong), message


@dataclass(frozen=True, slots=True)
class Collecting:
    """Waits for encrypted shares."""

    session: Session
    heard: Mapping[str, Advertisement]
    left_out: LeftOut

    def shared(self, replies: Mapping[str, FromSupplier]) -> tuple["Adding", dict[str, Delivery]]:
        """Sort the encrypted shares by recipient: one delivery for each supplier that shared.

        Raises
        ------
        ProtocolError
            Too few are there for each of the others that advertised.
        """

        def check(name: str, reply: EncryptedShares) -> None:
            if reply.shares.keys() != self.heard.keys() - {name}:
                raise ProtocolError("it shared its secrets with other suppliers than it should")

        ordered, wrong = _sound(self.session, replies, EncryptedShares, self.heard, check)
        _check_floor(self.session, ordered, wrong, "shared their secrets")
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
        return Adding(self.session, self.heard, tuple(ordered), transcript, {**self.left_out, **wrong}), deliveries


@dataclass(frozen=True, slots=True)
class Adding:
    """Waits for masked vectors."""

    session: Session
    heard: Mapping[str, Advertisement]
    sharers: tuple[str, ...]
    transcript: bytes
    left_out: LeftOut

    def masked(self, replies: Mapping[str, FromSupplier]) -> tuple["Asking", SurvivorSet]:
        """Add the masked vectors; whoever sent none, or a wrong one, has dropped.

        Raises
        ------
        ProtocolError
            Too few are masked against the right others and of the right length.
        """
        count, bits = self.session.words, self.session.word_bits

        def check(name: str, reply: MaskedInput) -> None:
            if reply.transcript != self.transcript:
                raise ProtocolError("it masked its vector against other suppliers than the rest")
            codec.check_length(reply.words, count, bits)

        ordered, wrong = _sound(self.session, replies, MaskedInput, self.sharers, check)
        _check_floor(self.session, ordered, wrong, "sent their vectors")
        survivors, dropped = tuple(ordered), tuple(name for name in self.sharers if name not in ordered)
        first, *rest = ordered.values()
        total = codec.unpack(first.words, count, bits).copy()
        for reply in rest:
            total += codec.unpack(reply.words, count, bits)
        message = SurvivorSet(session=self.session.identifier(), survivors=survivors, dropped=dropped)
        lists = survivors, dropped, codec.reduce(total, bits), {**self.left_out, **wrong}
        return Asking(self.session, self.heard, self.transcript, *lists), message


@dataclass(frozen=True, slots=True)
class Asking:
    """Waits for the survivors' signatures."""

    session: Session
    heard: Mapping[str, Advertisement]
    transcript: bytes
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    total: codec.Words
    left_out: LeftOut

    def signed(self, replies: Mapping[str, FromSupplier]) -> tuple["Recovering", SurvivorSignatures]:
        """Collect the signatures over the survivor set; ProtocolError if fewer than the threshold are right."""
        identifier, pinned = self.session.identifier(), self.session.public_keys()
        body = messages.survivors_body(identifier, self.transcript, self.survivors)

        def check(name: str, reply: SurvivorSignature) -> None:
            messages.verify_survivors(body, {name: reply.signature}, pinned)

        ordered, wrong = _sound(self.session, replies, SurvivorSignature, self.survivors, check)
        _check_threshold(self.session, ordered, wrong, "signed the survivor set")
        signatures = {name: reply.signature for name, reply in ordered.items()}
        message = SurvivorSignatures(session=identifier, signatures=signatures)
        lists = self.survivors, self.dropped, self.total, {**self.left_out, **wrong}
        return Recovering(self.session, self.heard, *lists), message


@dataclass(frozen=True, slots=True)
class Recovering:
    """Waits for shares of what masks the sum."""

    session: Session
    heard: Mapping[str, Advertisement]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    total: codec.Words
    left_out: LeftOut

    def unmasked(self, replies: Mapping[str, FromSupplier]) -> "Sum":
        """Recover the survivors' seeds and the dropped ones' mask keys, and take their masks out of the sum.

        A share that is wrong shows, for a secret was committed to: it is found by leaving out one sender, then two, and
        so on; other shares of its sender are used last.

        Raises
        ------
        ProtocolError
            Too few shares for the survivor set, or no choice of them gives what was advertised.
        """

        def check(name: str, reply: Unmasking) -> None:
            if reply.seeds.keys() != set(self.survivors) or reply.mask_keys.keys() != set(self.dropped):
                raise ProtocolError("it sent shares of other secrets than the survivor set needs")

        ordered, wrong = _sound(self.session, replies, Unmasking, self.survivors, check)
        _check_threshold(self.session, ordered, wrong, "sent shares for unmasking")
        seeds = {name: self._secret(name, "seed", ordered, wrong) for name in self.survivors}
        mask_keys = {name: self._secret(name, "mask key", ordered, wrong) for name in self.dropped}
        bits = self.session.word_bits
        plus, minus = self._masks(seeds, mask_keys)
        total = masks.apply(self.total.copy(), bits, plus=plus, minus=minus)
        return Sum(codec.decode(total, bits), self.survivors, {**self.left_out, **wrong})

    def _secret(self, name: str, what: str, replies: Mapping[str, Unmasking], wrong: dict[str, str]) -> bytes:
        """One secret of one supplier; senders whose shares of it are wrong go into `wrong`."""
        places, identifier, advertised = self.session.places(), self.session.identifier(), self.heard[name]

        def is_seed(secret: bytes) -> bool:
            return keys.commitment(secret, identifier, name) == advertised.seed_commitment

        def is_mask_key(secret: bytes) -> bool:
            return keys.public_key(secret) == advertised.mask_key

        is_it = is_seed if what == "seed" else is_mask_key
        given = {sender: (one.seeds if what == "seed" else one.mask_keys)[name] for sender, one in replies.items()}
        shares = {places[sender]: share for sender, share in given.items()}
        try:
            suspects = [places[sender] for sender in replies if sender in wrong]
            secret, off = shamir.recover(shares, self.session.parameters.threshold, is_it, suspects)
        except ProtocolError as error:
            told = f"the {what} of {name} cannot be recovered: {error}; {name} shared it out wrongly, or too many lie"
            raise ProtocolError(f"{told} ({_told(wrong)}); this round has no sum") from None
        for sender in (sender for sender in replies if places[sender] in off):
            wrong.setdefault(sender, f"its share of the {what} of {name} does not fit the others'")
        return secret

    def _masks(self, seeds: Mapping[str, bytes], mask_keys: Mapping[str, bytes]) -> tuple[list[bytes], list[bytes]]:
        """Keys of the masks to be added to the sum, and to be taken out of it."""
        identifier, places = self.session.identifier(), self.session.places()
        plus: list[bytes] = []
        minus = [keys.self_mask_key(seed, identifier, name) for name, seed in seeds.items()]
        for gone, secret in mask_keys.items():
            key_of_gone = keys.private_key(secret)
            for alive in self.survivors:
                first, second = sorted((gone, alive), key=places.__getitem__)
                key = keys.pair_mask_key(key_of_gone, self.heard[alive].mask_key, identifier, first, second)
                (minus if alive == first else plus).append(key)
        return plus, minus


@dataclass(frozen=True, slots=True)
class Sum:
    """What the office learns.

    Attributes
    ----------
    values : ndarray of int64, shape (words,)
        The survivors' vectors added up, exactly.
    survivors : tuple of str
        Whose vectors are in it.
    left_out : mapping of str
        Who answered wrongly in some step, and how. A survivor can be among them, with its vector in the sum.
    """

    values: NDArray[np.int64]
    survivors: tuple[str, ...]
    left_out: LeftOut = field(default_factory=dict)


def begin(session: Session) -> Begun:
    """Start an attempt."""
    return Begun(session)


def _sound(
    session: Session,
    replies: Mapping[str, FromSupplier],
    kind: type[Reply],
    allowed: Collection[str],
    check: Callable[[str, Reply], None],
) -> tuple[dict[str, Reply], dict[str, str]]:
    """Replies that are right, in the roster's order, and what is wrong with each of the others."""
    identifier, sound, wrong = session.identifier(), {}, {}
    for name, reply in replies.items():
        if name not in allowed:
            wrong[name] = "it took no part in the step before"
        elif not isinstance(reply, kind):
            wrong[name] = "it answered with another step's message"
        elif reply.sender != name or reply.session != identifier:
            wrong[name] = "it answered in another's name, or for another attempt"
        else:
            try:
                check(name, reply)
                sound[name] = reply
            except SkyglowError as error:
                wrong[name] = str(error)
    return session.ordered(sound), wrong


def _check_floor(session: Session, sound: Collection[str], wrong: LeftOut, what: str) -> None:
    least = session.parameters.floor
    if len(sound) < least:
        raise ProtocolError(f"fewer than {least} suppliers {what} ({_told(wrong)}); start a new attempt")


def _check_threshold(session: Session, sound: Collection[str], wrong: LeftOut, what: str) -> None:
    least = session.parameters.threshold
    if len(sound) < least:
        raise ProtocolError(
            f"fewer than {least} survivors {what} ({_told(wrong)}); ask again, or start a new attempt if none has"
        )


def _told(wrong: LeftOut) -> str:
    return "; ".join(f"{name}: {why}" for name, why in wrong.items()) or "none was wrong, the others are silent"
