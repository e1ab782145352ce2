# SPDX-License-Identifier: Apache-2.0
"""What the office's service says of itself to Prometheus, all of it from files that `skyglow office status` reads."""

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from skyglow_server import keys
from skyglow_server.standing import standings
from skyglow_shared import certificates
from skyglow_shared.metrics import Metric, single


def measured(folder: Path, connected: Collection[str]) -> Iterator[Metric]:
    """The metrics of an office whose link these suppliers are on."""
    admitted = keys.admitted(folder)
    text = "When the office last said that it serves."
    yield single("skyglow_office_beat_timestamp_seconds", text, "gauge", time.time())
    yield Metric(
        "skyglow_office_connected",
        "Whether a supplier is connected.",
        "gauge",
        {(("supplier", name),): int(name in connected) for name in admitted},
    )
    found = standings(folder)
    yield Metric(
        "skyglow_office_study_state",
        "The state that a study is in.",
        "gauge",
        {(("study", name), ("state", one.state)): 1 for name, one in found.items()},
    )
    for what in ("done", "total"):
        yield Metric(
            f"skyglow_office_study_rounds_{what}",
            f"Rounds of a study's phase, {what}.",
            "gauge",
            {(("study", name), ("phase", one.phase)): getattr(one, what) for name, one in found.items() if one.total},
        )
    ends = {name: certificates.end_of((folder / file).read_bytes()) for name, file in keys.CERTIFICATES.items()}
    yield Metric(
        "skyglow_office_certificate_end_timestamp_seconds",
        "When a certificate of the office ends.",
        "gauge",
        {(("certificate", name),): end.timestamp() for name, end in ends.items() if end is not None},
    )
