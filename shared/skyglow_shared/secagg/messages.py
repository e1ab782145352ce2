# SPDX-License-Identifier: Apache-2.0
"""What travels in an attempt. Each step's message names its session and sender; a link's envelope signs it as a whole.

====  ==================  =====================  ===========================================================
step  a supplier sends    the office answers     which says
====  ==================  =====================  ===========================================================
1     `Advertisement`     `Advertisements`       whose keys there are
2     `EncryptedShares`   `Delivery`             what the others shared with you, and so who is masked against
3     `MaskedInput`       `SurvivorSet`          whose vectors are in the sum
4     `SurvivorSignature` `SurvivorSignatures`   that the others were told the same
5     `Unmasking`
====  ==================  =====================  ===========================================================

What suppliers must believe of one another does not rest on the office: advertisements and survivor sets are signed by
the keys on the roster, and shares are encrypted between advertised keys.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

import msgspec

from skyglow_shared import signing
from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg.ledger_heads import ADVERTISEMENT, MOST_ENTRIES, SEEN_BYTES, Head, Seen
from skyglow_shared.secagg.shamir import SHARE_BYTES
from skyglow_shared.signing import Identity
from skyglow_shared.study import Key, Name

T = TypeVar("T")

SURVIVORS = b"skyglow-secagg-survivors-v1\0"

MAX_BYTES = 64 * 1024 * 1024

_ADVERTISED = b"skyglow-secagg-advertised-v1\0"
_KEYS = b"skyglow-secagg-keys-v1\0"
_TRANSCRIPT = b"skyglow-secagg-transcript-v1\0"
_TAG_BYTES = 16

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
SecretShare = Annotated[bytes, msgspec.Meta(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
_CIPHERTEXT_BYTES = 2 * SHARE_BYTES + SEEN_BYTES + _TAG_BYTES
Ciphertext = Annotated[bytes, msgspec.Meta(min_length=_CIPHERTEXT_BYTES, max_length=_CIPHERTEXT_BYTES)]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every message: `session` is the identifier of the attempt that it belongs to."""

    session: Digest


class Advertisement(Step, frozen=True, kw_only=True, tag=True):
    """A supplier's keys for one attempt and where its ledger stands, signed by its pinned identity.

    Attributes
    ----------
    exchange_key, mask_key : bytes
        Ephemeral X25519 public keys: for encrypting shares, for agreeing on masks.
    seed_commitment : bytes
        Pins the seed of its self-mask.
    ledger_entries, ledger_head : int, str
        How many entries its ledger has, and the digest that chains them: the others are its witnesses.
    signature : bytes
        Ed25519, over all the rest: in such a way that the head can be shown without the keys.
    """

    sender: Name
    exchange_key: Digest
    mask_key: Digest
    seed_commitment: Digest
    ledger_entries: Annotated[int, msgspec.Meta(ge=1, lt=MOST_ENTRIES)]
    ledger_head: Key
    signature: Signature

    def seen(self) -> Seen:
        """The head, with the signature and what else that is over."""
        rest = (self.session, self.sender, self.exchange_key, self.mask_key, self.seed_commitment)
        keys = hashlib.sha256(_ADVERTISED + msgspec.msgpack.encode(rest)).digest()
        return Seen(Head(self.ledger_entries, self.ledger_head), keys, self.signature)

    def body(self) -> bytes:
        """What is signed: everything but the signature."""
        return self.seen().body()

    def signed(self, identity: Identity) -> "Advertisement":
        """The same with the signature of `identity`."""
        return msgspec.structs.replace(self, signature=identity.sign(ADVERTISEMENT, self.body()))

    def verify(self, public_key: str) -> None:
        """SignatureError unless signed by that Ed25519 key."""
        self.seen().verify(public_key, what=f"the advertisement of {self.sender}")


class EncryptedShares(Step, frozen=True, kw_only=True, tag=True):
    """For every other supplier that advertised, encrypted, and of one size always.

    A share of the sender's seed, one of its mask key, and the last head of the recipient's ledger that the sender saw
    in an attempt before (`ledger_heads.pack`), which only the recipient can hold against its ledger.
    """

    sender: Name
    shares: dict[Name, Ciphertext]


