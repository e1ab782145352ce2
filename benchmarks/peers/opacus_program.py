# SPDX-License-Identifier: Apache-2.0
"""Private steps by Opacus 1.6, one a line of input: a mode's name comes in, its step's processor time goes out.

Usage: python opacus_program.py WORKLOAD; the modes that can do it are printed first. The building blocks are those that
Opacus offers for a step: per-sample gradients or ghost clipping, clipped and added up, without noise.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)

SIZES = {"perceptron": (60, 256, 256, 3), "daily": (48, 256, 256, 48)}
HOMES = {"perceptron": 1024, "daily": 256, "temporal": 256}
BOUND = 1.0


class Last(nn.Module):
    """Channels to the end, as the labels have them."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``[homes, channels, days, 48]``."""
        return x.permute(0, 2, 3, 1)


def model(workload: str) -> nn.Module:
    """The workload's network of torch's own layers."""
    if workload == "temporal":
        layers = json.loads(sys.argv[2])
        made = []
        for inputs, outputs, days, half_hours in layers:
            made += [nn.Conv2d(inputs, outputs, (days, half_hours), padding=(days // 2, half_hours // 2)), nn.ReLU()]
        return nn.Sequential(*made[:-1], Last())
    sizes = SIZES[workload]
    made = []
    for inputs, outputs in pairwise(sizes):
        made += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*made[:-1])


def data(workload: str) -> tuple[Tensor, Tensor]:
    """Inputs and labels, made up."""
    homes = HOMES[workload]
    if workload == "temporal":
        inputs = json.loads(sys.argv[2])[0][0]
        return torch.randn(homes, inputs, 28, 48), torch.randint(0, 2, (homes, 28, 48, 1)).float()
    days = (28,) if workload == "daily" else ()
    first, last = SIZES[workload][0], SIZES[workload][-1]
    return torch.randn(homes, *days, first), torch.randint(0, 2, (homes, *days, last)).float()


class Loss(nn.Module):
    """A home's loss is the mean over its places, added over outputs; over homes it is added, or left as it is."""

    def __init__(self, reduction: str = "sum") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, found: Tensor, wanted: Tensor) -> Tensor:
        """One number, or one a home."""
        each = nn.functional.binary_cross_entropy_with_logits(found, wanted, reduction="none")
        homes = each.flatten(1, -2).mean(1).sum(1) if each.ndim > 2 else each.sum(1)
        return homes.sum() if self.reduction == "sum" else homes


def stepper(mode: str, workload: str) -> Callable[[], None]:
    """A step in one of Opacus' modes."""
    x, y = data(workload)
    plain = model(workload)
    if mode == "ghost":
        module = GradSampleModuleFastGradientClipping(
            plain, batch_first=True, loss_reduction="sum", max_grad_norm=BOUND, use_ghost_clipping=True, strict=False
        )
        inner = torch.optim.SGD(module.parameters(), lr=0.1)
        optimiser = DPOptimizerFastGradientClipping(
            inner, noise_multiplier=0.0, max_grad_norm=BOUND, expected_batch_size=None, loss_reduction="sum"
        )
        loss = DPLossFastGradientClipping(module, optimiser, Loss(), loss_reduction="sum")
    else:
        module = wrap_model(plain, grad_sample_mode=mode, loss_reduction="sum")
        inner = torch.optim.SGD(module.parameters(), lr=0.1)
        optimiser = DPOptimizer(
            inner, noise_multiplier=0.0, max_grad_norm=BOUND, expected_batch_size=None, loss_reduction="sum"
        )
        loss = Loss()

    def step() -> None:
        optimiser.zero_grad()
        loss(module(x), y).backward()
        optimiser.pre_step()

    return step


def main() -> None:
    """Print the modes, then answer line by line."""
    workload, steps = sys.argv[1], {}
    for mode in ("ghost", "hooks", "functorch", "ew"):
        try:
            step = stepper(mode, workload)
            step()
            steps[mode] = step
        except Exception as error:  # a mode that cannot do this model is no mode for it
            print(f"{mode}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
    print(json.dumps(list(steps)), flush=True)
    for line in sys.stdin:
        step = steps[line.strip()]
        begun = time.process_time()
        step()
        print(time.process_time() - begun, flush=True)


if __name__ == "__main__":
    main()
