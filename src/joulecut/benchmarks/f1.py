"""F1 by class and its mean, with their intervals, alone and as a paired difference.

The F1 of a class has the posterior U / (U + V), with U from Gamma(TP + 1/2, 2) and V from
Gamma(FP + FN + 1, 1), which has a width also where no sample is wrong. Source: C. Goutte and E. Gaussier, "A
probabilistic interpretation of precision, recall and F-score", ECIR 2005, with Jeffreys' prior.

The mean over the classes is resampled: N samples draw their cells (label, prediction) from a multinomial
distribution, and every F1 follows from the numbers in the cells (B. Efron and R. Tibshirani, An Introduction
to the Bootstrap, 1993, chapter 13). Where no sample is wrong, that has no width.
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
_AT_ONCE: Final = 200
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
    stacked = np.stack([labels.numpy(), predicted.numpy()])
    (truth, guess), counts = np.unique(stacked, axis=1, return_counts=True)
    cells = _Cells.of(truth, guess)
    right, seen = counts @ cells.right, counts @ cells.seen
    support = np.bincount(truth, weights=counts, minlength=len(seen))
    rng = np.random.default_rng(seed)
    classes = tuple(
        _class_f1(int(k), int(support[k]), float(right[k]), float(seen[k]), rng) for k in np.flatnonzero(seen)
    )
    low, high = np.quantile(np.concatenate([cells.macro(part) for part in _resamples(counts, seed)]), _TAILS)
    return F1Scores(float(cells.macro(counts)), float(low), float(high), classes)


def _class_f1(label: int, support: int, right: float, seen: float, rng: np.random.Generator) -> ClassF1:
    """The F1 of a class from its right samples and the number of its labels and predictions."""
    hits = rng.gamma(right + 0.5, 2.0, _RESAMPLES)
    misses = rng.gamma(seen - 2 * right + 1.0, 1.0, _RESAMPLES)
    low, high = np.quantile(hits / (hits + misses), _TAILS)
    f1 = 2 * right / seen
    return ClassF1(label, support, f1, float(min(low, f1)), float(max(high, f1)))


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
    was, is_now = _Cells.of(truth, old), _Cells.of(truth, new)
    changes = [is_now.macro(part) - was.macro(part) for part in _resamples(counts, seed)]
    low, high = np.quantile(np.concatenate(changes), _TAILS)
    change = float(is_now.macro(counts) - was.macro(counts))
    return PairedDifference(change, float(low), float(high))


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """How cells of samples (one label and one prediction each) add up by class: [cells, classes].

    Attributes:
        right: 1 where the cell is right and of the class (TP).
        seen: how often the class is the label or the prediction of the cell (2 TP + FP + FN).
    """

    right: _Floats
    seen: _Floats

    @staticmethod
    def of(truth: _Counts, guess: _Counts) -> _Cells:
        classes = np.arange(max(truth.max(), guess.max()) + 1)
        is_label, is_guess = truth[:, None] == classes, guess[:, None] == classes
        return _Cells((is_label & is_guess).astype(float), is_label.astype(float) + is_guess)

    def macro(self, counts: _Counts) -> _Floats:
        """Mean F1 over the classes that occur, from samples by cell: [..., cells] to [...]."""
        right, seen = counts @ self.right, counts @ self.seen
        scores = np.divide(2 * right, seen, out=np.zeros_like(seen), where=seen > 0)
        found: _Floats = scores.sum(-1) / (seen > 0).sum(-1)
        return found


def _resamples(counts: _Counts, seed: int) -> Iterator[_Counts]:
    """Numbers of samples by cell, drawn anew with replacement: [resamples, cells], a part at a time."""
    rng, total = np.random.default_rng(seed), int(counts.sum())
    for _ in range(0, _RESAMPLES, _AT_ONCE):
        yield rng.multinomial(total, counts / total, size=_AT_ONCE)
