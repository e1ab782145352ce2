# SPDX-License-Identifier: Apache-2.0
"""What both sides demand of everybody's advertisements and of a survivor set, in the same words."""

from collections.abc import Iterable, Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg.messages import Advertisement
from skyglow_shared.secagg.session import Session


def check_advertisements(session: Session, advertisements: Mapping[str, Advertisement]) -> dict[str, Advertisement]:
    """Advertisements by name, in the roster's order, each signed by its pinned key and with keys of its own.

    Raises
    ------
    ProtocolError
        Too few of them, of another attempt, of a stranger, or two with a key in common.
    SignatureError
        One is not signed by the key on the roster.
    """
    ordered, pinned = session.ordered(advertisements), session.public_keys()
    check_floor(session, ordered, what="advertised keys")
    identifier = session.identifier()
    keys: set[bytes] = set()
    for name, advertisement in ordered.items():
        if advertisement.sender != name or advertisement.session != identifier:
            raise ProtocolError("an advertisement is of another attempt or supplier than it is said to be; drop it")
        advertisement.verify(pinned[name])
        keys |= {advertisement.exchange_key, advertisement.mask_key}
    if len(keys) != 2 * len(ordered):
        raise ProtocolError("two advertised keys are the same; somebody repeats a key of its own or of another")
    return ordered


def check_floor(session: Session, names: Iterable[str], *, what: str) -> None:
    """ProtocolError if fewer than K − d suppliers are there."""
    if len(set(names)) < session.parameters.floor:
        raise ProtocolError(
            f"fewer than {session.parameters.floor} suppliers {what}, and the noise is made for no fewer; "
            "start a new attempt when they are back"
        )


def check_survivors(
    session: Session, sharers: Iterable[str], survivors: Iterable[str], dropped: Iterable[str]
) -> tuple[str, ...]:
    """The survivors in the roster's order.

    Raises
    ------
    ProtocolError
        Somebody is named both surviving and dropped, or neither, or twice; or there are too few survivors.

    Privacy
    -------
    The two secrets of one supplier unmask it. Whoever is on both lists would have both recovered.
    """
    alive, gone = session.in_order(survivors), session.in_order(dropped)
    if set(alive) & set(gone):
        raise ProtocolError("a supplier is named both surviving and dropped, which would unmask it; refuse this office")
    if {*alive, *gone} != set(sharers):
        raise ProtocolError("survivors and dropped must together be exactly those who shared secrets in this attempt")
    check_floor(session, alive, what="sent their vectors")
    return alive
