# SPDX-License-Identifier: Apache-2.0
"""Trainings stacked into one computation come to what each comes to alone, and to what a plain loop comes to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyglow_simulations.stacked import Rows, Setting, accuracy, train, training

BASE = Setting(clients=7, rows=23, cohort=4, rounds=3, batch=10, epochs=2, learning_rate=0.3, hidden=5, seed=3)


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(8)
    features = torch.randn(7, 23, 6, generator=generator)
    return Rows(features, (torch.rand(7, 23, 2, generator=generator) < 0.4).float())


def close(one, other):
    return all(torch.allclose(a, b, rtol=1e-4, atol=2e-6) for a, b in zip(one, other, strict=True))


def apart(one, other):
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def plain(setting, data):
    """The same training, client after client, with modules, automatic gradients and an optimiser, in float64."""
    features, heads = data.sizes
    generator, words = torch.Generator().manual_seed(setting.seed), np.random.SFC64(setting.seed)
    shapes = [(features + 1, heads)]
    if setting.hidden:
        shapes = [(features + 1, setting.hidden), (setting.hidden, heads), (1, heads)]
    scales = (features, setting.hidden, setting.hidden)
    state = [(torch.rand(1, *s, generator=generator) * 2 - 1)[0] / math.sqrt(w) for s, w in zip(shapes, scales)]  # noqa: B905
    state = [part.double() for part in state]
    for _ in range(setting.rounds):
        cohort = torch.randperm(setting.clients, generator=generator)[: setting.cohort]
        orders = [order_of(setting, words) for _ in range(setting.epochs)]
        updates = [local(setting, data, state, client, [o[i] for o in orders]) for i, client in enumerate(cohort)]
        moved = [torch.stack(parts).mean(0) for parts in zip(*updates, strict=True)]
        state = [part + move for part, move in zip(state, moved, strict=True)]
        if setting.noise:
            scale = setting.noise * setting.clip / setting.cohort
            state = [part + scale * torch.randn(part.shape, generator=generator) for part in state]
    return [part[None].float() for part in state]


def order_of(setting, words):
    """Each client's rows in the order of random words, the last bits of which do not count."""
    last = 2 ** (setting.rows - 1).bit_length()
    drawn = [[int(word) // last for word in words.random_raw(setting.rows)] for _ in range(setting.cohort)]
    return torch.tensor([sorted(range(setting.rows), key=keys.__getitem__) for keys in drawn])


def local(setting, data, state, client, orders):
    own = [part.clone().requires_grad_() for part in state]
    optimiser = torch.optim.SGD(own, lr=setting.learning_rate)
    x, y = data.features[client].double(), data.labels[client].double()
    for order in orders:
        for chosen in order.split(setting.batch):
            optimiser.zero_grad()
            out = x[chosen] @ own[0][:-1] + own[0][-1]
            if setting.hidden:
                out = out.relu() @ own[1] + own[2]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out, y[chosen], reduction="sum")
            (loss / len(chosen)).backward()
            optimiser.step()
    update = [(after - before).detach() for after, before in zip(own, state, strict=True)]
    norm = math.sqrt(sum(float((part**2).sum()) for part in update))
    return [part * min(1.0, setting.clip / norm) for part in update]


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("privacy", [{}, {"clip": 0.2}, {"clip": 1e6}, {"clip": 0.5, "noise": 0.7}])
@pytest.mark.parametrize("batch", [10, 23, 40])
@pytest.mark.parametrize("heads", [1, 2])
def test_equals_a_plain_loop(rows, hidden, privacy, batch, heads):
    setting = replace(BASE, hidden=hidden, batch=batch, **privacy)
    data = Rows(rows.features, rows.labels[..., :heads])
    assert close(train([setting], data), plain(setting, data))


@pytest.mark.parametrize("privacy", [{}, {"clip": 0.5, "noise": 0.7}])
@pytest.mark.parametrize("heads", [1, 2])
def test_large_batches_equal_a_plain_loop(privacy, heads):
    generator = torch.Generator().manual_seed(9)
    data = Rows(
        torch.randn(3, 200, 6, generator=generator), (torch.rand(3, 200, heads, generator=generator) < 0.4).float()
    )
    setting = replace(BASE, clients=3, cohort=2, rows=200, batch=80, **privacy)  # two batches of 80, and one of 40
    together = train([setting, replace(setting, seed=8)], data)
    assert close([part[:1] for part in together], plain(setting, data))


def test_every_order_of_rows_is_as_likely_as_any():
    setting, words = replace(BASE, rows=3, cohort=1000), np.random.SFC64(1)
    orders = training._order(setting, torch.arange(1000), words)
    rows = orders - 3 * torch.arange(1000)[:, None]
    assert torch.equal(rows.sort(1).values, torch.arange(3).expand(1000, -1)), "each client has its own rows, once"
    counts = np.unique(rows @ torch.tensor([9, 3, 1]), return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 1000 / 6) ** 2 / (1000 / 6)).sum() < 20.5, (
        "chi-squared, five degrees of freedom, one in a thousand"
    )


