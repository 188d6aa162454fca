"""Scores against hand counts, scikit-learn, scipy and a resampling written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score
from torch import nn

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.quality import (
    accuracy,
    channels_last,
    evaluate,
    macro_f1,
    paired_difference,
    parameters,
    per_class_f1,
    predictions,
    wilson_interval,
)
from joulecut.errors import UsageError

PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 5), min_size=n, max_size=n) for _ in range(2)))
)


@given(PAIRS)
def test_f1_is_that_of_scikit_learn(pair: tuple[list[int], list[int]]) -> None:
    predicted, labels = (torch.tensor(part) for part in pair)
    reference: Any = f1_score  # its inferred types are too narrow
    expected = reference(pair[1], pair[0], average="macro", zero_division=0)
    assert macro_f1(predicted, labels) == pytest.approx(expected, abs=1e-12)
    each = reference(pair[1], pair[0], average=None, zero_division=0)
    assert list(per_class_f1(predicted, labels).values()) == pytest.approx(list(each), abs=1e-12)


def test_f1_by_hand() -> None:
    predicted, labels = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 1, 0])
    # class 0: TP 1, FP 1, FN 1; class 1: TP 1, FN 1; class 3: FP 1; class 2 does not occur
    assert per_class_f1(predicted, labels) == {0: 2 / 4, 1: 2 / 3, 3: 0.0}
    assert macro_f1(predicted, labels) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert accuracy(predicted, labels) == 0.5


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_that_of_scipy(case: tuple[int, int]) -> None:
    expected = binomtest(*case).proportion_ci(confidence_level=0.9, method="wilson")
    assert wilson_interval(*case) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "total", "confidence"), [(0, 0, 0.9), (3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0)]
)
def test_wilson_interval_refuses_nonsense(correct: int, total: int, confidence: float) -> None:
    with pytest.raises(UsageError, match="no interval"):
        wilson_interval(correct, total, confidence=confidence)


def _flags(ones: int, zeros: int) -> torch.Tensor:
    return torch.tensor([True] * ones + [False] * zeros)


def test_paired_difference_by_hand() -> None:
    # 40 samples lost, 10 won of 1,000: -0.03, standard error sqrt((0.05 - 0.03^2) / 1000) = 0.007007
    before = torch.cat([_flags(40, 0), _flags(0, 10), _flags(950, 0)])
    after = torch.cat([_flags(0, 40), _flags(10, 0), _flags(950, 0)])
    result = paired_difference(before, after)
    assert result.change == pytest.approx(-0.03)
    half = 1.6449 * math.sqrt((0.05 - 0.03**2) / 1000)
    assert result.lo == pytest.approx(-0.03 - half, abs=0.0015)
    assert result.hi == pytest.approx(-0.03 + half, abs=0.0015)


def test_paired_difference_is_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(7)
    before, after = (torch.from_numpy(rng.random(200) < share) for share in (0.9, 0.8))
    change = (after.int() - before.int()).numpy()
    means = [rng.choice(change, 200).mean() for _ in range(4000)]
    result = paired_difference(before, after, seed=3)
    assert (result.lo, result.hi) == pytest.approx(tuple(np.quantile(means, (0.05, 0.95))), abs=0.011)
    assert result == paired_difference(before, after, seed=3)


def test_paired_difference_swaps_its_sign() -> None:
    before, after = _flags(60, 40), _flags(70, 30)
    assert paired_difference(before, after).change == pytest.approx(0.1)
    assert paired_difference(after, before).change == pytest.approx(-0.1)
    unchanged = paired_difference(before, before)
    assert (unchanged.change, unchanged.lo, unchanged.hi) == (0, 0, 0)


class _Fixed(nn.Module):
    """Gives whatever output it was made with, repeated for each sample."""

    def __init__(self, row: torch.Tensor) -> None:
        super().__init__()
        self.row = nn.Parameter(row)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.row.expand(len(x), *self.row.shape)


def test_predictions_cover_every_batch_and_restore_modes() -> None:
    linear = nn.Linear(3, 4, bias=False)
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3), linear)
    network[1].eval()
    x = torch.randn(23, 3)
    with torch.no_grad():
        expected = (x / math.sqrt(1 + 1e-5) @ linear.weight.T).argmax(1)
    assert predictions(network, x, batch=5).equal(expected)
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert network[1].num_batches_tracked == 0


def test_predictions_of_an_exported_graph() -> None:
    network = nn.Linear(3, 4).eval()
    x = torch.randn(6, 3)
    graph = torch.export.export(network, (x,)).module()
    assert predictions(graph, x).equal(network(x).argmax(1))


class _Viewer(nn.Module):
    """Flattens with ``view``, which takes no channels-last images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.linear = nn.Linear(3 * 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        logits: torch.Tensor = self.linear(y.view(len(y), -1))
        return logits


def test_a_network_that_calls_view_is_run_the_plain_way() -> None:
    network, x = _Viewer(), torch.randn(5, 2, 4, 4)
    assert predictions(network, x).equal(network(x).argmax(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_keeps_values_and_reaches_the_next_layer(channels: int) -> None:
    x = torch.randn(2, channels, 5, 6)
    inner = channels_last(x)
    assert inner.equal(x)
    assert inner.stride() == (30 * channels, 1, 6 * channels, channels)
    assert nn.Conv2d(channels, 4, 3)(inner).is_contiguous(memory_format=torch.channels_last)
    vector = torch.randn(2, 3)
    assert channels_last(vector) is vector


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (torch.tensor([0.0, float("nan")]), "NaN"),
        (torch.tensor([0.0]), "at least two classes"),
        (torch.zeros(2, 2), "at least two classes"),
    ],
)
def test_unusable_logits(row: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predictions(_Fixed(row), torch.zeros(4, 2))


def test_empty_and_one_class_sets_are_refused() -> None:
    network = _Fixed(torch.tensor([0.0, 1.0]))
    empty = Dataset("nothing", torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 2)
    with pytest.raises(UsageError, match="no samples"):
        evaluate(network, empty)
    with pytest.raises(UsageError, match="all 3 samples of ones are of one class"):
        evaluate(network, Dataset("ones", torch.zeros(3, 2), torch.ones(3, dtype=torch.int64), 2))
    with pytest.raises(UsageError, match="no samples"):
        macro_f1(empty.labels, empty.labels)
    with pytest.raises(UsageError, match="as many"):
        accuracy(torch.zeros(2), torch.zeros(3))


def test_evaluate_puts_it_together() -> None:
    data = Dataset("half", torch.zeros(4, 2), torch.tensor([0, 1, 1, 1]), 2)
    scores = evaluate(_Fixed(torch.tensor([0.0, 1.0])), data)
    assert scores.accuracy == 0.75
    assert scores.macro_f1 == pytest.approx((0 + 2 * 3 / 7) / 2)
    assert scores.accuracy_lo < 0.75 < scores.accuracy_hi
    assert scores.correct.tolist() == [False, True, True, True]


def test_shared_parameters_count_once() -> None:
    linear = nn.Linear(3, 3)
    assert parameters(nn.Sequential(linear, linear)) == 12
