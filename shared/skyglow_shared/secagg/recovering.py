# SPDX-License-Identifier: Apache-2.0
"""The office's last step of an attempt: what masks the sum is recovered from shares, and taken out of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg import answers, keys, masks, messages, shamir
from skyglow_shared.secagg.answers import LeftOut
from skyglow_shared.secagg.messages import Advertisement, EncryptedShares, FromSupplier, Unmasking
from skyglow_shared.secagg.session import Session


@dataclass(frozen=True, slots=True)
class Recovering:
    """Waits for shares of what masks the sum of the survivors' `masked` vectors.

    `gone` is what those shared whose masks are in it, and whose vectors are not.
    """

    session: Session
    heard: Mapping[str, Advertisement]
    gone: Mapping[str, EncryptedShares]
    survivors: tuple[str, ...]
    masked: tuple[memoryview, ...]
    left_out: LeftOut

    def unmasked(self, replies: Mapping[str, FromSupplier]) -> "Sum":
        """Recover the survivors' seeds and the masks with those who dropped, and take them all out of the sum.

        A share that is wrong shows, for a secret was committed to: it is found by leaving out one sender, then two, and
        so on; other shares of its sender are used last.

        Raises
        ------
        ProtocolError
            Too few shares for the survivor set, or no choice of them gives what was committed to; or what somebody who
            dropped sent for this does not hold the masks that it committed to.
        """
        size, survivors, places = shamir.SHARE_BYTES, set(self.survivors), self.session.places()

        def check(name: str, reply: Unmasking) -> None:
            if len(reply.seeds) != len(survivors) * size or len(reply.recovery_keys) != len(self.gone) * size:
                raise ProtocolError("it sent shares of other secrets than the survivor set needs")
            if reply.spare and (len(reply.spare) != keys.KEY_BYTES or len(survivors) < len(places)):
                raise ProtocolError("it told the key of its spare noise though not all are in the sum, or another key")

        ordered, wrong = answers.sound(self.session, replies, Unmasking, self.survivors, check)
        answers.check_threshold(self.session, ordered, wrong, "sent shares for unmasking")
        seeds = {places[sender]: reply.seeds for sender, reply in ordered.items()}
        recovery_keys = {places[sender]: reply.recovery_keys for sender, reply in ordered.items()}
        owns, plus, minus = self._keys(self.survivors, keys.SELF, seeds, wrong), list[bytes](), list[bytes]()
        for name, key in zip(self.gone, self._keys(self.gone, keys.RECOVERY, recovery_keys, wrong), strict=True):
            self._add_masks_with(name, key, plus, minus)
        words, bits = self.session.words, self.session.word_bits
        values = masks.taken_off(self.masked, owns, words, bits, plus=plus, minus=minus)
        for sender, reply in ordered.items():
            for name in survivors & set(reply.doubted):
                wrong.setdefault(name, f"it confirmed another survivor set, says {sender}")
        spares = {sender: reply.spare for sender, reply in ordered.items() if reply.spare}
        return Sum(values, self.survivors, {**self.left_out, **wrong}, spares)

    def _keys(self, names: Collection[str], use: str, given: Mapping[int, bytes], wrong: dict[str, str]) -> list[bytes]:
        """The key of one secret of each of these suppliers, from shares of them in turn by their senders' places."""
        identifier, size, found = self.session.identifier(), shamir.SHARE_BYTES, []
        likely = shamir.join_each(given, self.session.parameters.threshold)
        for place, (name, secret) in enumerate(zip(names, likely, strict=True)):
            pinned = keys.pinned(secret, identifier, use, name) if secret else keys.Pinned(b"", b"")
            if pinned.commitment == self._commitment(name, use):
                found.append(pinned.key)
                continue
            span = slice(place * size, (place + 1) * size)
            found.append(self._key(name, use, {point: shares[span] for point, shares in given.items()}, wrong))
        return found

    def _commitment(self, name: str, use: str) -> bytes:
        advertised = self.heard[name]
        return advertised.seed_commitment if use == keys.SELF else advertised.recovery_commitment

    def _key(self, name: str, use: str, shares: Mapping[int, bytes], wrong: dict[str, str]) -> bytes:
        """The key of one secret that not all of the shares give; who sent a wrong one goes into `wrong`."""
        session, commitment, places = self.session, self._commitment(name, use), self.session.places()
        identifier, found = session.identifier(), keys.Pinned(b"", b"")

        def is_it(secret: bytes) -> bool:
            nonlocal found
            found = keys.pinned(secret, identifier, use, name)
            return found.commitment == commitment

        suspects = {point for name, point in places.items() if name in wrong} if wrong else set()
        what = "seed" if use == keys.SELF else "recovery key"
        try:
            off = shamir.recover(shares, session.parameters.threshold, is_it, suspects)[1]
        except ProtocolError as error:
            told = f"the {what} of {name} cannot be recovered: {error}; {name} shared it out wrongly, or too many lie"
            raise ProtocolError(f"{told} ({answers.told(wrong)}); this round has no sum") from None
        for sender in [sender for sender, place in places.items() if place in off] if off else ():
            wrong.setdefault(sender, f"its share of the {what} of {name} does not fit the others'")
        return found.key

    def _add_masks_with(self, gone: str, key: bytes, plus: list[bytes], minus: list[bytes]) -> None:
        """Add to the keys of masks to be put on or taken off those that the survivors share with who dropped."""
        shared, others = self.gone[gone], [name for name in self.heard if name != gone]
        told = messages.by_name(others, shared.shares, messages.COMMITTED_BYTES)
        try:
            content = keys.decrypt(key, shared.recovery, sender=gone)
        except ProtocolError as error:
            raise ProtocolError(f"{error}: the masks of {gone} cannot be recovered; this round has no sum") from None
        size, identifier, places = keys.KEY_BYTES, self.session.identifier(), self.session.places()
        secrets = messages.by_name(others, content, size)
        for alive in self.survivors:
            names = (gone, alive) if places[gone] < places[alive] else (alive, gone)
            mask = keys.pinned(secrets[alive], identifier, keys.MASK, *names)
            if mask.commitment != told[alive][messages.CIPHERTEXT_BYTES :]:
                raise ProtocolError(f"{gone} committed to other masks than can be recovered; this round has no sum")
            (minus if alive == names[0] else plus).append(mask.key)


@dataclass(frozen=True, slots=True)
class Sum:
    """What the office learns.

    Attributes
    ----------
    values : ndarray of int64, shape (words,)
        The survivors' vectors added up, exactly.
    survivors : tuple of str
        Whose vectors are in it.
    left_out : mapping of str
        Who answered wrongly in some step, and how. A survivor can be among them, with its vector in the sum.
    spares : mapping of str to bytes
        The keys of what is in the sum for the case that somebody drops out, where nobody did.
    """

    values: NDArray[np.int64]
    survivors: tuple[str, ...]
    left_out: LeftOut = field(default_factory=dict)
    spares: Mapping[str, bytes] = field(default_factory=dict)
