# SPDX-License-Identifier: Apache-2.0
"""A supplier's first two steps in an attempt: it draws secrets, advertises keys, and shares the secrets out."""

from collections.abc import Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import ByteStream, Randomness
from skyglow_shared.secagg import agreement, keys, ledger_heads, messages, shamir
from skyglow_shared.secagg.ledger_heads import Head, Seen
from skyglow_shared.secagg.messages import Advertisement, Advertisements, EncryptedShares
from skyglow_shared.secagg.session import Session
from skyglow_shared.secagg.state import State
from skyglow_shared.secagg.supplier import Pair, Shared
from skyglow_shared.signing import Identity


class Advertised(State, frozen=True, kw_only=True, tag=True):
    """Has drawn its secrets and sent its keys."""

    exchange: bytes
    mask: bytes
    seed: bytes
    polynomials: bytes
    advertisement: Advertisement
    seen: dict[str, Seen]

    def share(self, message: Advertisements, seen: Mapping[str, Seen]) -> tuple[Shared, EncryptedShares]:
        """Check everybody's keys and ledgers, and share the own two secrets out among them.

        Parameters
        ----------
        message : Advertisements
        seen : mapping of Seen
            The last heads of the others' ledgers that were seen, by name: sent back encrypted. The others' ledgers are
            held against those that were seen when keys were advertised, for another study may go on meanwhile.

        Raises
        ------
        ProtocolError, SignatureError
            See `agreement.check_advertisements`; or the own advertisement is not among them as it was sent.
        PeerError
            See `ledger_heads.check_others`.
        """
        self.session.check(message.session)
        given = {one.sender: one for one in message.advertisements}
        if len(given) != len(message.advertisements) or given.get(self.name) != self.advertisement:
            raise ProtocolError("the list of advertisements repeats a supplier or lacks this one's own; refuse it")
        heard = agreement.check_advertisements(self.session, given, self.name)
        heads = {name: advertisement.seen() for name, advertisement in heard.items() if name != self.name}
        ledger_heads.check_others(self.seen, heads)
        held = self._split(list(heard))
        digest = messages.keys_digest(message.session, heard.values())
        exchange, mask = keys.private_key(self.exchange), keys.private_key(self.mask)
        inbound, shares, pairs = {}, {}, {}
        for other in heads:
            secret = keys.agree(exchange, heard[other].exchange_key)
            inbound[other] = keys.derive(secret, message.session, keys.DELIVERY, other, self.name)
            outbound = keys.derive(secret, message.session, keys.DELIVERY, self.name, other)
            bound_to = messages.delivery_binding(digest, self.name, other)
            content = held[other].seed + held[other].mask_key + ledger_heads.pack(seen.get(other))
            shares[other] = keys.encrypt(outbound, content, bound_to)
            ends = self.session.in_order((self.name, other))
            pairs[other] = keys.pair_mask_key(mask, heard[other].mask_key, message.session, *ends)
        state = Shared(
            session=self.session,
            name=self.name,
            seed=self.seed,
            own=held[self.name],
            inbound=inbound,
            pairs=pairs,
            heads=heads,
            keys_digest=digest,
        )
        return state, EncryptedShares(session=message.session, sender=self.name, shares=shares)

    def _split(self, names: list[str]) -> dict[str, Pair]:
        places, threshold, stream = (
            self.session.places(),
            self.session.parameters.threshold,
            ByteStream(self.polynomials),
        )
        points = [places[name] for name in names]
        seeds = shamir.split(self.seed, threshold, points, stream)
        mask_keys = shamir.split(self.mask, threshold, points, stream)
        return {name: Pair(seeds[places[name]], mask_keys[places[name]]) for name in names}


def advertise(
    session: Session, name: str, identity: Identity, head: Head, randomness: Randomness, *, seen: Mapping[str, Seen]
) -> tuple[Advertised, Advertisement]:
    """Draw the secrets of one attempt and advertise their public halves.

    Parameters
    ----------
    session : Session
    name : str
    identity : Identity
    head : Head
        Of the own ledger.
    randomness : Randomness
    seen : mapping of Seen
        The last heads of the others' ledgers that were seen until now, by name.

    Raises
    ------
    ProtocolError
        This supplier is not on the session's roster under this identity.
    """
    if session.public_keys().get(name) != identity.public_key:
        raise ProtocolError("this supplier is not on the session's roster under its own key; check the study")
    identifier = session.identifier()
    label = session.study, session.phase, session.round, session.attempt
    stream = randomness.stream("secure aggregation", *label, name)
    exchange, mask, seed, polynomials = (stream.read(keys.KEY_BYTES) for _ in range(4))
    advertisement = Advertisement(
        session=identifier,
        sender=name,
        exchange_key=keys.public_key(exchange),
        mask_key=keys.public_key(mask),
        seed_commitment=keys.commitment(seed, identifier, name),
        ledger_entries=head.entries,
        ledger_head=head.digest,
        signature=bytes(64),
    ).signed(identity)
    state = Advertised(
        session=session,
        name=name,
        exchange=exchange,
        mask=mask,
        seed=seed,
        polynomials=polynomials,
        advertisement=advertisement,
        seen=dict(seen),
    )
    return state, advertisement
