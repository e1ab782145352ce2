# SPDX-License-Identifier: Apache-2.0
"""Requests and replies of a study, as bytes: versioned, signed, size-limited.

An `Envelope` carries the exact bytes that were signed; they are decoded only after the signature holds. Every message
of a round is keyed by (study, phase, round, attempt, step): in `local` trust mode a round is one attempt with the one
step ``share``; in `aggregate` an attempt begins with ``advertise``, and its other steps are `StepRequest`s.
"""

from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared import signing
from skyglow_shared.errors import ProtocolError
from skyglow_shared.signing import Identity

T = TypeVar("T")

VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what an envelope may hold; the tag is the class name."""


class StudyRequest(Message, frozen=True, kw_only=True, tag=True):
    """The office proposes a study: its canonical bytes and the office's signature over them."""

    study: bytes
    signature: bytes


class RoundRequest(Message, frozen=True, kw_only=True, tag=True):
    """The office asks for one step of one round of an approved study.

    `step` is ``share`` in trust mode ``local``, ``advertise`` (begin an attempt) in ``aggregate``. `weights` holds, by
    model name, the current parameters as little-endian float64.
    """

    study: str
    phase: str
    round: int
    attempt: int = 0
    step: Literal["share", "advertise"] = "share"
    weights: dict[str, bytes] = {}


class StepRequest(Message, frozen=True, kw_only=True, tag=True):
    """The office's message (`skyglow_shared.secagg.messages`) in the next step of an attempt at secure aggregation."""

    study: str
    phase: str
    round: int
    attempt: int
    content: bytes


class Approval(Message, frozen=True, kw_only=True, tag=True):
    """A supplier's signature over the study's digest: it agrees to exactly this study."""

    study: str
    supplier: str
    signature: bytes


class Share(Message, frozen=True, kw_only=True, tag=True):
    """What one supplier sends in a round: by block name, noised integers on the block's grid (little-endian int64).

    Privacy
    -------
    The only message that depends on readings; in trust mode ``aggregate`` it is sealed and leaves under masks alone.
    Each block is a sum of clipped per-home vectors plus discrete Gaussian
    noise, charged to the supplier's ledger before it was computed. `spare` is the key of what is added to all numbers
    in turn before they leave under masks (`privacy.spare`); empty in ``local``.
    """

    study: str
    phase: str
    round: int
    attempt: int
    step: str
    supplier: str
    blocks: dict[str, bytes]
    spare: Annotated[bytes, msgspec.Meta(max_length=32)] = b""


class StepReply(Message, frozen=True, kw_only=True, tag=True):
    """A supplier's message in one step of an attempt at secure aggregation.

    Privacy
    -------
    Public keys, encrypted secret shares, signatures, the noised share under masks, and after a survivor set is agreed
    the secrets that take the masks out of the sum. The masked share is charged and sealed before its attempt begins.
    """

    study: str
    phase: str
    round: int
    attempt: int
    supplier: str
    content: bytes


class Refusal(Message, frozen=True, kw_only=True, tag=True):
    """The supplier says no: the exit code of the error, the rule that refused, a sentence without data.

    `about` is the name of another supplier on the roster, where what that one sent is why; else empty.
    """

    code: int
    rule: str
    message: str
    about: str = ""


Request = StudyRequest | RoundRequest | StepRequest
Reply = Approval | Share | StepReply | Refusal


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Signed bytes: protocol version, sender's name, body, Ed25519 signature over the body."""

    version: int
    sender: str
    body: bytes
    signature: bytes


def seal_request(request: Request, office: Identity) -> bytes:
    """Encode and sign a request as the office."""
    return _seal(msgspec.msgpack.encode(request), "office", office, signing.REQUEST)


def seal_reply(reply: Reply, supplier: str, identity: Identity) -> bytes:
    """Encode and sign a reply as the supplier of that name."""
    return _seal(msgspec.msgpack.encode(reply), supplier, identity, signing.REPLY)


def open_request(message: bytes, office_key: str) -> Request:
    """Check size, version and signature of a request, then decode it; ProtocolError or SignatureError."""
    envelope = open_envelope(message)
    signing.verify(office_key, signing.REQUEST, envelope.body, envelope.signature, what="the request")
    return _decode(envelope.body, Request)  # type: ignore[arg-type]


def open_reply(message: bytes, supplier: str, supplier_key: str) -> Reply:
    """Check size, version, sender and signature of a reply, then decode it; ProtocolError or SignatureError."""
    envelope = open_envelope(message)
    if envelope.sender != supplier:
        raise ProtocolError(f"a reply of {supplier} names another sender; check the link's configuration")
    signing.verify(supplier_key, signing.REPLY, envelope.body, envelope.signature, what=f"the reply of {supplier}")
    return _decode(envelope.body, Reply)  # type: ignore[arg-type]


def open_envelope(message: bytes) -> Envelope:
    """Decode the outermost layer; ProtocolError if it is too large, malformed or of another version."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message may have at most {MAX_MESSAGE_BYTES} bytes; split the study's blocks")
    envelope: Envelope = _decode(message, Envelope)
    if envelope.version != VERSION:
        raise ProtocolError(f"the message speaks another protocol than version {VERSION}; update the older side")
    return envelope


def encode_weights(weights: NDArray[np.float64]) -> bytes:
    """Encode model parameters as little-endian float64."""
    return np.ascontiguousarray(weights, dtype="<f8").tobytes()


def decode_weights(content: bytes, size: int) -> NDArray[np.float64]:
    """Decode `size` model parameters; ProtocolError unless there are exactly so many, all finite."""
    if len(content) != 8 * size:
        raise ProtocolError(f"model parameters must be {size} float64 values; check the model's version")
    weights = np.frombuffer(content, dtype="<f8").astype(np.float64)
    if not np.isfinite(weights).all():
        raise ProtocolError("model parameters must be finite; lower the learning rate and start a new study")
    return weights


def encode_integers(values: NDArray[np.int64]) -> bytes:
    """Encode a block's noised integers as little-endian int64, row by row."""
    return np.ascontiguousarray(values, dtype="<i8").tobytes()


def decode_integers(content: bytes, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Decode a block's integers into `shape`; ProtocolError unless there are exactly so many."""
    if len(content) != 8 * int(np.prod(shape)):
        raise ProtocolError(f"a block must hold {int(np.prod(shape))} integers; the reply is of another study")
    return np.frombuffer(content, dtype="<i8").astype(np.int64).reshape(shape)


def _seal(body: bytes, sender: str, identity: Identity, domain: bytes) -> bytes:
    return msgspec.msgpack.encode(Envelope(VERSION, sender, body, identity.sign(domain, body)))


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(
            f"a message cannot be decoded ({type(error).__name__}); check both sides' versions"
        ) from None
