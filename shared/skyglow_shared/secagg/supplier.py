# SPDX-License-Identifier: Apache-2.0
"""A supplier's side of one attempt: each state is what it remembers, each step gives the next state and the message.

States are frozen, and hold no more than later steps need. A step that raises leaves everything as it was. A state must
be stored, together with the message that came with it, before that message is sent, and be used once: `rounds.Round`
does the first half of this, the gate's ledger the second. The first two steps are in `sharing`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import InternalError, ProtocolError
from skyglow_shared.secagg import agreement, codec, keys, ledger_heads, masks, messages, shamir
from skyglow_shared.secagg.ledger_heads import DigestAt, Seen
from skyglow_shared.secagg.messages import (
    Delivery,
    MaskedInput,
    SurvivorSet,
    SurvivorSignature,
    SurvivorSignatures,
    Unmasking,
)
from skyglow_shared.secagg.state import Secret, State
from skyglow_shared.signing import Identity

_PAIR_BYTES = 2 * shamir.SHARE_BYTES


class Pair(Secret, frozen=True):
    """A share, or a ciphertext's worth, of both secrets of one supplier."""

    seed: bytes
    mask_key: bytes


class Shared(State, frozen=True, kw_only=True, tag=True):
    """Has shared its secrets out; `heads` says where the others' ledgers stand, `pairs` are the keys of their masks."""

    seed: bytes
    own: Pair
    inbound: dict[str, bytes]
    pairs: dict[str, bytes]
    heads: dict[str, Seen]
    keys_digest: bytes

    def mask_input(
        self, message: Delivery, vector: NDArray[np.int64], digest_at: DigestAt
    ) -> tuple["Masked", MaskedInput]:
        """Open what the others shared, and mask the own vector against each of them.

        Parameters
        ----------
        message : Delivery
        vector : ndarray of int64, shape (words,)
            The noised share. The same in every attempt: noise is never drawn again.
        digest_at : callable
            Gives the digest of the own ledger's chain after so many entries.

        Raises
        ------
        ProtocolError
            Too few shares, of a stranger, or changed on the way.
        RollbackError, PeerError
            The own ledger lacks a head that another supplier saw; see `ledger_heads.check_own`.
        StudyError
            A number of the vector is out of the study's public bounds.
        """
        contents = self._opened(message)
        claims = _claims(contents)
        ledger_heads.check_own(claims, digest_at, self.session.public_keys()[self.name])
        sharers = self.session.in_order([*contents, self.name])
        held = {name: _pair(contents[name]) if name in contents else self.own for name in sharers}
        transcript = messages.transcript(self.keys_digest, sharers)
        words = self._masked(message.session, sharers, vector)
        heads = {name: self.heads[name] for name in contents}
        state = Masked(session=self.session, name=self.name, held=held, transcript=transcript, heads=heads)
        packed = codec.pack(words, self.session.word_bits)
        return state, MaskedInput(session=message.session, sender=self.name, transcript=transcript, words=packed)

    def claims(self, message: Delivery) -> dict[str, Seen | None]:
        """What each of the others says it last saw of this supplier's ledger; ProtocolError as in `mask_input`."""
        return _claims(self._opened(message))

    def _opened(self, message: Delivery) -> dict[str, bytes]:
        """What the others encrypted, by name."""
        self.session.check(message.session)
        if message.recipient != self.name or not message.shares.keys() <= self.inbound.keys():
            raise ProtocolError("a delivery is for another supplier or names one that advertised no keys; refuse it")
        agreement.check_floor(self.session, [*message.shares, self.name], what="shared their secrets")
        contents = {}
        for sender, shared in self.session.ordered(message.shares).items():
            bound_to = messages.delivery_binding(self.keys_digest, sender, self.name)
            contents[sender] = keys.decrypt(self.inbound[sender], shared, bound_to, sender=sender)
        return contents

    def _masked(self, session: bytes, sharers: tuple[str, ...], vector: NDArray[np.int64]) -> codec.Words:
        if vector.shape != (self.session.words,) or vector.dtype != np.int64:
            raise InternalError("the vector to be masked has not the session's length or type; please report this")
        bits, place = self.session.word_bits, sharers.index(self.name)
        words = codec.encode(vector, bits, self.session.parameters.suppliers)
        own = keys.self_mask_key(self.seed, session, self.name)
        later, earlier = sharers[place + 1 :], sharers[:place]
        plus, minus = [own, *(self.pairs[other] for other in later)], [self.pairs[other] for other in earlier]
        return masks.apply(words, bits, plus=plus, minus=minus)


