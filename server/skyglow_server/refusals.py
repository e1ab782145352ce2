# SPDX-License-Identifier: Apache-2.0
"""A supplier's refusal as the office's error."""

from skyglow_shared import errors
from skyglow_shared.errors import ProtocolError, SkyglowError
from skyglow_shared.messages import Refusal


def refusal_error(supplier: str, refusal: Refusal) -> SkyglowError:
    """Turn a refusal into the error of its exit code, with the supplier's name before its words."""
    message = f"{supplier} refused: {refusal.message}"
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SkyglowError) and kind.exit_code == refusal.code:
            if issubclass(kind, errors.RefusalError):
                return kind(message, rule=refusal.rule)
            return kind(message)
    return ProtocolError(message)
