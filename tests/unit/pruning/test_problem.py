"""Least squares of layers with few rows, against numpy's on the stacked rows and penalties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from joulecut.pruning.leastsquares import Problem


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(
    x: Tensor, scale: Tensor, t: Tensor, previous: Tensor, ridge: float, constant: bool
) -> NDArray[np.float64]:
    """Rows weighted by scale^2 / rows, and a row for each penalty: its root, and that x the old weight."""
    rows = (x[0] * scale).double().numpy() / np.sqrt(x.shape[1])
    wanted = (t[0] * scale).double().numpy() / np.sqrt(x.shape[1])
    diagonal = (rows**2).sum(0)
    penalty = np.full(x.shape[2], ridge * (diagonal[:-1] if constant else diagonal).mean())
    if constant:
        penalty[-1] = 0
    roots = np.diag(np.sqrt(penalty))
    stacked = np.vstack([rows, roots]), np.vstack([wanted, roots @ previous[0].double().numpy()])
    return np.asarray(np.linalg.lstsq(*stacked, rcond=None)[0], dtype=np.float64)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(400, 12), (30, 50), (20, 21), (8, 300)])
def test_more_rows_or_more_columns(rows: int, columns: int, constant: bool) -> None:
    x = noise(1, rows, columns)
    if constant:
        x[..., -1] = 1
    t, previous, scale = noise(1, rows, 3, seed=1), noise(1, columns, 3, seed=2), 0.5 + noise(rows, 1).abs()
    one_sample = torch.zeros(rows, dtype=torch.long)  # nothing to hold out: the ridge is as given
    found = Problem(x, scale, previous, 0.3, constant, one_sample).solve(t)[0].numpy()
    expected = by_hand(x, scale, t, previous, 0.3, constant)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_weights_stay_where_no_row_says_anything() -> None:
    """Three rows of 40 columns, of which only the first 10 are ever other than 0."""
    x, previous = noise(1, 3, 40), noise(1, 40, 2, seed=1)
    x[..., 10:] = 0
    found = Problem(x, torch.ones(3, 1), previous, 1e-2, False, torch.arange(3)).solve(noise(1, 3, 2, seed=3))
    assert torch.allclose(found[0, 10:].float(), previous[0, 10:], atol=1e-6)
    assert not torch.allclose(found[0, :10].float(), previous[0, :10], atol=1e-2)


def samples_of(count: int, each: int, columns: int, *, own: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows that share a pattern with their sample: inputs, targets, true weights, and which sample.

    The targets follow the weights, but for an offset of each sample's ``own`` that its pattern gives away.
    """
    sample = torch.arange(count).repeat_interleave(each)
    x = noise(count, columns)[sample] + 0.1 * noise(count * each, columns, seed=1)
    weights = noise(columns, 1, seed=2) / columns**0.5
    t = x @ weights + own * noise(count, 1, seed=3)[sample]
    return x[None], t[None], weights[None], sample


def test_where_rows_are_few_the_ridge_is_chosen_on_samples() -> None:
    """Ten samples of 30 rows, 60 columns: a free fit learns each sample's own offset by heart."""
    x, t, weights, sample = samples_of(10, 30, 60, own=1.0)
    ones = torch.ones(len(sample), 1)
    chosen = Problem(x, ones, weights, 1e-3, False, sample).solve(t)
    free = Problem(x, ones, weights, 1e-3, False, torch.zeros_like(sample)).solve(t)
    fresh = noise(500, 60, seed=9)
    error, free_error = (float((fresh.double() @ (w - weights)[0]).square().mean()) for w in (chosen, free))
    assert error < 0.3 * free_error


def test_where_samples_agree_the_ridge_stays_small() -> None:
    x, t, weights, sample = samples_of(100, 3, 60, own=0.0)
    found = Problem(x, torch.ones(len(sample), 1), torch.zeros_like(weights), 1e-3, False, sample).solve(t)
    assert torch.allclose(found.float(), weights, atol=0.05)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("samples", "columns"), [(100, 60), (20, 60), (10, 100)])
def test_after_the_choice_the_answer_is_that_of_all_rows_at_the_best_ridge(
    samples: int, columns: int, constant: bool
) -> None:
    """With more rows than columns, with more only when those held out come back, and with fewer."""
    x, t, previous, sample = samples_of(samples, 4, columns, own=0.5)
    if constant:
        x[..., -1] = 1
    scale = 0.5 + noise(len(sample), 1, seed=5).abs()
    cut = 4 * (samples * 3 // 4)

    def error(ridge: float) -> float:
        w = by_hand(x[:, :cut], scale[:cut], t[:, :cut], previous, ridge, constant)
        beyond = (x[0, cut:].double().numpy() @ w - t[0, cut:].double().numpy()) * scale[cut:].numpy()
        return float((beyond**2).sum())

    ridges = [1e-3 * 10**i for i in range(5)]
    rising = (i for i in range(4) if error(ridges[i + 1]) >= error(ridges[i]))
    best = ridges[next(rising, 4)]
    expected = by_hand(x, scale, t, previous, best, constant)
    found = Problem(x, scale, previous, 1e-3, constant, sample).solve(t)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
