# SPDX-License-Identifier: Apache-2.0
"""What privacy adds to a training step: clipped sums on the grid beside the same step without privacy, and Opacus 1.6.

The step without privacy is the fastest we can write: our own passes, by the same products, with one more for each
layer's gradient, over as many homes at a time as is best. Beside it stands the step as everybody writes it, by torch's
layers and automatic differentiation. Opacus runs in an environment of its own, in whichever of its modes is fastest
here, turn by turn with ours. All use float32 and one thread; times are processor time. Our step and the fastest without
privacy follow each other and nothing else: what a step finds in the processor's cache depends on what ran before.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is loaded
os.environ.pop("OPENBLAS_CORETYPE", None)  # so that OpenBLAS knows the processor, as it does elsewhere
os.environ.pop("OPENBLAS_L2_SIZE", None)
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that it also runs as a plain script

from benchmarks.common import Result, run

from skyglow_client.learning.clipped_sums import DOUBLE, Batch, clipped_sum, exact_sum
from skyglow_client.learning.clipped_sums.batch import Rows
from skyglow_client.learning.clipped_sums.choice import on_grid
from skyglow_client.learning.clipped_sums.passes import passed
from skyglow_shared.models.network import (
    Layer,
    Network,
    Parameters,
    forward,
    gradients,
    in_rows,
    kernel,
    parts,
    surrounded,
)
from skyglow_shared.models.temporal import network as temporal
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import Block

ROOT = Path(__file__).resolve().parents[1]
PIECES = (4, 8, 16, 32, 64, 256, 512)  # homes at once, of ways to go without privacy
FEW = 16  # inputs of a convolution, below which torch's is slower than our own gradients
LARGEST_ERROR = 1e-4  # of a sum's norm


@dataclass(frozen=True, slots=True)
class Workload:
    """A network and homes.

    Attributes
    ----------
    name : str
    network : Network
    homes : int
        Of a step.
    pairs : int
        Steps of ours and without privacy, for each turn of the others: more where they are short.
    bound : float
        About the middle norm of homes' gradients, as a study would choose it.
    most : float
        How much longer than without privacy a step may take.
    """

    name: str
    network: Network
    homes: int
    pairs: int
    bound: float
    most: float

    @property
    def block(self) -> Block:
        """Where the sum goes."""
        return Block(name="gradient", source="gradient", model="m", l2_bound=self.bound, noise_multiplier=1.0)


WORKLOADS = (
    Workload("perceptron", Network((Layer(60, 256), Layer(256, 256), Layer(256, 3))), 1024, 16, 14.0, 1.3),
    Workload("daily", Network((Layer(48, 256), Layer(256, 256), Layer(256, 48)), (28,)), 256, 2, 14.0, 1.5),
    Workload("temporal", temporal(28), 256, 1, 0.05, 1.3),
)


@dataclass(frozen=True, slots=True)
class Step:
    """All that a step needs: homes, weights, and the same as tensors."""

    workload: Workload
    batch: Batch
    weights: NDArray[np.float64]
    parameters: Parameters
    rows: Rows

    @classmethod
    def of(cls, workload: Workload) -> "Step":
        """Make homes and weights up."""
        some, network, homes = np.random.default_rng(0), workload.network, workload.homes
        x = some.normal(size=(homes, *network.places, network.inputs)).astype(np.float32)
        y = some.integers(0, 2, (homes, *network.places, network.outputs)).astype(np.float32)
        keys = np.sort(some.integers(0, 2**64, homes, dtype=np.uint64))
        weights = some.normal(size=network.parameters) / 10
        inputs, outputs = (torch.from_numpy(values).view(homes, network.count, -1) for values in (x, y))
        share = torch.full_like(outputs, 1 / network.count)
        rows = Rows(inputs, outputs, share, None, torch.ones(homes, dtype=torch.bool))
        return cls(workload, Batch(keys, x, y), weights, parts(network, weights, torch.float32), rows)


@torch.inference_mode()
def fused(step: Step, homes: int) -> None:
    """Our own passes over so many homes at a time, and each layer's gradient as one product."""
    network, total = step.workload.network, None
    for begin in range(0, step.workload.homes, homes):
        own = slice(begin, begin + homes)
        given = step.rows
        rows = Rows(given.x[own], given.y[own], given.share[own], None, given.usable[own])
        found = passed(network, step.parameters, rows)
        each = zip(network.layers, step.parameters, found.rows, found.errors, strict=True)
        sums = [_layer_sum(layer, weight, into, errors) for layer, (weight, _), into, errors in each]
        total = sums if total is None else [_add(*pair) for pair in zip(total, sums, strict=True)]


def _add(total: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return total[0].add_(more[0]), total[1].add_(more[1])


def _layer_sum(layer: Layer, weight: Tensor, rows: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    if not layer.looks_around:
        left, right = errors.flatten(0, 1).numpy(), rows.flatten(0, 1).numpy()
        found = left.T @ right, np.ones(len(left), left.dtype) @ left
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])
    if layer.inputs < FEW:
        total = gradients(layer, errors, rows).sum(0)
        return total[: -layer.outputs].view(layer.outputs, -1), total[-layer.outputs :]
    _, by_kernel, by_bias = torch.ops.aten.convolution_backward(
        in_rows(layer, errors), rows.permute(0, 3, 1, 2), kernel(layer, weight), [layer.outputs],
        [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, True],
    )  # fmt: skip
    return by_kernel.permute(0, 2, 3, 1).reshape(layer.outputs, -1), by_bias


