"""F1 by class and its mean, with bootstrap intervals, alone and as a paired difference.

A resample of N samples draws their cells (label, prediction) from a multinomial distribution; every F1 of it
follows from the numbers in the cells. Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap
(1993), chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from joulecut.benchmarks.quality import PairedDifference, check_pair

__all__ = ["ClassF1", "F1Scores", "f1_scores", "macro_f1_difference"]

_RESAMPLES: Final = 2000
_TAILS: Final = (0.05, 0.95)

_Counts = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassF1:
    """F1 of one class.

    Attributes:
        label: its number.
        support: samples of it.
        f1: 0 to 1.
        f1_lo: lower bound of its 90 % interval.
        f1_hi: upper bound.
    """

    label: int
    support: int
    f1: float
    f1_lo: float
    f1_hi: float


@dataclass(frozen=True, slots=True)
class F1Scores:
    """The mean F1 over the classes, with its 90 % interval, and the F1 of each."""

    macro: float
    macro_lo: float
    macro_hi: float
    classes: tuple[ClassF1, ...]


def f1_scores(predicted: torch.Tensor, labels: torch.Tensor, *, seed: int = 0) -> F1Scores:
    """F1 of every class that occurs in the labels or the predictions, and its mean.

    Args:
        predicted: int64 [N].
        labels: int64 [N].
        seed: of the resampling.

    Raises:
        UsageError: no samples, or different lengths.

    >>> scores = f1_scores(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 1, 0]))
    >>> round(scores.macro, 3), [one.support for one in scores.classes]
    (0.733, [2, 2])
    """
    check_pair(predicted, labels)
    cells, counts = np.unique(np.stack([labels.numpy(), predicted.numpy()]), axis=1, return_counts=True)
    truth, guess = cells
    found = _f1(truth, guess, counts)
    draws = np.stack([_f1(truth, guess, drawn) for drawn in _resamples(counts, seed)])
    support = np.bincount(truth, weights=counts, minlength=len(found)).astype(int)
    macro_lo, macro_hi = np.quantile(np.nanmean(draws, axis=1), _TAILS)
    lows, highs = np.nanquantile(draws[:, ~np.isnan(found)], _TAILS, axis=0)
    labels_seen = np.flatnonzero(~np.isnan(found))
    classes = tuple(
        ClassF1(int(k), int(support[k]), float(found[k]), float(low), float(high))
        for k, low, high in zip(labels_seen, lows, highs, strict=True)
    )
    return F1Scores(float(np.nanmean(found)), float(macro_lo), float(macro_hi), classes)


def macro_f1_difference(
    before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor, *, seed: int = 0
) -> PairedDifference:
    """Macro-F1 after less macro-F1 before, on the same samples, with its 90 % interval.

    Args:
        before: predictions, int64 [N].
        after: predictions of the same samples in the same order.
        labels: int64 [N].
        seed: of the resampling.

    Raises:
        UsageError: no samples, or different lengths.

    >>> right, wrong = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 0])
    >>> round(macro_f1_difference(wrong, right, right).change, 3)
    0.667
    """
    check_pair(before, labels)
    check_pair(after, labels)
    stacked = np.stack([labels.numpy(), before.numpy(), after.numpy()])
    (truth, old, new), counts = np.unique(stacked, axis=1, return_counts=True)

    def change(drawn: _Counts) -> float:
        return float(np.nanmean(_f1(truth, new, drawn)) - np.nanmean(_f1(truth, old, drawn)))

    low, high = np.quantile([change(drawn) for drawn in _resamples(counts, seed)], _TAILS)
    return PairedDifference(change(counts), float(low), float(high))


def _resamples(counts: _Counts, seed: int) -> Iterator[_Counts]:
    """Numbers of samples in each cell, drawn anew with replacement."""
    rng, total = np.random.default_rng(seed), int(counts.sum())
    for _ in range(_RESAMPLES):
        yield rng.multinomial(total, counts / total)


def _f1(truth: _Counts, guess: _Counts, counts: _Counts) -> _Floats:
    """F1 by class from the samples in each cell; NaN for a class that does not occur: [classes]."""
    classes = int(max(truth.max(), guess.max())) + 1
    right = np.bincount(truth, weights=counts * (truth == guess), minlength=classes)
    seen = np.bincount(truth, weights=counts, minlength=classes)
    seen += np.bincount(guess, weights=counts, minlength=classes)
    scores: _Floats = np.full(classes, np.nan)
    return np.divide(2 * right, seen, out=scores, where=seen > 0)
