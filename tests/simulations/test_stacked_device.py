# SPDX-License-Identifier: Apache-2.0
"""A device may be named for the stacked trainer: everything but what is drawn at random is then there."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skyglow_shared.errors import RunError
from skyglow_simulations.stacked import Rows, Setting, accuracy, train

BASE = Setting(clients=7, rows=23, cohort=4, rounds=2, batch=10, epochs=2, hidden=5, clip=0.5, noise=0.7, seed=3)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class OnePlace(TorchDispatchMode):
    """Every operation but a copy has its tensors on one device; counts those on the device that is asked about."""

    def __init__(self, device):
        super().__init__()
        self.device, self.seen = device, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)]
        if func not in MOVES:
            assert len({tensor.device.type for tensor in tensors}) <= 1, f"{func} takes tensors of two devices"
        self.seen += any(tensor.device.type == self.device for tensor in tensors)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(8)
    features = torch.randn(7, 23, 6, generator=generator)
    return Rows(features, (torch.rand(7, 23, 2, generator=generator) < 0.4).float())


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("changes", [{}, {"hidden": 0}, {"clip": float("inf"), "noise": 0.0}])
def test_nothing_is_left_on_the_processor(rows, heads, changes):
    settings = [replace(BASE, **changes), replace(BASE, seed=4, **changes)]
    data = Rows(rows.features, rows.labels[..., :heads])
    with OnePlace("meta") as watched:
        weights = train(settings, data, device="meta")
        found = accuracy(weights, data)
    assert {part.device.type for part in (*weights, found)} == {"meta"}
    assert [part.shape for part in weights] == [part.shape for part in train(settings, data)]
    assert watched.seen > 100


def test_the_watch_notices_a_tensor_on_another_device():
    with OnePlace("meta"), pytest.raises(AssertionError, match="two devices"):
        torch.ones(2, device="meta").add(torch.tensor(1.0))


@pytest.mark.parametrize("device", DEVICES)
def test_weights_come_to_the_same_on_every_device(rows, device):
    settings = [BASE, replace(BASE, seed=4, noise=0.1), replace(BASE, seed=5, learning_rate=0.4)]
    start = train([replace(BASE, rounds=0)], rows, device=device)
    found, wanted = train(settings, rows, start=start, device=device), train(settings, rows, start=start)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there(rows, name):
    with pytest.raises(RunError, match=f"no device '{name}'.*use cpu"):
        train([BASE], rows, device=name)
