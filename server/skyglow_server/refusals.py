# SPDX-License-Identifier: Apache-2.0
"""What a supplier may answer in place of a reply: a refusal, or what cannot be taken for a reply of its."""

from dataclasses import dataclass

from skyglow_shared import errors
from skyglow_shared.errors import ProtocolError, SkyglowError
from skyglow_shared.messages import Refusal


@dataclass(frozen=True, slots=True)
class Unread:
    """An answer that its supplier did not sign, or that belongs elsewhere: it is not kept. `error` says what it is."""

    error: SkyglowError


def refusal_error(supplier: str, refusal: Refusal) -> SkyglowError:
    """Turn a refusal into the error of its exit code, with the supplier's name before its words."""
    message = f"{supplier} refused: {refusal.message}"
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SkyglowError) and kind.exit_code == refusal.code:
            if issubclass(kind, errors.RefusalError):
                return kind(message, rule=refusal.rule)
            return kind(message)
    return ProtocolError(message)