def automatic(step: Step) -> None:
    """The step as everybody writes it: torch's layers and automatic differentiation."""
    values, leaves = step.rows.x, []
    for number, (layer, pair) in enumerate(zip(step.workload.network.layers, step.parameters, strict=True)):
        weight, bias = (part.detach().requires_grad_() for part in pair)
        leaves += [weight, bias]
        around = layer.looks_around
        linear = torch.nn.functional.linear
        values = forward(layer, weight, bias, surrounded(layer, values)) if around else linear(values, weight, bias)
        if number < len(step.parameters) - 1:
            values = torch.relu(values)
    each = torch.nn.functional.binary_cross_entropy_with_logits(values, step.rows.y, reduction="none")
    torch.autograd.grad(each.mean(1).sum(), leaves)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """A turn that does `work` and returns its milliseconds of processor time."""

    def turn() -> float:
        begun = time.process_time()
        work()
        return (time.process_time() - begun) * 1e3

    return turn


@contextmanager
def opacus(workload: Workload) -> Iterator[dict[str, Callable[[], float]]]:
    """Turns of each of Opacus' modes, in a process of its own; its environment is made if it is missing."""
    python = ROOT / ".venv-opacus" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        wanted = ["opacus==1.6.0", "torch==2.13.0"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True, stderr=subprocess.DEVNULL)
    layers = [[one.inputs, one.outputs, one.days, one.half_hours] for one in workload.network.layers]
    command = [str(python), str(ROOT / "benchmarks" / "peers" / "opacus_program.py"), workload.name, json.dumps(layers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise SystemExit("Opacus could not be started")

    def turn(mode: str) -> float:
        stdin.write(mode + "\n")
        stdin.flush()
        return float(stdout.readline()) * 1e3

    try:
        modes = json.loads(stdout.readline())
        yield {mode: lambda own=mode: turn(own) for mode in modes}
    finally:
        stdin.close()
        process.wait()


def measure(quick: bool) -> Sequence[Result]:
    """Every workload: ours over the step without privacy, over Opacus, and how exact it is."""
    torch.set_num_threads(1)
    results = [_measured(Step.of(workload), quick) for workload in WORKLOADS]
    return [result for kind in zip(*results, strict=True) for result in kind]


def _measured(step: Step, quick: bool) -> list[Result]:
    workload = step.workload
    pieces = sorted({min(size, workload.homes) for size in (*PIECES, workload.homes)})
    plain = {f"passes of {size} homes": timed(lambda own=size: fused(step, own)) for size in pieces}
    usual = timed(lambda: automatic(step))
    ours = timed(lambda: exact_sum(workload.network, step.weights, step.batch, workload.block))
    with opacus(workload) as modes:
        ours()  # first: the process then keeps its memory, for all ways
        fastest = min(plain, key=lambda name: _best(plain[name]))
        mode = min(modes, key=lambda name: _best(modes[name]))
        turns = [ours, modes[mode], usual]
        for turn in turns:
            turn()
        repeats = 7 if quick else 31
        taken = [[turn() for turn in turns] for _ in range(repeats)]
    beside = [(ours(), plain[fastest]()) for _ in range(repeats * workload.pairs)]
    own = median(mine for mine, _ in beside)
    overhead = median(mine / other for mine, other in beside)
    against = median(row[1] / row[0] for row in taken)
    everybody = median(row[0] / row[2] for row in taken)
    error = _error(step)
    return [
        Result(
            f"{workload.name}: a private step for {workload.homes} homes",
            own,
            "ms",
            f"the same without privacy ({fastest})",
            overhead,
            at_most=workload.most,
        ),
        Result(
            f"{workload.name}: the same step", own, "ms", "the same by torch's layers", everybody, at_most=workload.most
        ),
        Result(f"{workload.name}: the same step", own, "ms", f"faster than Opacus 1.6 ({mode})", against, 1.0),
        Result(f"{workload.name}: error", error, "of the sum", f"below {LARGEST_ERROR:g}", LARGEST_ERROR / error, 1.0),
    ]


def _best(turn: Callable[[], float]) -> float:
    turn()
    return min(turn() for _ in range(3))


def _error(step: Step) -> float:
    """Distance of the whole step's sum from the same in float64, with the bound that homes are held to on the grid.

    Norms, too, have room for their rounding, so clipped homes are a little shorter still; that is no error.
    """
    network, block = step.workload.network, step.workload.block
    bound = on_grid(network, block).bound
    assert bound > 0.98 * block.l2_bound, "room for rounding takes too much of the bound"  # noqa: S101
    wanted = clipped_sum(network, step.weights, step.batch, bound, arithmetic=DOUBLE, method="fused")
    found = exact_sum(network, step.weights, step.batch, block)[0] * step_size(block)
    longer = (found @ wanted) / (found @ found)
    assert 1 <= longer < 1.001 or np.isclose(longer, 1, atol=1e-5), "homes are shorter than room explains"  # noqa: S101
    return float(np.linalg.norm(longer * found - wanted) / np.linalg.norm(wanted))


if __name__ == "__main__":
    run("A private step beside the same without privacy, and beside Opacus 1.6.", measure)
