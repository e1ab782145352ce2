# SPDX-License-Identifier: Apache-2.0
"""A supplier's side of one attempt: each state is what it remembers, each step gives the next state and the message.

States are frozen, and hold no more than later steps need. A step that raises leaves everything as it was. A state must
be stored, together with the message that came with it, before that message is sent, and be used once: `rounds.Round`
does the first half of this, the gate's ledger the second. The first two steps are in `sharing`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import InternalError, PeerError, ProtocolError
from skyglow_shared.secagg import agreement, keys, ledger_heads, masks, messages, shamir
from skyglow_shared.secagg.ledger_heads import DigestAt, Seen
from skyglow_shared.secagg.messages import (
    CIPHERTEXT_BYTES,
    COMMITTED_BYTES,
    Confirmation,
    Confirmations,
    Delivery,
    MaskedInput,
    SurvivorSet,
    Unmasking,
)
from skyglow_shared.secagg.state import Secret, State

_SEED, _RECOVERY = slice(shamir.SHARE_BYTES), slice(shamir.SHARE_BYTES, 2 * shamir.SHARE_BYTES)
_BOTH = slice(2 * shamir.SHARE_BYTES)


class Peer(Secret, frozen=True):
    """Keys of an attempt with one other: of what it encrypts, of the mask between, and of survivor sets."""

    inbound: bytes
    mask: bytes
    mask_commitment: bytes
    confirming: bytes


class Shared(State, frozen=True, kw_only=True, tag=True):
    """Has shared its secrets out; `mask` is the key of its own mask, `own` its own shares of the two.

    `heads` says where the others' ledgers stand, as they advertised.
    """

    mask: bytes
    own: bytes
    peers: dict[str, Peer]
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
            Too few shares, or of a stranger.
        PeerError
            Changed on the way, or by somebody who was shown other advertisements; or somebody committed to another
            mask than the one between the two.
        RollbackError, PeerError
            The own ledger lacks a head that another supplier saw; see `ledger_heads.check_own`.
        StudyError
            A number of the vector is out of the study's public bounds.
        """
        contents = self._opened(message)
        claims = _claims(contents)
        ledger_heads.check_own(claims, digest_at, self.session.public_keys()[self.name])
        held = {name: content[_BOTH] for name, content in contents.items()}
        held[self.name] = self.own
        held = self.session.ordered(held)
        transcript = messages.transcript(self.keys_digest, held)
        state = Masked(
            session=self.session,
            name=self.name,
            held=held,
            confirming={name: self.peers[name].confirming for name in contents},
            transcript=transcript,
            heads={name: self.heads[name] for name in contents},
        )
        words = self._masked(tuple(held), vector)
        return state, MaskedInput(session=message.session, sender=self.name, transcript=transcript, words=words)

    def claims(self, message: Delivery) -> dict[str, Seen | None]:
        """What each of the others says it last saw of this supplier's ledger; ProtocolError as in `mask_input`."""
        return _claims(self._opened(message))

    def _opened(self, message: Delivery) -> dict[str, bytes]:
        """What the others encrypted, by name."""
        self.session.check(message.session)
        shares = messages.by_name(message.senders, message.shares, COMMITTED_BYTES)
        if message.recipient != self.name or not shares.keys() <= self.peers.keys():
            raise ProtocolError("a delivery is for another supplier or names one that advertised no keys; refuse it")
        agreement.check_floor(self.session, [*shares, self.name], what="shared their secrets")
        contents = {}
        for sender, shared in self.session.ordered(shares).items():
            peer = self.peers[sender]
            contents[sender] = keys.decrypt(peer.inbound, shared[:CIPHERTEXT_BYTES], sender=sender)
            if shared[CIPHERTEXT_BYTES:] != peer.mask_commitment:
                raise PeerError(f"{sender} committed to another mask than the one with this supplier", peer=sender)
        return contents

    def _masked(self, sharers: tuple[str, ...], vector: NDArray[np.int64]) -> memoryview:
        if vector.shape != (self.session.words,) or vector.dtype != np.int64:
            raise InternalError("the vector to be masked has not the session's length or type; please report this")
        place, suppliers = sharers.index(self.name), self.session.parameters.suppliers
        later, earlier = sharers[place + 1 :], sharers[:place]
        plus, minus = ([self.peers[other].mask for other in others] for others in (later, earlier))
        return masks.put_on(vector, self.session.word_bits, suppliers, own=self.mask, plus=plus, minus=minus)