@pytest.mark.parametrize("hidden", [0, 5])
def test_stacked_equals_one_at_a_time(rows, hidden):
    base = replace(BASE, hidden=hidden)
    settings = [
        base,
        replace(base, seed=4, learning_rate=0.05),
        replace(base, seed=4, clip=0.3),
        replace(base, seed=5, clip=0.3, noise=1.0),
        replace(base, seed=5, clip=0.1, noise=2.0),
    ]
    together = train(settings, rows)
    for number, setting in enumerate(settings):
        assert close(train([setting], rows), [part[number : number + 1] for part in together])
    assert all(apart([p[i] for p in together], [p[i + 1] for p in together]) > 1e-3 for i in range(4))


def test_the_same_seed_repeats_and_another_does_not(rows):
    first = train([BASE], rows)
    assert apart(first, train([BASE], rows)) == 0
    assert apart(first, train([replace(BASE, seed=4)], rows)) > 1e-2


def test_begins_where_it_is_told(rows):
    start = train([replace(BASE, rounds=1)], rows)
    still = train([replace(BASE, rounds=0, seed=n) for n in range(3)], rows, start=start)
    assert all(part.shape[0] == 3 for part in still)
    assert all(torch.equal(part[2], begin[0]) for part, begin in zip(still, start, strict=True))


def test_an_update_is_no_longer_than_its_clip(rows):
    before, alone = train([replace(BASE, rounds=0)], rows), replace(BASE, rounds=1, cohort=1, learning_rate=5.0)
    for clip in (0.01, 0.3):
        after = train([replace(alone, clip=clip)], rows)
        moved = math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(after, before, strict=True)))
        assert moved == pytest.approx(clip, rel=1e-3)


def test_noise_has_the_scale_that_was_asked_for(rows):
    wide = replace(BASE, rounds=1, hidden=400, clip=2.0)
    noisy, clean = train([replace(wide, noise=3.0)], rows), train([wide], rows)
    difference = torch.cat([(a - b).flatten() for a, b in zip(noisy, clean, strict=True)])
    assert float(difference.std()) == pytest.approx(3.0 * 2.0 / BASE.cohort, rel=0.05)


def test_learns_what_can_be_learnt():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(20, 40, 6, generator=generator)
    data = Rows(features, (features[..., :1] - features[..., 1:2].abs() > -0.5).float())
    setting = Setting(clients=20, rows=40, cohort=10, rounds=40, batch=10, learning_rate=0.5)
    shallow, deep = train([replace(setting, hidden=0)], data), train([setting], data)
    assert float(accuracy(deep, data)) > 0.93
    assert float(accuracy(deep, data)) > float(accuracy(shallow, data)) + 0.03
    assert accuracy(train([setting, setting], data), data).shape == (2,)
