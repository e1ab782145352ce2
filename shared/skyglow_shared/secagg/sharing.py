# SPDX-License-Identifier: Apache-2.0
"""A supplier's first two steps in an attempt: it draws secrets, commits to them, and shares them out."""

from collections.abc import Mapping

from skyglow_shared.errors import ProtocolError
from skyglow_shared.privacy.randomness import Randomness
from skyglow_shared.secagg import agreement, channels, keys, ledger_heads, messages, shamir
from skyglow_shared.secagg.channels import Channel
from skyglow_shared.secagg.keys import Pinned
from skyglow_shared.secagg.ledger_heads import Head, Seen
from skyglow_shared.secagg.messages import Advertisement, Advertisements, EncryptedShares
from skyglow_shared.secagg.session import Session
from skyglow_shared.secagg.state import State
from skyglow_shared.secagg.supplier import Peer, Shared
from skyglow_shared.signing import Identity


class Advertised(State, frozen=True, kw_only=True, tag=True):
    """Has drawn its secrets and committed to them; `channel` is its channel's secret, for an attempt outlives it.

    `mask` and `recovering` are the keys that follow from `seed` and `recovery`.
    """

    channel: bytes
    seed: bytes
    recovery: bytes
    mask: bytes
    recovering: bytes
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
        ledger_heads.check_others(self.seen, heads, self.session.public_keys())
        places, digest = self.session.places(), messages.keys_digest(message.session, heard.values())
        held = shamir.split((self.seed, self.recovery), self.polynomials, [places[name] for name in heard])
        shares, peers, secrets = list[bytes](), {}, list[bytes]()
        for other in heads:
            outbound, inbound, secret, confirming, mask = self._keys_with(heard[other], digest)
            shares.append(keys.encrypt(outbound, held[places[other]] + ledger_heads.pack(seen.get(other))))
            shares.append(mask.commitment)
            peers[other] = Peer(inbound, mask.key, mask.commitment, confirming)
            secrets.append(secret)
        state = Shared(
            session=self.session,
            name=self.name,
            mask=self.mask,
            own=held[places[self.name]],
            peers=peers,
            heads=heads,
            keys_digest=digest,
        )
        return state, EncryptedShares(
            session=message.session,
            sender=self.name,
            shares=b"".join(shares),
            recovery=keys.encrypt(self.recovering, b"".join(secrets)),
        )

    def _keys_with(self, advertisement: Advertisement, digest: bytes) -> tuple[bytes, bytes, bytes, bytes, Pinned]:
        """The keys of an attempt with another: see `keys.PairKeys`, with the own key first, and that of their mask.

        They follow from all advertisements, and so from fresh secrets too: an attempt that is begun again under its
        name, by a ledger that was put back, has other keys.
        """
        own, other, places = self.name, advertisement.sender, self.session.places()
        ends = (own, self.advertisement.channel.key), (other, advertisement.channel.key)
        secret = channels.agreed(self.channel, self.session.study, *ends)
        names = (own, other) if places[own] < places[other] else (other, own)
        first, second, mask, confirming = keys.pair_keys(secret, digest, *names)
        outbound, inbound = (first, second) if own == names[0] else (second, first)
        pinned = keys.pinned(mask, self.advertisement.session, keys.MASK, *names)
        return outbound, inbound, mask, confirming, pinned


def advertise(
    session: Session,
    name: str,
    identity: Identity,
    head: Head,
    randomness: Randomness,
    *,
    channel: Channel,
    seen: Mapping[str, Seen],
) -> tuple[Advertised, Advertisement]:
    """Draw the secrets of one attempt and advertise commitments to them.

    Parameters
    ----------
    session : Session
    name : str
    identity : Identity
    head : Head
        Of the own ledger.
    randomness : Randomness
    channel : Channel
        The own end, for the session's study.
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
    seed, recovery = stream.read(keys.KEY_BYTES), stream.read(keys.KEY_BYTES)
    polynomials = shamir.draw(stream, 2 * (session.parameters.threshold - 1))
    mask, seed_commitment = keys.pinned(seed, identifier, keys.SELF, name)
    recovering, recovery_commitment = keys.pinned(recovery, identifier, keys.RECOVERY, name)
    advertisement = Advertisement(
        session=identifier,
        sender=name,
        channel=channel.shown,
        seed_commitment=seed_commitment,
        recovery_commitment=recovery_commitment,
        ledger_entries=head.entries,
        ledger_head=head.digest,
        signature=bytes(64),
    ).signed(identity)
    state = Advertised(
        session=session,
        name=name,
        channel=channel.secret,
        seed=seed,
        recovery=recovery,
        mask=mask,
        recovering=recovering,
        polynomials=polynomials,
        advertisement=advertisement,
        seen=dict(seen),
    )
    return state, advertisement