class Masked(State, frozen=True, kw_only=True, tag=True):
    """Has sent its masked vector; holds the others' shares and no secret of its own but shares of them.

    Of each supplier it holds a share of its seed, and behind it one of its recovery key.
    """

    held: dict[str, bytes]
    confirming: dict[str, bytes]
    transcript: bytes
    heads: dict[str, Seen]

    def confirm(self, message: SurvivorSet) -> tuple["Confirmed", Confirmation]:
        """Confirm to the others the one survivor set that this supplier will ever help to unmask in this attempt.

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
        codes, awaited, is_first = [], {}, False
        for name in survivors:
            if name == self.name:
                is_first = True
                continue
            both = keys.confirmations(self.confirming[name], body)
            codes.append(both[not is_first])
            awaited[name] = both[is_first]
        state = Confirmed(
            session=self.session,
            name=self.name,
            held=self.held,
            awaited=awaited,
            heads={name: head for name, head in self.heads.items() if name in survivors},
        )
        return state, Confirmation(session=message.session, sender=self.name, codes=b"".join(codes))


class Confirmed(State, frozen=True, kw_only=True, tag=True):
    """Has confirmed a survivor set, and awaits from every other survivor the code that says that it did too.

    `heads` says where the other survivors' ledgers stand, as they themselves confirm: who sent its vector was shown
    what others had seen of its ledger, and found it there.
    """

    held: dict[str, bytes]
    awaited: dict[str, bytes]
    heads: dict[str, Seen]

    def unmask(self, message: Confirmations, spare: bytes) -> tuple["Unmasked", Unmasking]:
        """Give the shares that this survivor set needs, once enough survivors have confirmed the very same set.

        Parameters
        ----------
        message : Confirmations
        spare : bytes
            The key of what was added to the vector for the case that somebody drops out; it is told if all suppliers of
            the roster are survivors, and every one of them has confirmed it.

        Raises
        ------
        ProtocolError
            A code of somebody who is not a survivor, or fewer right ones than the threshold, the own set counted.
        PeerError
            The same, and somebody's is wrong.

        Privacy
        -------
        Of each supplier one secret at most: the seed of a survivor, the recovery key of a dropped one. A code of an
        honest supplier is for the one set that it was told. For two sets to be unmasked, each needs the threshold of
        suppliers behind it, and only the c colluders can stand behind both: 2 × threshold ≤ K + c, and it is more.

        Who tells its spare key has closed the round, so that its vector is in no sum but this one's, of all suppliers.
        """
        self.session.check(message.session)
        codes = messages.by_name(message.senders, message.codes, keys.KEY_BYTES)
        if message.recipient != self.name or not codes.keys() <= self.awaited.keys():
            raise ProtocolError("a survivor set is confirmed to another, or by somebody not in it; refuse this office")
        given = self.session.ordered(codes)
        doubted = tuple(name for name, code in given.items() if not keys.is_same(code, self.awaited[name]))
        self._check_enough(1 + len(given) - len(doubted), doubted)
        survivors = {self.name, *self.awaited}
        everybody = not doubted and {self.name, *given} == set(self.session.places())
        reply = Unmasking(
            session=message.session,
            sender=self.name,
            seeds=b"".join([both[_SEED] for name, both in self.held.items() if name in survivors]),
            recovery_keys=b"".join([both[_RECOVERY] for name, both in self.held.items() if name not in survivors]),
            doubted=doubted,
            spare=spare if everybody else b"",
        )
        return Unmasked(session=self.session, name=self.name), reply

    def _check_enough(self, right: int, doubted: tuple[str, ...]) -> None:
        least = self.session.parameters.threshold
        if right < least and doubted:
            told = f"{' and '.join(doubted)} confirmed another survivor set, and fewer than {least} survivors this one"
            raise PeerError(f"{told}; start a new attempt", peer=doubted[0])
        if right < least:
            raise ProtocolError(
                f"fewer than {least} survivors confirmed the survivor set; start a new attempt when they are back"
            )


class Unmasked(State, frozen=True, kw_only=True, tag=True):
    """Has given its shares and forgotten them."""


def _claims(contents: Mapping[str, bytes]) -> dict[str, Seen | None]:
    return {name: ledger_heads.unpack(content[_BOTH.stop :]) for name, content in contents.items()}
