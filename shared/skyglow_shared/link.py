# SPDX-License-Identifier: Apache-2.0
"""What the two ends of a link agree on: frames, who says what first, and the kit that a supplier is given.

A supplier dials out and opens one stream. On it travel frames, each the msgpack of one of the records below:

1. the office sends a `Challenge`; 2. the supplier answers with a `Hello`, its identity's signature over the challenge;
3. the office sends `Welcome`; 4. from then on the office sends requests and the supplier replies, each cut into
`Part` frames and marked with the number of the exchange. What is inside is sealed by `skyglow_shared.messages`: a link
carries bytes and knows nothing of what they mean. No frame carries code, and none is unpacked before its size is known.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from skyglow_shared import signing
from skyglow_shared.errors import FormatError, ProtocolError
from skyglow_shared.messages import MAX_MESSAGE_BYTES
from skyglow_shared.signing import Identity

VERSION = 1
METHOD = "/skyglow.v1.Link/Session"
HELLO = b"skyglow-hello-v1\0"
NONCE_BYTES = 32
PART_BYTES = 1024 * 1024
#: The largest frame that either end accepts: a full part and what msgpack puts around it.
FRAME_BYTES = PART_BYTES + 1024

#: Both ends of a stream: frames of at most this size, as they are (no compression), and pings that notice a dead peer.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", FRAME_BYTES),
    ("grpc.max_send_message_length", FRAME_BYTES),
    ("grpc.max_metadata_size", 8192),
    ("grpc.per_message_decompression", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
_Address = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}\Z")]
_Key = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Base of all frames; the tag is the class name."""


class Challenge(Frame, frozen=True, array_like=True, tag=True):
    """The office's first frame: version of the link, and bytes that were never sent before."""

    version: int
    nonce: bytes


class Hello(Frame, frozen=True, array_like=True, tag=True):
    """The supplier's first frame: its name, and its identity's signature over the challenge."""

    version: int
    name: str
    signature: bytes


class Welcome(Frame, frozen=True, array_like=True, tag=True):
    """The office has let the supplier in."""


class Part(Frame, frozen=True, array_like=True, tag=True):
    """A piece of a message: all are `PART_BYTES` long but the last, which is at most that."""

    exchange: int
    last: bool
    body: bytes


class Kit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a supplier needs to reach an office, beside the three PEM files that lie with it.

    Attributes
    ----------
    name : str
        The supplier's name; its certificate bears it.
    address : str
        Host and port of the office; its certificate bears the host.
    office_key : str
        The office's Ed25519 key in hex, which the supplier's policy must name too.
    """

    name: _Name
    address: _Address
    office_key: _Key


KIT_FILE, AUTHORITY_FILE, CERTIFICATE_FILE, PRIVATE_FILE = "link.toml", "ca.pem", "certificate.pem", "certificate.key"
#: The office's next authorities, signed: beside the kits, for all suppliers alike.
NEXT_AUTHORITIES_FILE = "authorities.json"
KIT_FILES = (KIT_FILE, AUTHORITY_FILE, CERTIFICATE_FILE, PRIVATE_FILE)
SUMS_FILE = "SHA256SUMS"  # of the files of a kit, as `sha256sum -c` reads it


def kit_text(kit: Kit) -> bytes:
    """A kit as TOML."""
    return "".join(f'{name} = "{value}"\n' for name, value in msgspec.structs.asdict(kit).items()).encode()


def load_kit(folder: Path) -> Kit:
    """Read a kit's TOML; FormatError if it is missing or is not one."""
    path = folder / KIT_FILE
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=Kit)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError(
            f"{folder.name}/{KIT_FILE} is not a readable kit ({type(error).__name__}); ask the office for a new one"
        ) from None


def check_address(address: str) -> None:
    """FormatError unless `address` is a host and a port."""
    try:
        msgspec.convert(address, type=_Address)
    except msgspec.ValidationError:
        raise FormatError("an address is a host and a port, for example office.example.org:7443") from None


def check_name(name: str) -> None:
    """FormatError unless `name` may stand on a roster."""
    try:
        msgspec.convert(name, type=_Name)
    except msgspec.ValidationError:
        raise FormatError("a supplier's name is up to 64 small letters, digits, - and _; choose another") from None


def check_key(key: str) -> None:
    """FormatError unless `key` looks like an Ed25519 public key in hex."""
    try:
        msgspec.convert(key, type=_Key)
    except msgspec.ValidationError:
        raise FormatError("a public key is 64 hex digits; `skyglow supplier key` shows the supplier's") from None


def hello(kit: Kit, identity: Identity, challenge: Challenge) -> Hello:
    """Answer a challenge; ProtocolError if it is of another version, or weak."""
    if challenge.version != VERSION or len(challenge.nonce) != NONCE_BYTES:
        raise ProtocolError(f"the office's link is not of version {VERSION}; update the older side")
    return Hello(VERSION, kit.name, identity.sign(HELLO, _said(kit.name, kit.office_key, challenge.nonce)))


def check_hello(found: Hello, name: str, public_key: str, office_key: str, nonce: bytes) -> None:
    """ProtocolError or SignatureError unless the hello is by `name`, for this office and this challenge."""
    if found.version != VERSION:
        raise ProtocolError(f"a supplier's link is not of version {VERSION}; update the older side")
    if found.name != name:
        raise ProtocolError(f"a hello on the link of {name} gives another name; check who holds its certificate")
    signing.verify(public_key, HELLO, _said(name, office_key, nonce), found.signature, what=f"the hello of {name}")


def encode(frame: Frame) -> bytes:
    """Encode one frame."""
    return msgspec.msgpack.encode(frame)


def decode(content: bytes) -> Challenge | Hello | Welcome | Part:
    """Decode one frame; ProtocolError if it is too large or malformed."""
    if len(content) > FRAME_BYTES:
        raise ProtocolError(f"a frame may have at most {FRAME_BYTES} bytes; update the older side")
    try:
        return msgspec.msgpack.decode(content, type=Challenge | Hello | Welcome | Part)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(f"a frame cannot be decoded ({type(error).__name__}); check both sides' versions") from None


def parts(exchange: int, message: bytes) -> Iterator[bytes]:
    """Cut a message into encoded frames."""
    starts = range(0, max(len(message), 1), PART_BYTES)
    for start in starts:
        yield encode(Part(exchange, start == starts[-1], message[start : start + PART_BYTES]))


@dataclass(slots=True)
class Assembly:
    """Puts messages together again from their parts, never holding more than the largest message."""

    exchange: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def add(self, part: Part) -> bytes | None:
        """Add a part; return the whole message after its last one.

        Raises
        ------
        ProtocolError
            The part is of another message than the one begun, short before the end, or makes the message too large.
        """
        if self.pieces and part.exchange != self.exchange:
            raise ProtocolError("a message was begun before the last one ended; update the older side")
        if len(part.body) > PART_BYTES or not (part.last or len(part.body) == PART_BYTES):
            raise ProtocolError("a message is cut in parts of another size than agreed; update the older side")
        if len(self.pieces) * PART_BYTES + len(part.body) > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message may have at most {MAX_MESSAGE_BYTES} bytes; split the study's blocks")
        self.exchange = part.exchange
        self.pieces.append(part.body)
        if not part.last:
            return None
        whole, self.pieces = b"".join(self.pieces), []
        return whole


def _said(name: str, office_key: str, nonce: bytes) -> bytes:
    return msgspec.msgpack.encode((VERSION, name, office_key, nonce))
