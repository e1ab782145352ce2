# SPDX-License-Identifier: Apache-2.0
"""A supplier's side of one round over all its attempts: what is done when, and that one attempt at most is unmasked.

::

    begin → Advertised → Shared → Masked → Confirmed → Unmasked: the round is closed
      ↑         │           │        │         │
      └─────────┴───────────┴────────┴─────────┘  a later attempt, with fresh secrets and the same vector

Every step happens once. The caller stores the new `Round` together with the reply, in one transaction, before it sends
the reply; asked the same again, it sends the stored bytes.
"""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import LedgerError, OrderError
from skyglow_shared.privacy.randomness import Randomness
from skyglow_shared.secagg.channels import Channel
from skyglow_shared.secagg.ledger_heads import Head, Seen, Witness
from skyglow_shared.secagg.messages import (
    Advertisement,
    Advertisements,
    Confirmations,
    Delivery,
    FromOffice,
    FromSupplier,
    SurvivorSet,
)
from skyglow_shared.secagg.session import Session
from skyglow_shared.secagg.sharing import Advertised, advertise
from skyglow_shared.secagg.state import Secret
from skyglow_shared.secagg.supplier import Confirmed, Masked, Shared, Unmasked
from skyglow_shared.signing import Identity

#: Gives the noised share, shape (words,), when it is needed; the same numbers for every attempt.
Vector = Callable[[], NDArray[np.int64]]
#: Gives the key of what the vector holds for the case that somebody drops out; empty if nothing.
Spare = Callable[[], bytes]


class Round(Secret, frozen=True):
    """Where a supplier stands in one round.

    Attributes
    ----------
    state : Advertised, Shared, Masked, Confirmed or Unmasked
        Of the latest attempt; the secrets of the ones before are gone.
    """

    state: Advertised | Shared | Masked | Confirmed | Unmasked

    @classmethod
    def begin(
        cls,
        session: Session,
        name: str,
        identity: Identity,
        head: Head,
        randomness: Randomness,
        *,
        channel: Channel,
        seen: Mapping[str, Seen],
    ) -> tuple["Round", Advertisement]:
        """Advertise for a round's first attempt to reach this supplier; see `sharing.advertise`."""
        state, advertisement = advertise(session, name, identity, head, randomness, channel=channel, seen=seen)
        return cls(state), advertisement

    def again(
        self,
        session: Session,
        identity: Identity,
        head: Head,
        randomness: Randomness,
        *,
        channel: Channel,
        seen: Mapping[str, Seen],
    ) -> tuple["Round", Advertisement]:
        """Give the attempt up for a later one, with fresh secrets.

        Raises
        ------
        OrderError
            The session is not a later attempt at this round, or this supplier has unmasked an earlier one.

        Privacy
        -------
        Two attempts unmasked with different survivors differ by one supplier's vector.
        """
        ours = self.state.session
        if isinstance(self.state, Unmasked):
            raise OrderError("an attempt at this round was unmasked; there can be no other", rule="order")
        if msgspec.structs.replace(session, attempt=ours.attempt) != ours or session.attempt <= ours.attempt:
            raise OrderError("a new attempt must be of the same round, and later than those before", rule="order")
        return Round.begin(session, self.state.name, identity, head, randomness, channel=channel, seen=seen)

    def answer(
        self, message: FromOffice, vector: Vector, witness: Witness, spare: Spare = bytes
    ) -> tuple["Round", FromSupplier]:
        """Take the step that a message of the office asks for.

        Parameters
        ----------
        message : FromOffice
        vector : callable
        witness : Witness
            What is known of ledgers: others' are checked before secrets are shared, the own before it is masked.
        spare : callable

        Raises
        ------
        ProtocolError
            Of another study, round or attempt, or not as the step demands; nothing has changed.
        SignatureError
            A key is not signed by whose it is said to be.
        PeerError
            Another supplier's message is not what it should be, or its ledger is behind.
        OrderError
            Not this step's turn, or taken before.
        RollbackError
            The own ledger is not the one that others saw.
        """
        self.state.session.check(message.session)
        match self.state, message:
            case Advertised() as state, Advertisements():
                return _after(state.share(message, witness.seen))
            case Shared() as state, Delivery():
                return _after(state.mask_input(message, vector(), witness.digest_at))
            case Masked() as state, SurvivorSet():
                return _after(state.confirm(message))
            case Confirmed() as state, Confirmations():
                return _after(state.unmask(message, spare()))
        raise OrderError(
            "this step of the attempt was taken before, or is not next; ask for the next one", rule="order"
        )

    def heads(self) -> dict[str, Seen]:
        """Where the others' ledgers stand: those whose vectors are in the sum, once the survivor set is confirmed."""
        return self.state.heads if isinstance(self.state, Confirmed) else {}

    def claims(self, message: FromOffice) -> dict[str, Seen | None]:
        """What the others last saw of this supplier's ledger, if that is in a message."""
        if isinstance(self.state, Shared) and isinstance(message, Delivery):
            return self.state.claims(message)
        return {}

    def encode(self) -> bytes:
        """The bytes to be stored in the supplier's ledger. They hold secrets until the attempt is over."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, content: bytes) -> "Round":
        """Read what `encode` wrote; LedgerError if it is damaged."""
        try:
            return msgspec.msgpack.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LedgerError(
                f"a stored round cannot be read ({type(error).__name__}): the ledger is damaged, restore it; or the "
                "round was begun by another version of skyglow, which alone can end it"
            ) from None


def _after(step: tuple[Shared | Masked | Confirmed | Unmasked, FromSupplier]) -> tuple[Round, FromSupplier]:
    state, reply = step
    return Round(state), reply
