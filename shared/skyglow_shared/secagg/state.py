# SPDX-License-Identifier: Apache-2.0
"""What both sides' states have in common: frozen, storable, and silent about what they hold."""

import msgspec

from skyglow_shared.secagg.session import Session


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that must not get into a log: its `repr` is its name."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class State(Secret, frozen=True, kw_only=True):
    """Base of a supplier's states in one attempt.

    Attributes
    ----------
    session : Session
    name : str
        This supplier's.
    """

    session: Session
    name: str
