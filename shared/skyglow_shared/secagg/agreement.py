# SPDX-License-Identifier: Apache-2.0
"""What both sides demand of everybody's advertisements and of a survivor set, in the same words."""

from collections.abc import Iterable, Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg import channels
from skyglow_shared.secagg.messages import Advertisement
from skyglow_shared.secagg.session import Session


def check_advertisements(
    session: Session, advertisements: Mapping[str, Advertisement], own: str
) -> dict[str, Advertisement]:
    """Advertisements by name, in the roster's order, each with a channel key of its own that its pinned key signed.

    Parameters
    ----------
    session : Session
    advertisements : mapping of Advertisement
    own : str
        Whose is known to be the very one it sent, and is not verified.

    Raises
    ------
    ProtocolError
        Too few of them, of another attempt, of a stranger, with a degenerate key, or two with a key in common.
    SignatureError
        A channel key is not signed by the key on the roster.

    Notes
    -----
    All else in another's advertisement, its ledger's head among it, is believed only once something opens that it
    encrypted: under a key that follows from all advertisements as it saw them, its own among them.
    """
    ordered, pinned = session.ordered(advertisements), session.public_keys()
    check_floor(session, ordered, what="advertised keys")
    identifier = session.identifier()
    for name, advertisement in ordered.items():
        if advertisement.sender != name or advertisement.session != identifier:
            raise ProtocolError("an advertisement is of another attempt or supplier than it is said to be; drop it")
        if name != own:
            channels.verify(session.study, name, pinned[name], advertisement.channel)
    if repeated(ordered):
        raise ProtocolError("two advertised keys are the same; somebody repeats a key of another")
    return ordered


def repeated(advertisements: Mapping[str, Advertisement]) -> set[str]:
    """Those who advertise a key that somebody else advertises too: who copied cannot be known."""
    shown = [one.channel.key for one in advertisements.values()]
    if len(set(shown)) == len(shown):
        return set()
    return {name for name, one in advertisements.items() if shown.count(one.channel.key) > 1}


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
