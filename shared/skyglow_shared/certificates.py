# SPDX-License-Identifier: Apache-2.0
"""Certificates end: when, who is told in time, and how suppliers learn of an office's next authority.

The next authority comes as a file that the office signed with its identity's key, which every supplier's policy names:
whoever carries it may read it, and cannot change it. It holds the authorities to believe in, the newest first; an older
such file is refused.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509

from skyglow_shared import signing
from skyglow_shared.errors import FormatError
from skyglow_shared.repeating import every
from skyglow_shared.signing import Identity

_log = logging.getLogger(__name__)

#: A certificate that ends within this time is one to speak of; an authority's concerns everybody, and so does earlier.
SOON, AUTHORITY_SOON = timedelta(days=30), timedelta(days=180)
AUTHORITY = b"skyglow-authority-v1\0"
_DAY_SECONDS = 24 * 3600.0


class Watched(NamedTuple):
    """A certificate whose end matters: whose it is, when that is, what to do about it, and how early to say so."""

    whose: str
    end: datetime | None
    remedy: str
    soon: timedelta = SOON


class Authorities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: PEM of the authorities to believe in, the newest first, and the office's signature (hex) over it."""

    authorities: str
    signature: str


def end_of(certificate: bytes) -> datetime | None:
    """When a certificate (the first of a PEM text) ends, or None if it is none: whoever uses it will say so."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None


def ending(watched: Iterable[Watched]) -> list[str]:
    """A sentence for each certificate that ends soon, or has ended."""
    said = []
    for one in watched:
        if one.end is not None and (left := one.end - datetime.now(UTC)) < one.soon:
            when = f"ends in {left.days} days" if left >= timedelta() else f"ended on {one.end.date()}"
            said.append(f"{one.whose} certificate {when}; {one.remedy}")
    return said


def warn(watched: Iterable[Watched]) -> None:
    """Log those sentences."""
    for line in ending(watched):
        _log.warning("%s", line)


def watching(
    watched: Callable[[], Iterable[Watched]], *, seconds: float = _DAY_SECONDS
) -> AbstractContextManager[None]:
    """Within, they are logged every day: a service runs for longer than a warning at its start is remembered."""
    return every(seconds, lambda: warn(watched()))


def signed_authorities(authorities: bytes, office: Identity) -> bytes:
    """Make the file."""
    signature = office.sign(AUTHORITY, authorities).hex()
    return msgspec.json.encode(Authorities(authorities=authorities.decode(), signature=signature)) + b"\n"


def opened_authorities(content: bytes, office_key: str, held: bytes) -> bytes:
    """Read the file for a supplier that believes in the authorities `held` until now; return the PEM text.

    Raises
    ------
    FormatError
        It is no such file, or older than what is held.
    SignatureError
        Another office signed it, or it was changed.
    """
    try:
        found = msgspec.json.decode(content, type=Authorities)
        signature, text = bytes.fromhex(found.signature), found.authorities.encode()
        newest = x509.load_pem_x509_certificates(text)[0]
        former = x509.load_pem_x509_certificates(held)[0]
    except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
        kind = type(error).__name__
        message = f"this is not an office's file of its authorities ({kind}); ask the office for it again"
        raise FormatError(message) from None
    signing.verify(office_key, AUTHORITY, text, signature, what="the file of authorities")
    if newest.not_valid_before_utc < former.not_valid_before_utc:
        raise FormatError("the file of authorities is older than what is in link/; ask the office for its newest")
    return text
