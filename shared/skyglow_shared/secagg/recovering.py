# SPDX-License-Identifier: Apache-2.0
"""The office's last step of an attempt: what masks the sum is recovered from shares, and taken out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import ProtocolError
from skyglow_shared.secagg import answers, keys, masks, shamir
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
        survivors = set(self.survivors)

        def check(name: str, reply: Unmasking) -> None:
            if reply.seeds.keys() != survivors or reply.recovery_keys.keys() != self.gone.keys():
                raise ProtocolError("it sent shares of other secrets than the survivor set needs")

        ordered, wrong = answers.sound(self.session, replies, Unmasking, self.survivors, check)
        answers.check_threshold(self.session, ordered, wrong, "sent shares for unmasking")
        identifier, bits = self.session.identifier(), self.session.word_bits
        shares = {name: {sender: one.seeds[name] for sender, one in ordered.items()} for name in self.survivors}
        seeds = {name: self._secret(name, keys.SELF, given, wrong) for name, given in shares.items()}
        plus: list[bytes] = []
        minus = [keys.self_mask_key(seed, identifier, name) for name, seed in seeds.items()]
        for name in self.gone:
            given = {sender: one.recovery_keys[name] for sender, one in ordered.items()}
            self._add_masks_with(name, self._secret(name, keys.RECOVERY, given, wrong), plus, minus)
        values = masks.taken_off(self.masked, self.session.words, bits, plus=plus, minus=minus)
        for sender, reply in ordered.items():
            for name in survivors & set(reply.doubted):
                wrong.setdefault(name, f"it confirmed another survivor set, says {sender}")
        return Sum(values, self.survivors, {**self.left_out, **wrong})

    def _secret(self, name: str, use: str, given: Mapping[str, bytes], wrong: dict[str, str]) -> bytes:
        """One secret of one supplier from shares by sender; senders whose shares of it are wrong go into `wrong`."""
        places, identifier, advertised = self.session.places(), self.session.identifier(), self.heard[name]
        pinned = advertised.seed_commitment if use == keys.SELF else advertised.recovery_commitment

        def is_it(secret: bytes) -> bool:
            return keys.commitment(secret, identifier, use, name) == pinned

        shares = {places[sender]: share for sender, share in given.items()}
        suspects = [places[sender] for sender in given if sender in wrong]
        what = "seed" if use == keys.SELF else "recovery key"
        try:
            secret, off = shamir.recover(shares, self.session.parameters.threshold, is_it, suspects)
        except ProtocolError as error:
            told = f"the {what} of {name} cannot be recovered: {error}; {name} shared it out wrongly, or too many lie"
            raise ProtocolError(f"{told} ({answers.told(wrong)}); this round has no sum") from None
        for sender in (sender for sender in given if places[sender] in off):
            wrong.setdefault(sender, f"its share of the {what} of {name} does not fit the others'")
        return secret

    def _add_masks_with(self, gone: str, recovery_key: bytes, plus: list[bytes], minus: list[bytes]) -> None:
        """Add to the keys of masks to be put on or taken off those that the survivors share with who dropped."""
        identifier, shared = self.session.identifier(), self.gone[gone]
        key, others = keys.derive(recovery_key, identifier, keys.RECOVERY, gone), [n for n in self.heard if n != gone]
        try:
            content = keys.decrypt(key, shared.recovery, sender=gone)
        except ProtocolError as error:
            raise ProtocolError(f"{error}: the masks of {gone} cannot be recovered; this round has no sum") from None
        size = keys.KEY_BYTES
        found = {other: content[place * size : (place + 1) * size] for place, other in enumerate(others)}
        places = self.session.places()
        for alive in self.survivors:
            first, second = (gone, alive) if places[gone] < places[alive] else (alive, gone)
            if keys.commitment(found[alive], identifier, keys.MASK, first, second) != shared.commitments[alive]:
                raise ProtocolError(f"{gone} committed to other masks than can be recovered; this round has no sum")
            (minus if alive == first else plus).append(found[alive])


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
    """

    values: NDArray[np.int64]
    survivors: tuple[str, ...]
    left_out: LeftOut = field(default_factory=dict)