class Masked(State, frozen=True, kw_only=True, tag=True):
    """Has sent its masked vector; holds the others' shares and no secret of its own but shares of them."""

    held: dict[str, Pair]
    transcript: bytes
    heads: dict[str, Seen]

    def sign(self, message: SurvivorSet, identity: Identity) -> tuple["Signed", SurvivorSignature]:
        """Sign the one survivor set that this supplier will ever help to unmask in this attempt.

        Raises
        ------
        ProtocolError
            See `agreement.check_survivors`; or this supplier is said to have dropped.
        """
        self.session.check(message.session)
        survivors = agreement.check_survivors(self.session, self.held, message.survivors, message.dropped)
        if self.name not in survivors:
            raise ProtocolError("this supplier sent its vector and is said to have dropped; start a new attempt")
        body = messages.survivors_body(message.session, self.transcript, survivors)
        signature = identity.sign(messages.SURVIVORS, body)
        state = Signed(
            session=self.session,
            name=self.name,
            held=self.held,
            transcript=self.transcript,
            survivors=survivors,
            heads={name: head for name, head in self.heads.items() if name in survivors},
        )
        return state, SurvivorSignature(session=message.session, sender=self.name, signature=signature)


class Signed(State, frozen=True, kw_only=True, tag=True):
    """Has signed a survivor set; `heads` says where the other survivors' ledgers stand, as they themselves confirm.

    Who sent its vector was shown what others had seen of its ledger, and found it there.
    """

    held: dict[str, Pair]
    transcript: bytes
    survivors: tuple[str, ...]
    heads: dict[str, Seen]

    def unmask(self, message: SurvivorSignatures) -> tuple["Unmasked", Unmasking]:
        """Give the shares that this survivor set needs, once enough survivors have signed the very same set.

        Raises
        ------
        ProtocolError
            Fewer signatures than the threshold, or one of somebody who is not a survivor.
        SignatureError
            One of those that make the threshold is not over this set and transcript by its supplier's pinned key.

        Privacy
        -------
        Of each supplier one secret at most: the seed of a survivor, the mask key of a dropped one. The threshold makes
        certain that no second set finds as many signatures.
        """
        self.session.check(message.session)
        if not message.signatures.keys() <= set(self.survivors):
            raise ProtocolError("somebody signed the survivor set who is not in it; refuse this office")
        if len(message.signatures) < self.session.parameters.threshold:
            raise ProtocolError(
                f"fewer than {self.session.parameters.threshold} survivors signed the survivor set; "
                "start a new attempt when they are back"
            )
        body = messages.survivors_body(message.session, self.transcript, self.survivors)
        messages.verify_survivors(body, self._needed(message.signatures), self.session.public_keys())
        seeds = {name: pair.seed for name, pair in self.held.items() if name in self.survivors}
        mask_keys = {name: pair.mask_key for name, pair in self.held.items() if name not in self.survivors}
        reply = Unmasking(session=message.session, sender=self.name, seeds=seeds, mask_keys=mask_keys)
        return Unmasked(session=self.session, name=self.name), reply

    def _needed(self, signatures: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those of the others that must be right: as many as make the threshold, in the roster's order.

        Its own, if it is among them, counts and needs no look: it signed this set and no other.
        """
        others = {name: signature for name, signature in signatures.items() if name != self.name}
        count = self.session.parameters.threshold - (self.name in signatures)
        return dict(list(self.session.ordered(others).items())[:count])


class Unmasked(State, frozen=True, kw_only=True, tag=True):
    """Has given its shares and forgotten them."""


def _pair(content: bytes) -> Pair:
    return Pair(content[: shamir.SHARE_BYTES], content[shamir.SHARE_BYTES : _PAIR_BYTES])


def _claims(contents: Mapping[str, bytes]) -> dict[str, Seen | None]:
    return {name: ledger_heads.unpack(content[_PAIR_BYTES:]) for name, content in contents.items()}
