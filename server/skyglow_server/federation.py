# SPDX-License-Identifier: Apache-2.0
"""How the coordinator reaches suppliers: one verb, whatever the transport."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Federation(Protocol):
    """Carries bytes to suppliers and back. Knows nothing of what they mean."""

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Send each supplier (by name) its request; return the replies of those that answered."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """Suppliers in this very process, each behind its one way in. Messages are still bytes."""

    handlers: Mapping[str, Callable[[bytes], bytes]]

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Hand each request to its supplier's handler, one after another."""
        return {name: self.handlers[name](request) for name, request in requests.items()}
