# SPDX-License-Identifier: Apache-2.0
"""What has voided the guarantee elsewhere: bad readings, days that pass for homes, losses of another size."""

import warnings

import numpy as np
import pytest
import torch

from skyglow_client.learning.clipped_sums import DOUBLE, METHODS, Batch, clipped_sum, exact_sum, sums
from skyglow_client.learning.clipped_sums.batch import rows
from skyglow_client.learning.clipped_sums.by_home import home_gradients
from skyglow_shared.errors import InternalError
from skyglow_shared.models.aligned import aligned
from skyglow_shared.privacy.noise import sensitivity_steps
from skyglow_shared.study import Block

BLOCK = Block(name="gradient", source="gradient", model="m", l2_bound=0.5, noise_multiplier=1.0)


@pytest.fixture(autouse=True)
def no_warning():
    """A warning would be a line on a supplier's screen that depends on one home."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 1e300])
def test_a_home_with_a_bad_reading_gives_nothing_and_harms_nobody(network, batch_of, weights_of, bad, method):
    """min(1, nan) does not clip: one such home would make the whole sum NaN, which tells that it was there."""
    weights, batch = weights_of(network), batch_of(network, 7)
    batch.x[3].ravel()[5] = bad
    rest = np.arange(7) != 3
    others = Batch(batch.keys[rest], batch.x[rest], batch.y[rest])
    found = exact_sum(network, weights, batch, BLOCK, method=method)
    wanted = exact_sum(network, weights, others, BLOCK, method=method)
    if abs(bad) < 1e38:
        assert np.linalg.norm(found - wanted) <= sensitivity_steps(1.0)  # finite: clipped, or left out
    else:
        assert np.abs(found - wanted).max() <= (1 if method == "fused" else 0)  # leaves round a little differently
        alone = exact_sum(network, weights, batch.take(slice(3, 4)), BLOCK, method=method)
        np.testing.assert_array_equal(alone, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_bad_reading_is_found_before_any_product(network, batch_of, bad):
    whole = rows(aligned(network), batch_of(network, 3), torch.float32, 4)
    batch = batch_of(network, 3)
    batch.x[1].ravel()[-1] = bad
    with np.errstate(over="ignore"):
        found = rows(aligned(network), batch, torch.float32, 4)
    assert found.usable.tolist() == [True, False, True, False]
    for name in ("x", "y", "share"):
        own, others = getattr(found, name), getattr(whole, name)
        assert not own[1].any() and torch.equal(own[[0, 2]], others[[0, 2]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("label", [np.inf, -np.inf, -0.01, 1.01, 1e30])
def test_a_label_that_cannot_be_makes_its_home_give_nothing(network, batch_of, weights_of, label, method):
    weights, batch = weights_of(network), batch_of(network, 1)
    batch.y.ravel()[0] = label
    np.testing.assert_array_equal(exact_sum(network, weights, batch, BLOCK, method=method), 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -1e300, 7.0])
def test_nothing_on_a_day_that_does_not_count_can_be_seen(networks, batch_of, weights_of, junk, method):
    """Replaced, not multiplied by zero: 0 · NaN is NaN."""
    for name in ("daily", "daily, narrow", "temporal"):
        network = networks[name]
        batch, weights = batch_of(network, 5, missing=0.4), weights_of(network)
        assert not batch.days.all()
        wanted = clipped_sum(network, weights, batch, 0.5, method=method)
        batch.x[~batch.days], batch.y[~batch.days] = junk, junk
        assert np.isfinite(wanted).all() and wanted.any()
        np.testing.assert_array_equal(clipped_sum(network, weights, batch, 0.5, method=method), wanted)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e19, 1e30, 1e38, 1e200])
def test_absurd_weights_overflow_nothing(network, batch_of, weights_of, size, method):
    """The office chooses the weights: squares beyond float32 must not become NaN, nor a home longer than its bound."""
    batch, weights = batch_of(network, 4), weights_of(network, size=size)
    found = exact_sum(network, weights, batch, BLOCK, method=method)
    assert np.linalg.norm(found) <= 4 * sensitivity_steps(1.0)


def test_days_cannot_pass_for_households(networks, batch_of, weights_of):
    """Flattened into the batch, each day would be clipped by itself: a home of 28 days would weigh up to 28 bounds."""
    network = networks["daily"]
    batch = batch_of(network, 6)
    x, y = batch.x.reshape(54, 48), batch.y.reshape(54, 3)
    flat = Batch(np.arange(54, dtype=np.uint64), x, y)
    for method in METHODS:
        with pytest.raises(InternalError, match="one row a household"):
            exact_sum(network, weights_of(network), flat, BLOCK, method=method)
    with pytest.raises(InternalError, match="one row a household"):
        Batch(batch.keys, x, y)


@pytest.mark.parametrize("method", METHODS)
def test_a_home_counts_once_however_many_days_it_has(networks, batch_of, weights_of, method):
    network = networks["daily"]
    batch = batch_of(network, 1, size=30.0)
    found = clipped_sum(network, weights_of(network), batch, 0.01, method=method)
    assert np.linalg.norm(found) == pytest.approx(0.01, rel=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_a_sum_over_households(network, batch_of, weights_of, method):
    """A mean over the batch would shrink every gradient before it is clipped, by how many homes there happen to be."""
    weights, batch = weights_of(network), batch_of(network, 9)
    alone = [
        clipped_sum(network, weights, batch.take(slice(k, k + 1)), 1e6, arithmetic=DOUBLE, method=method)
        for k in range(9)
    ]
    found = clipped_sum(network, weights, batch, 1e6, arithmetic=DOUBLE, method=method)
    np.testing.assert_allclose(found, np.sum(alone, axis=0), rtol=1e-9, atol=1e-9)


def test_gradients_that_are_not_one_a_household_are_caught(networks, batch_of, weights_of, monkeypatch):
    network = networks["daily"]
    merged = lambda each, **_: lambda p, x, y, s: tuple((w[None], b[None]) for w, b in p)  # noqa: E731
    monkeypatch.setattr("skyglow_client.learning.clipped_sums.by_home.vmap", merged)
    with pytest.raises(InternalError, match="one a household"):
        list(home_gradients(network, weights_of(network), batch_of(network, 6), DOUBLE))


def test_homes_out_of_order_or_misaligned_are_caught(networks, batch_of):
    batch = batch_of(networks["logistic"], 4)
    with pytest.raises(InternalError, match="order"):
        Batch(batch.keys[::-1], batch.x, batch.y)
    for wrong in ((batch.keys[:3], batch.x, batch.y), (batch.keys, batch.x[:3], batch.y)):
        with pytest.raises(InternalError, match="one row a household"):
            Batch(*wrong)
    with pytest.raises(InternalError, match="one row a household"):
        Batch(batch.keys, batch.x, batch.y, np.ones((3, 9), dtype=bool))


def test_features_in_another_number_are_caught(networks, batch_of, weights_of):
    batch = batch_of(networks["logistic"], 4)
    with pytest.raises(InternalError, match="shape"):
        exact_sum(networks["perceptron"], weights_of(networks["perceptron"]), batch, BLOCK)
    with pytest.raises(InternalError, match="length"):
        exact_sum(networks["logistic"], weights_of(networks["perceptron"]), batch, BLOCK)


def test_products_of_less_than_float32_are_refused(networks, batch_of, weights_of):
    """The bound on rounding is of float32; a setting elsewhere in the process must not make it another."""
    network = networks["logistic"]
    for lowered in ("medium", "high"):
        torch.set_float32_matmul_precision(lowered)
        try:
            with pytest.raises(InternalError, match="precision"):
                exact_sum(network, weights_of(network), batch_of(network, 4), BLOCK, method="fused")
        finally:
            torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu"), pytest.raises(InternalError, match="precision"):
        exact_sum(network, weights_of(network), batch_of(network, 4), BLOCK, method="fused")


def test_a_library_that_was_told_to_round_more_is_found_out(networks, batch_of, weights_of, monkeypatch):
    """By an environment variable, for instance, of which torch knows nothing."""
    network = networks["logistic"]
    shorter = lambda rows, columns, bias=None: (rows.bfloat16() @ columns.bfloat16().T).float()  # noqa: E731
    sums._products_are_whole.cache_clear()
    monkeypatch.setattr(sums, "product", shorter)
    with pytest.raises(InternalError, match="precision"):
        exact_sum(network, weights_of(network), batch_of(network, 4), BLOCK, method="fused")
    sums._products_are_whole.cache_clear()


def test_a_batch_shows_no_home(networks, batch_of):
    assert "[" not in repr(batch_of(networks["logistic"], 3))