class MaskedInput(Step, frozen=True, kw_only=True, tag=True):
    """The sender's vector under all its masks; `transcript` says which keys and partners these were.

    Privacy
    -------
    Uniform and independent of the vector for whoever lacks one of the masks.
    """

    sender: Name
    transcript: Digest
    words: bytes


class SurvivorSignature(Step, frozen=True, kw_only=True, tag=True):
    """The sender's Ed25519 signature over the survivor set it was told, and over the transcript."""

    sender: Name
    signature: Signature


class Unmasking(Step, frozen=True, kw_only=True, tag=True):
    """Shares of survivors' self-mask seeds and of dropped suppliers' mask keys: for each supplier one kind only."""

    sender: Name
    seeds: dict[Name, SecretShare]
    mask_keys: dict[Name, SecretShare]


class Advertisements(Step, frozen=True, kw_only=True, tag=True):
    """All the advertisements that the office got, in the roster's order."""

    advertisements: tuple[Advertisement, ...]


class Delivery(Step, frozen=True, kw_only=True, tag=True):
    """What the others encrypted for `recipient`, by sender."""

    recipient: Name
    shares: dict[Name, Ciphertext]


class SurvivorSet(Step, frozen=True, kw_only=True, tag=True):
    """Who is in the sum, and whose masks must be taken out of it: together, all who shared secrets."""

    survivors: tuple[Name, ...]
    dropped: tuple[Name, ...]


class SurvivorSignatures(Step, frozen=True, kw_only=True, tag=True):
    """The survivors' signatures over the set, by name."""

    signatures: dict[Name, Signature]


FromSupplier = Advertisement | EncryptedShares | MaskedInput | SurvivorSignature | Unmasking
FromOffice = Advertisements | Delivery | SurvivorSet | SurvivorSignatures


def encode(message: FromSupplier | FromOffice) -> bytes:
    """Encode a message."""
    return msgspec.msgpack.encode(message)


def decode_reply(content: bytes) -> FromSupplier:
    """Decode what a supplier sent; ProtocolError if it is anything else."""
    return _decode(content, FromSupplier)  # type: ignore[arg-type]


def decode_request(content: bytes) -> FromOffice:
    """Decode what the office sent; ProtocolError if it is anything else."""
    return _decode(content, FromOffice)  # type: ignore[arg-type]


def keys_digest(session: bytes, advertisements: Iterable[Advertisement]) -> bytes:
    """SHA-256 of everybody's advertisements, in the roster's order: two who saw different keys share nothing."""
    bodies = [advertisement.body() for advertisement in advertisements]
    return hashlib.sha256(_KEYS + msgspec.msgpack.encode((session, bodies))).digest()


def transcript(keys: bytes, sharers: Iterable[str]) -> bytes:
    """SHA-256 of the keys' digest and of who shared secrets: what a masked input's masks follow from."""
    return hashlib.sha256(_TRANSCRIPT + msgspec.msgpack.encode((keys, tuple(sharers)))).digest()


def delivery_binding(keys: bytes, sender: str, recipient: str) -> bytes:
    """What encrypted shares are bound to."""
    return msgspec.msgpack.encode((keys, sender, recipient))


def survivors_body(session: bytes, transcript_: bytes, survivors: Iterable[str]) -> bytes:
    """What a survivor signs."""
    return msgspec.msgpack.encode((session, transcript_, tuple(survivors)))


def verify_survivors(body: bytes, signatures: Mapping[str, bytes], keys: Mapping[str, str]) -> None:
    """SignatureError unless each of the signatures over that survivor set is by its supplier's pinned key."""
    for name, signature in signatures.items():
        signing.verify(
            keys[name], SURVIVORS, body, signature, what=f"the survivor set as {name} is said to have seen it"
        )


def _decode(content: bytes, kind: type[T]) -> T:
    if len(content) > MAX_BYTES:
        raise ProtocolError(f"a message may have at most {MAX_BYTES} bytes; split the study's blocks")
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(
            f"a message cannot be decoded ({type(error).__name__}); check both sides' versions"
        ) from None
