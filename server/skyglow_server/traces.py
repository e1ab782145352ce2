# SPDX-License-Identifier: Apache-2.0
"""Traces of a study for OpenTelemetry: a span a study, a span an exchange; nothing without the extra `traces`.

Run the service under `opentelemetry-instrument`, which decides where spans go. They carry the study's name, the phase,
the round, and how many suppliers were asked and answered.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from skyglow_server.federation import Federation

try:
    from opentelemetry import trace
except ImportError:
    trace = None  # type: ignore[assignment]

Attributes = Mapping[str, str | int]


@dataclass(slots=True)
class Traced:
    """A federation, each of whose exchanges is a span."""

    link: Federation
    phase: str = "approvals"
    round: int = 0

    def at(self, phase: str, done: int, total: int) -> None:
        """Note where the study is: a `Progress`."""
        del total
        self.phase, self.round = phase, done

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Ask as ever."""
        where: Attributes = {"skyglow.phase": self.phase, "skyglow.round": self.round, "skyglow.asked": len(requests)}
        with span("skyglow.exchange", where) as seen:
            replies = self.link.ask(requests)
            if seen is not None:
                seen.set_attribute("skyglow.answered", len(replies))
        return replies


@contextmanager
def study(name: str) -> Iterator[None]:
    """Within, a study runs."""
    with span("skyglow.study", {"skyglow.study": name}):
        yield


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[Any]:
    """A span, or nothing where OpenTelemetry is not installed.

    What an error says is not recorded, only that there was one: its text is for the log.
    """
    if trace is None:
        yield None
        return
    tracer = trace.get_tracer("skyglow")
    with tracer.start_as_current_span(
        name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
    ) as seen:
        try:
            yield seen
        except BaseException:
            seen.set_status(trace.StatusCode.ERROR)
            raise
