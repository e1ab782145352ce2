# SPDX-License-Identifier: Apache-2.0
"""What both sides demand of everybody's advertisements and of a survivor set, in the same words."""

from collections import Counter
from collections.abc import Iterable, Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg.messages import Advertisement
from skyglow_shared.secagg.session import Session

_PRIME = 2**255 - 19
_UNUSED_BIT = 1 << 255
_ORDER_EIGHT = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_SMALL_ORDER = {0, 1, _PRIME - 1, *_ORDER_EIGHT}


def check_advertisements(
    session: Session, advertisements: Mapping[str, Advertisement], own: str
) -> dict[str, Advertisement]:
    """Advertisements by name, in the roster's order, each signed by its pinned key and with keys of its own.

    Parameters
    ----------
    session : Session
    advertisements : mapping of Advertisement
    own : str
        Whose is known to be the very one it signed, and is not verified.

    Raises
    ------
    ProtocolError
        Too few of them, of another attempt, of a stranger, with a degenerate key, or two with a key in common.
    SignatureError
        One is not signed by the key on the roster.
    """
    ordered, pinned = session.ordered(advertisements), session.public_keys()
    check_floor(session, ordered, what="advertised keys")
    identifier = session.identifier()
    for name, advertisement in ordered.items():
        if advertisement.sender != name or advertisement.session != identifier:
            raise ProtocolError("an advertisement is of another attempt or supplier than it is said to be; drop it")
        if name != own:
            check_advertisement(advertisement, pinned[name])
    if repeated(ordered):
        raise ProtocolError("two advertised keys are the same; somebody repeats a key of its own or of another")
    return ordered


def check_advertisement(advertisement: Advertisement, public_key: str) -> None:
    """One advertisement for itself.

    Raises
    ------
    ProtocolError
        A key of it is degenerate: what is agreed on with it, everybody knows.
    SignatureError
        It is not signed by that Ed25519 key.
    """
    if is_degenerate(advertisement.exchange_key) or is_degenerate(advertisement.mask_key):
        raise ProtocolError(f"a key that {advertisement.sender} advertises is degenerate; drop it")
    advertisement.verify(public_key)


def is_degenerate(public_key: bytes) -> bool:
    """Whether an X25519 public key is one of the few of small order, with which every secret agrees on zeros.

    Notes
    -----
    The u-coordinates of order 1, 2, 4 and 8 on the curve and its twist (RFC 7748, section 6.1 and 7), in any encoding.
    """
    return (int.from_bytes(public_key, "little") % _UNUSED_BIT) % _PRIME in _SMALL_ORDER


def repeated(advertisements: Mapping[str, Advertisement]) -> set[str]:
    """Those who advertise a key that they or somebody else advertises a second time: who copied cannot be known."""
    keys = {name: (one.exchange_key, one.mask_key) for name, one in advertisements.items()}
    count = Counter(key for both in keys.values() for key in both)
    return {name for name, both in keys.items() if max(count[key] for key in both) > 1}


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
