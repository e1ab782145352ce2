# SPDX-License-Identifier: Apache-2.0
"""What travels in an attempt. Each step's message names its session and sender; a link's envelope signs it as a whole.

====  ==================  =====================  ===========================================================
step  a supplier sends    the office answers     which says
====  ==================  =====================  ===========================================================
1     `Advertisement`     `Advertisements`       whose keys there are
2     `EncryptedShares`   `Delivery`             what the others shared with you, and so who is masked against
3     `MaskedInput`       `SurvivorSet`          whose vectors are in the sum
4     `Confirmation`      `Confirmations`        that the others were told the same
5     `Unmasking`
====  ==================  =====================  ===========================================================

What suppliers must believe of one another does not rest on the office: channel keys are signed by the keys on the
roster; and under keys that follow from what was agreed with them, and from all advertisements, shares are encrypted
and survivor sets confirmed.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import Annotated, TypeVar

import msgspec

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg.channels import ChannelKey
from skyglow_shared.secagg.keys import KEY_BYTES, TAG_BYTES, Digest, Signature
from skyglow_shared.secagg.ledger_heads import ADVERTISEMENT, MOST_ENTRIES, SEEN_BYTES, Head, Seen
from skyglow_shared.secagg.shamir import SHARE_BYTES
from skyglow_shared.signing import Identity
from skyglow_shared.study import Key

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024

_ADVERTISED = b"skyglow-secagg-advertised-v2\0"
_KEYS = b"skyglow-secagg-keys-v2\0"
_TRANSCRIPT = b"skyglow-secagg-transcript-v2\0"

CIPHERTEXT_BYTES = 2 * SHARE_BYTES + SEEN_BYTES + TAG_BYTES
COMMITTED_BYTES = CIPHERTEXT_BYTES + KEY_BYTES


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every message: `session` is the identifier of the attempt that it belongs to.

    Names are compared with those on the roster, and need no look at their form.
    """

    session: Digest


class Advertisement(Step, frozen=True, kw_only=True, tag=True):
    """A supplier's channel key, what it commits to in one attempt, and where its ledger stands.

    Attributes
    ----------
    channel : ChannelKey
        The same in every attempt at the study.
    seed_commitment, recovery_commitment : bytes
        Pin the seed of its self-mask, and the key under which its other masks can be recovered if it drops out.
    ledger_entries, ledger_head : int, str
        How many entries its ledger has, and the digest that chains them: the others are its witnesses.
    signature : bytes
        Ed25519, over all the rest: in such a way that the head can be shown without the keys. It is a proof for a
        dispute about the head, and verified in one only: that the rest is the sender's shows by what it encrypts.
    """

    sender: str
    channel: ChannelKey
    seed_commitment: Digest
    recovery_commitment: Digest
    ledger_entries: Annotated[int, msgspec.Meta(ge=1, lt=MOST_ENTRIES)]
    ledger_head: Key
    signature: Signature

    def seen(self) -> Seen:
        """The head, with the signature and what else that is over."""
        rest = (self.session, self.sender, self.channel, self.seed_commitment, self.recovery_commitment)
        keys = hashlib.sha256(_ADVERTISED + msgspec.msgpack.encode(rest)).digest()
        return Seen(Head(self.ledger_entries, self.ledger_head), keys, self.signature)

    def body(self) -> bytes:
        """What is signed: everything but the signature."""
        return self.seen().body()

    def signed(self, identity: Identity) -> "Advertisement":
        """The same with the signature of `identity`."""
        return msgspec.structs.replace(self, signature=identity.sign(ADVERTISEMENT, self.body()))


class EncryptedShares(Step, frozen=True, kw_only=True, tag=True):
    """What the sender shares with every other supplier that advertised, and what recovers its masks if it drops out.

    Attributes
    ----------
    shares : bytes
        `COMMITTED_BYTES` for each, in the roster's order. Encrypted: a share of the sender's seed, one of its recovery
        key, and the last head of the recipient's ledger that the sender saw in an attempt before (`ledger_heads.pack`),
        which only the recipient can hold against its ledger. After these `CIPHERTEXT_BYTES`, a commitment to the secret
        of the mask between the two: the recipient derives the same one and checks it.
    recovery : bytes
        Those secrets, in the roster's order, encrypted under the key that follows from the sender's recovery key.
    """

    sender: str
    shares: bytes
    recovery: Annotated[bytes, msgspec.Meta(max_length=255 * KEY_BYTES + TAG_BYTES)]


