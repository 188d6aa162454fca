"""Ridge least squares against numpy and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pruning_networks import one_thread  # noqa: F401

from joulecut.pruning.leastsquares import gram, product, solve, squares


def test_without_a_ridge_it_is_numpys_least_squares_in_every_group() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5000, 7, generator=generator)
    t = torch.randn(3, 5000, 4, generator=generator)
    found = solve(gram(x, False), product(x, t) / 5000, torch.zeros(3, 7, 4), 0.0)
    for i in range(3):
        expected = np.linalg.lstsq(x[i].double().numpy(), t[i].double().numpy(), rcond=None)[0]
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-5)


def test_one_column_by_hand() -> None:
    """x = (1, 2, 3), t = (2, 3, 4), W before = 10: X'X/3 = 14/3, X't/3 = 20/3, penalty = 0.3 x 14/3 = 1.4.

    W = (20/3 + 1.4 x 10) / (14/3 + 1.4) = 3.40659...
    """
    x, t = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[2.0], [3.0], [4.0]]])
    found = solve(gram(x, False), product(x, t) / 3, torch.full((1, 1, 1), 10.0), 0.3)
    assert float(found) == pytest.approx((20 / 3 + 14) / (14 / 3 + 1.4), rel=1e-4)


def test_the_ridge_pulls_to_the_weights_before_and_never_the_constant() -> None:
    """With an overwhelming ridge the slope stays at 2, and the constant still meets the mean."""
    generator = torch.Generator().manual_seed(1)
    x = torch.cat([torch.randn(1, 1000, 1, generator=generator), torch.ones(1, 1000, 1)], 2)
    t = 5 * x[..., :1] + 7
    found = solve(gram(x, True), product(x, t) / 1000, torch.tensor([[[2.0], [0.0]]]), 1e5)
    assert float(found[0, 0]) == pytest.approx(2.0, abs=1e-3)
    remainder = float((t - 2 * x[..., :1]).mean())
    assert float(found[0, 1]) == pytest.approx(remainder, abs=0.8)
    plain = gram(x, True).penalty(0.5)[0]
    assert float(plain[1]) == 0.0
    assert float(plain[0]) == pytest.approx(0.5 * float(x[..., 0].double().pow(2).mean()), rel=1e-6)


def test_a_gram_in_chunks_is_the_mean_of_the_rows() -> None:
    x = torch.randn(2, 9001, 3, generator=torch.Generator().manual_seed(2))
    expected = np.einsum("gri,grj->gij", x.double().numpy(), x.double().numpy()) / 9001
    np.testing.assert_allclose(gram(x, False).xx.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_dead_and_equal_columns_are_solved_too() -> None:
    """Column 1 is 0 everywhere and column 2 equals column 0: the fit stands, whatever the weights are."""
    column = torch.randn(1, 400, 1, generator=torch.Generator().manual_seed(3))
    x = torch.cat([column, torch.zeros(1, 400, 1), column], 2)
    found = solve(gram(x, False), product(x, 3 * column) / 400, torch.zeros(1, 3, 1), 1e-6)
    assert bool(found.isfinite().all())
    np.testing.assert_allclose((x.double() @ found).numpy(), 3 * column.double().numpy(), atol=1e-3)


def test_half_of_a_wide_gram_mirrors_the_other() -> None:
    """1,100 columns are two whole blocks and a part of one."""
    x = torch.randn(2, 50, 1100, generator=torch.Generator().manual_seed(4))
    found = squares(x)
    expected = np.einsum("gri,grj->gij", x.double().numpy(), x.double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    assert torch.equal(found, found.transpose(1, 2))
