# SPDX-License-Identifier: Apache-2.0
"""The office's side of one attempt: each step takes what suppliers sent, and gives the next state and what to send.

States are frozen and hold what came so far. A reply that is wrong is left out, and its sender has dropped out of the
attempt, as if it had not answered; `left_out` says why. A step raises only where too few are left, and leaves
everything as it was: the office may ask again and take the step again. Messages must have come in envelopes signed by
their senders, so that what is wrong with a reply can be laid to who sent it. What suppliers say to one another alone,
its codes for survivor sets among it, the office cannot check: those who can say what is wrong with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg import agreement, answers, channels, codec, keys, messages
from skyglow_shared.secagg.answers import LeftOut
from skyglow_shared.secagg.messages import (
    Advertisement,
    Advertisements,
    Confirmation,
    Confirmations,
    Delivery,
    EncryptedShares,
    FromSupplier,
    MaskedInput,
    SurvivorSet,
)
from skyglow_shared.secagg.recovering import Recovering
from skyglow_shared.secagg.session import Session


@dataclass(frozen=True, slots=True)
class Begun:
    """Waits for advertisements."""

    session: Session

    def advertised(self, replies: Mapping[str, FromSupplier]) -> tuple["Collecting", Advertisements]:
        """Publish the keys that are right to all who sent some; ProtocolError if they are too few."""
        pinned = self.session.public_keys()

        def check(name: str, reply: Advertisement) -> None:
            channels.verify(self.session.study, name, pinned[name], reply.channel)

        heard, wrong = answers.sound(self.session, replies, Advertisement, pinned, check)
        for name in agreement.repeated(heard):
            del heard[name]
            wrong[name] = "it advertises a key that another advertises too"
        answers.check_floor(self.session, heard, wrong, "advertised keys")
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
        others = len(self.heard) - 1

        def check(name: str, reply: EncryptedShares) -> None:
            if len(reply.shares) != others * messages.COMMITTED_BYTES:
                raise ProtocolError("it shared its secrets with other suppliers than it should")
            if len(reply.recovery) != others * keys.KEY_BYTES + keys.TAG_BYTES:
                raise ProtocolError("what would recover its masks is longer or shorter than it should be")

        ordered, wrong = answers.sound(self.session, replies, EncryptedShares, self.heard, check)
        answers.check_floor(self.session, ordered, wrong, "shared their secrets")
        identifier = self.session.identifier()
        sent = {name: reply.shares for name, reply in ordered.items()}
        deliveries = {
            recipient: Delivery(session=identifier, recipient=recipient, senders=senders, shares=shares)
            for recipient, senders, shares in _sorted(sent, tuple(self.heard), messages.COMMITTED_BYTES)
        }
        digest = messages.keys_digest(identifier, self.heard.values())
        return Adding(self.session, self.heard, ordered, digest, {**self.left_out, **wrong}), deliveries


@dataclass(frozen=True, slots=True)
class Adding:
    """Waits for masked vectors."""

    session: Session
    heard: Mapping[str, Advertisement]
    shared: Mapping[str, EncryptedShares]
    keys_digest: bytes
    left_out: LeftOut

    def masked(self, replies: Mapping[str, FromSupplier]) -> tuple["Asking", SurvivorSet]:
        """Take the masked vectors; whoever sent none, or a wrong one, has dropped.

        Raises
        ------
        ProtocolError
            Too few are masked against the right others and of the right length.
        """
        count, bits = self.session.words, self.session.word_bits
        transcript = messages.transcript(self.keys_digest, self.shared)

        def check(name: str, reply: MaskedInput) -> None:
            if reply.transcript != transcript:
                raise ProtocolError("it masked its vector against other suppliers than the rest")
            codec.check_length(reply.words, count, bits)

        ordered, wrong = answers.sound(self.session, replies, MaskedInput, self.shared, check)
        answers.check_floor(self.session, ordered, wrong, "sent their vectors")
        survivors, dropped = tuple(ordered), tuple(name for name in self.shared if name not in ordered)
        message = SurvivorSet(session=self.session.identifier(), survivors=survivors, dropped=dropped)
        gone = {name: self.shared[name] for name in dropped}
        recovering = Recovering(
            self.session,
            self.heard,
            gone,
            survivors,
            tuple(reply.words for reply in ordered.values()),
            {**self.left_out, **wrong},
        )
        return Asking(recovering), message


@dataclass(frozen=True, slots=True)
class Asking:
    """Waits for the survivors to confirm to one another that they are who they are told."""

    then: Recovering

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose vectors are in the sum."""
        return self.then.survivors

    def confirmed(self, replies: Mapping[str, FromSupplier]) -> tuple[Recovering, dict[str, Confirmations]]:
        """Hand out to each who confirmed the survivor set the others' codes; ProtocolError if below the threshold."""
        session, others = self.then.session, len(self.survivors) - 1

        def check(name: str, reply: Confirmation) -> None:
            if len(reply.codes) != others * keys.KEY_BYTES:
                raise ProtocolError("it confirmed the survivor set to other suppliers than it should")

        ordered, wrong = answers.sound(session, replies, Confirmation, self.survivors, check)
        answers.check_threshold(session, ordered, wrong, "confirmed the survivor set")
        sent, identifier = {name: reply.codes for name, reply in ordered.items()}, session.identifier()
        handed_out = {
            recipient: Confirmations(session=identifier, recipient=recipient, senders=senders, codes=codes)
            for recipient, senders, codes in _sorted(sent, self.survivors, keys.KEY_BYTES)
        }
        then = replace(self.then, left_out={**self.then.left_out, **wrong}) if wrong else self.then
        return then, handed_out


def _sorted(
    sent: Mapping[str, bytes], order: tuple[str, ...], size: int
) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """For each who sent so many bytes for each of the others, in this order: who else sent something, and what."""
    places, names = {name: place for place, name in enumerate(order)}, tuple(sent)
    each = [(places[name], content) for name, content in sent.items()]
    for at, recipient in enumerate(names):
        place = places[recipient]
        before, after = slice((place - 1) * size, place * size), slice(place * size, (place + 1) * size)
        parts = [content[after if place < sender else before] for sender, content in each if sender != place]
        yield recipient, names[:at] + names[at + 1 :], b"".join(parts)


def begin(session: Session) -> Begun:
    """Start an attempt."""
    return Begun(session)
