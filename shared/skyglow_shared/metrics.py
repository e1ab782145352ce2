# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus, as a file that node_exporter's textfile collector reads: nothing listens for them.

What is measured are states and counts of messages, by names that stand in studies and on rosters anyway. No area, no
group, no home and no number that depends on readings may be a label or a value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skyglow_shared.files import write_atomically

#: All that may distinguish two samples of a metric; `code` is an exit code.
LABELS = frozenset({"supplier", "study", "state", "phase", "certificate", "code"})


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: name (its unit in it), what it says, and its samples, each by its labels."""

    name: str
    help: str
    kind: Literal["gauge", "counter"]
    samples: Mapping[tuple[tuple[str, str], ...], float] = field(default_factory=dict)


def single(name: str, text: str, kind: Literal["gauge", "counter"], value: float) -> Metric:
    """A metric without labels."""
    return Metric(name, text, kind, {(): value})


def write(path: Path, metrics: Iterable[Metric]) -> None:
    """Write metrics in Prometheus' text format, whole or not at all."""
    write_atomically(path, "".join(line + "\n" for metric in metrics for line in _lines(metric)).encode())


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in sorted(metric.samples.items()):
        strange = {name for name, _ in labels} - LABELS
        if strange:
            raise ValueError(f"{metric.name} may not have the labels {', '.join(sorted(strange))}")
        inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        yield f"{metric.name}{{{inner}}} {value!r}" if inner else f"{metric.name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
