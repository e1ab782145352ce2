# SPDX-License-Identifier: Apache-2.0
"""What the office makes of suppliers' replies to one step: which are right, and whether they are enough."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from skyglow_shared.errors import ProtocolError, SkyglowError
from skyglow_shared.secagg.messages import (
    Advertisement,
    Confirmation,
    EncryptedShares,
    FromSupplier,
    MaskedInput,
    Unmasking,
)
from skyglow_shared.secagg.session import Session

Reply = TypeVar("Reply", Advertisement, EncryptedShares, MaskedInput, Confirmation, Unmasking)

#: Why a supplier was left out, by its name.
LeftOut = Mapping[str, str]


def sound(
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


def check_floor(session: Session, sound: Collection[str], wrong: LeftOut, what: str) -> None:
    """ProtocolError if fewer than K − d replies are right."""
    least = session.parameters.floor
    if len(sound) < least:
        raise ProtocolError(f"fewer than {least} suppliers {what} ({told(wrong)}); start a new attempt")


def check_threshold(session: Session, sound: Collection[str], wrong: LeftOut, what: str) -> None:
    """ProtocolError if fewer replies are right than recover a secret."""
    least = session.parameters.threshold
    if len(sound) < least:
        raise ProtocolError(
            f"fewer than {least} survivors {what} ({told(wrong)}); ask again, or start a new attempt if none has"
        )


def told(wrong: LeftOut) -> str:
    """What is wrong with whose reply, in a line."""
    return "; ".join(f"{name}: {why}" for name, why in wrong.items()) or "none was wrong, the others are silent"
