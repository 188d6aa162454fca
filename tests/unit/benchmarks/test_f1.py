"""F1 by class against hand counts, scikit-learn and a resampling of the samples themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from joulecut.benchmarks.f1 import f1_scores, macro_f1_difference
from joulecut.errors import UsageError


def answers(share: float, seed: int, count: int = 400, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of unequal classes, and predictions of which that share is right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count, p=[0.4, 0.3, 0.2, 0.1])
    guesses = np.where(rng.random(count) < share, labels, rng.integers(classes, size=count))
    return torch.from_numpy(guesses), torch.from_numpy(labels)


def sklearn_f1(labels: torch.Tensor, predicted: torch.Tensor) -> list[float]:
    every = f1_score(labels.numpy(), predicted.numpy(), average=None)  # pyright: ignore[reportArgumentType]
    return [float(one) for one in np.asarray(every)]


def test_by_hand() -> None:
    # class 0: 3 samples, predicted twice, right twice: 2 x 2 / (3 + 2); class 1: 1 sample, predicted once,
    # wrong; class 2: no sample, predicted once; class 3 occurs nowhere; class 4: 1 sample, right.
    labels, predicted = torch.tensor([0, 0, 0, 1, 4]), torch.tensor([0, 0, 1, 2, 4])
    scores = f1_scores(predicted, labels)
    found = {one.label: (one.support, one.f1) for one in scores.classes}
    assert found == {0: (3, pytest.approx(0.8)), 1: (1, 0.0), 2: (0, 0.0), 4: (1, 1.0)}
    assert scores.macro == pytest.approx(1.8 / 4)


def test_figures_are_those_of_scikit_learn() -> None:
    predicted, labels = answers(0.7, 3)
    scores = f1_scores(predicted, labels)
    expected = sklearn_f1(labels, predicted)
    assert [one.f1 for one in scores.classes] == pytest.approx(expected)
    assert scores.macro == pytest.approx(f1_score(labels.numpy(), predicted.numpy(), average="macro"))
    assert [one.support for one in scores.classes] == np.bincount(labels.numpy()).tolist()


def test_intervals_are_those_of_resampled_samples() -> None:
    predicted, labels = answers(0.7, 5)
    scores = f1_scores(predicted, labels, seed=1)
    rng = np.random.default_rng(9)
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(400)]
    each = np.array([sklearn_f1(labels[at], predicted[at]) for at in drawn])
    low, high = np.quantile(each, (0.05, 0.95), axis=0)
    assert [one.f1_lo for one in scores.classes] == pytest.approx(list(low), abs=0.025)
    assert [one.f1_hi for one in scores.classes] == pytest.approx(list(high), abs=0.025)
    assert (scores.macro_lo, scores.macro_hi) == pytest.approx(
        tuple(np.quantile(each.mean(1), (0.05, 0.95))), abs=0.015
    )
    assert scores == f1_scores(predicted, labels, seed=1)


def test_a_class_without_an_error_is_not_known_to_be_perfect() -> None:
    """30 right and none wrong: F1 = U / (U + V), U near 61 and V from an exponential distribution."""
    labels = torch.tensor([0] * 30 + [1] * 30 + [2] * 40)
    predicted = torch.cat([torch.zeros(30, dtype=torch.int64), torch.tensor([1, 2] * 35)])
    first, *others = f1_scores(predicted, labels).classes
    assert (first.f1, first.f1_hi) == (1.0, 1.0)
    assert first.f1_lo == pytest.approx(61 / (61 - math.log(0.05)), abs=0.006)
    assert all(one.f1_lo < one.f1 < one.f1_hi for one in others)


@pytest.mark.parametrize(("hit", "count"), [(0.97, 40), (0.9, 60), (0.6, 100)])
def test_nine_in_ten_intervals_hold_the_true_f1(hit: float, count: int) -> None:
    """Two classes, the same share of each right: precision, recall and F1 are that share."""
    rng, held = np.random.default_rng(4), []
    for _ in range(150):
        labels = rng.integers(2, size=count)
        predicted = np.where(rng.random(count) < hit, labels, 1 - labels)
        scores = f1_scores(torch.from_numpy(predicted), torch.from_numpy(labels))
        held += [one.f1_lo <= hit <= one.f1_hi for one in scores.classes]
    assert 0.85 <= np.mean(held) <= 0.99


def test_the_difference_is_paired() -> None:
    """Two networks that are wrong on the same samples differ by nothing, however unsure each figure is."""
    predicted, labels = answers(0.6, 7)
    same = macro_f1_difference(predicted, predicted, labels)
    assert (same.change, same.lo, same.hi) == (0, 0, 0)
    better = predicted.clone()
    better[:40] = labels[:40]
    change = macro_f1_difference(predicted, better, labels)
    assert change.change == pytest.approx(
        f1_scores(better, labels).macro - f1_scores(predicted, labels).macro
    )
    assert 0 < change.lo < change.change < change.hi
    whole = f1_scores(predicted, labels)
    assert change.hi - change.lo < whole.macro_hi - whole.macro_lo
    back = macro_f1_difference(better, predicted, labels)
    assert back.change == pytest.approx(-change.change)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(UsageError, match="as many"):
        f1_scores(torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UsageError, match="no samples"):
        f1_scores(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