class MaskedInput(Step, frozen=True, kw_only=True, tag=True):
    """The sender's vector under all its masks; `transcript` says which keys and partners these were.

    Privacy
    -------
    Uniform and independent of the vector for whoever lacks one of the masks.
    """

    sender: str
    transcript: Digest
    words: memoryview


class Confirmation(Step, frozen=True, kw_only=True, tag=True):
    """For every other survivor, under the key of that pair: the survivor set that the sender was told, and its masks.

    Who was told another set, or masked against others, finds another code. They are in the roster's order.
    """

    sender: str
    codes: bytes


class Unmasking(Step, frozen=True, kw_only=True, tag=True):
    """Shares of survivors' self-mask seeds and of dropped suppliers' recovery keys: for each supplier one kind only.

    They are in the roster's order. `doubted` are those whose confirmation was wrong, though enough others were right.
    `spare` is the key of what the sender added for the case that somebody drops out, if all confirmed that nobody did.
    """

    sender: str
    seeds: bytes
    recovery_keys: bytes
    doubted: tuple[str, ...]
    spare: Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES)] = b""


class Advertisements(Step, frozen=True, kw_only=True, tag=True):
    """All the advertisements that the office got, in the roster's order."""

    advertisements: tuple[Advertisement, ...]


class Delivery(Step, frozen=True, kw_only=True, tag=True):
    """What the others encrypted for `recipient`, and committed to with it: of each of the senders in turn."""

    recipient: str
    senders: tuple[str, ...]
    shares: bytes


class SurvivorSet(Step, frozen=True, kw_only=True, tag=True):
    """Who is in the sum, and whose masks must be taken out of it: together, all who shared secrets."""

    survivors: tuple[str, ...]
    dropped: tuple[str, ...]


class Confirmations(Step, frozen=True, kw_only=True, tag=True):
    """The other survivors' codes for `recipient`: of each of the senders in turn."""

    recipient: str
    senders: tuple[str, ...]
    codes: bytes


FromSupplier = Advertisement | EncryptedShares | MaskedInput | Confirmation | Unmasking
FromOffice = Advertisements | Delivery | SurvivorSet | Confirmations

_REPLY: msgspec.msgpack.Decoder[FromSupplier] = msgspec.msgpack.Decoder(FromSupplier)
_REQUEST: msgspec.msgpack.Decoder[FromOffice] = msgspec.msgpack.Decoder(FromOffice)


def encode(message: FromSupplier | FromOffice) -> bytes:
    """Encode a message."""
    return msgspec.msgpack.encode(message)


def decode_reply(content: bytes) -> FromSupplier:
    """Decode what a supplier sent; ProtocolError if it is anything else."""
    return _decode(content, _REPLY)


def decode_request(content: bytes) -> FromOffice:
    """Decode what the office sent; ProtocolError if it is anything else."""
    return _decode(content, _REQUEST)


def by_name(names: Collection[str], content: bytes, size: int) -> dict[str, bytes]:
    """What there is of each in turn, so many bytes; ProtocolError if a name is repeated, or there is more or less."""
    found = {name: content[place * size : (place + 1) * size] for place, name in enumerate(names)}
    if not len(found) * size == len(names) * size == len(content):
        raise ProtocolError("a message has more or fewer parts than suppliers, or names one twice; drop it")
    return found


def keys_digest(session: bytes, advertisements: Iterable[Advertisement]) -> bytes:
    """SHA-256 of everybody's advertisements, in the roster's order: two who saw different ones share nothing.

    Signatures are among what is hashed: who keeps a head keeps its proof, and must have the one that was made.
    """
    return hashlib.sha256(_KEYS + msgspec.msgpack.encode((session, tuple(advertisements)))).digest()


def transcript(keys: bytes, sharers: Iterable[str]) -> bytes:
    """SHA-256 of the keys' digest and of who shared secrets: what a masked input's masks follow from."""
    return hashlib.sha256(_TRANSCRIPT + msgspec.msgpack.encode((keys, tuple(sharers)))).digest()


def survivors_body(session: bytes, transcript_: bytes, survivors: Iterable[str]) -> bytes:
    """What a survivor confirms."""
    return msgspec.msgpack.encode((session, transcript_, tuple(survivors)))


def _decode(content: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    if len(content) > MAX_BYTES:
        raise ProtocolError(f"a message may have at most {MAX_BYTES} bytes; split the study's blocks")
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(
            f"a message cannot be decoded ({type(error).__name__}); check both sides' versions"
        ) from None
