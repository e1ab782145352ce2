# SPDX-License-Identifier: Apache-2.0
"""What a supplier that serves says of itself to its own Prometheus: counts of answers by their kind, never of homes."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from skyglow_shared import certificates, metrics
from skyglow_shared.errors import SkyglowError
from skyglow_shared.messages import Refusal, open_reply
from skyglow_shared.metrics import Metric, single

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """Counts what is answered and writes it to a file, after each answer and whenever the link begins or ends.

    Parameters
    ----------
    path : Path
        The file, in the folder of node_exporter's textfile collector.
    name, public_key : str
        The supplier's: its own replies are read.
    certificate : bytes
        PEM.
    """

    path: Path
    name: str
    public_key: str
    certificate: bytes
    answers: Counter[str] = field(default_factory=Counter)
    connected: bool = False
    last: float = 0.0

    def counting(self, handle: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """The same handler, counted."""

        def counted(request: bytes) -> bytes:
            reply = handle(request)
            self.answers[self._code(reply)] += 1
            self.last = time.time()
            self.write()
            return reply

        return counted

    def on_line(self, connected: bool) -> None:
        """Note that the link began or ended."""
        self.connected = connected
        self.write()

    def write(self) -> None:
        """Write the file; one that cannot be written is said in the log and stops nothing."""
        end = certificates.end_of(self.certificate)
        found = [
            single("skyglow_supplier_connected", "Whether the office is connected.", "gauge", int(self.connected)),
            Metric(
                "skyglow_supplier_answers_total",
                "Answers to the office since the service began, by exit code: 0 is no refusal.",
                "counter",
                {(("code", code),): count for code, count in self.answers.items()},
            ),
            single("skyglow_supplier_last_answer_timestamp_seconds", "When the last was given.", "gauge", self.last),
        ]
        if end is not None:
            text = "When this supplier's certificate ends."
            found.append(single("skyglow_supplier_certificate_end_timestamp_seconds", text, "gauge", end.timestamp()))
        try:
            metrics.write(self.path, found)
        except OSError as error:
            _log.error("the file of metrics cannot be written (%s); is the disk full?", type(error).__name__)

    def _code(self, reply: bytes) -> str:
        try:
            found = open_reply(reply, self.name, self.public_key)
        except SkyglowError as error:
            return str(error.exit_code)
        return str(found.code) if isinstance(found, Refusal) else "0"
