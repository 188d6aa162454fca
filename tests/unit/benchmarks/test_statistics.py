from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from joulecut.benchmarks.statistics import (
    order_statistic_ranks,
    quantile_estimate,
    ratio_estimate,
    t_quantile,
)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 17, 19, 30, 199])
@pytest.mark.parametrize("probability", [0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975, 0.9999])
def test_t_quantile_is_that_of_scipy(probability: float, degrees: int) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(
        stats.t.ppf(probability, degrees), rel=1e-9, abs=1e-9
    )


def test_t_quantile_of_one_degree_is_the_cauchy_quantile() -> None:
    assert t_quantile(0.75, 1) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_t_quantile_refuses_what_has_none(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(probability, degrees)


def test_ranks_by_hand() -> None:
    # Of 10 values 0 or 1 lie below the median with probability (1 + 10) / 1024 = 1.1 %, up to 2 with 5.5 %.
    assert order_statistic_ranks(10, 0.5, 0.9) == (2, 9)
    # Five values: outside (1, 5) with probability 2 / 32 = 6.25 %; four: 2 / 16 = 12.5 %, too much.
    assert order_statistic_ranks(5, 0.5, 0.9) == (1, 5)
    assert order_statistic_ranks(4, 0.5, 0.9) is None


@pytest.mark.parametrize("n", [7, 64, 100, 662])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_ranks_are_the_narrowest_with_half_of_the_doubt_on_each_side(
    n: int, q: float, confidence: float
) -> None:
    mass = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tail = (1 - confidence) / 2
    low = max((r for r in range(1, n + 1) if math.fsum(mass[:r]) <= tail), default=None)
    high = min((r for r in range(1, n + 1) if math.fsum(mass[r:]) <= tail), default=None)
    expected = (low, high) if low and high else None
    assert order_statistic_ranks(n, q, confidence) == expected


def test_ranks_of_a_million_values_are_those_of_the_normal_approximation() -> None:
    ranks = order_statistic_ranks(1_000_000, 0.5, 0.9)
    assert ranks is not None
    assert ranks[0] == pytest.approx(500_000 - 1.6449 * 500, abs=2)
    assert ranks[1] == pytest.approx(500_000 + 1.6449 * 500, abs=2)


def test_quantile_of_one_session_has_the_order_statistics_as_bounds() -> None:
    estimate = quantile_estimate([np.arange(1.0, 11.0)], 0.5, "wall time")
    assert estimate is not None
    assert estimate.value == 5.5
    assert estimate.bounds(0.9) == pytest.approx((2.0, 9.0))
    assert (estimate.origin, estimate.unit, estimate.n) == ("measured", "s", 10)


def test_quantile_is_as_uncertain_as_its_sessions_differ() -> None:
    # Three sessions of equal calls, a factor e^0.1 apart: only the sessions' own spread is left below.
    sessions = [np.full(50, math.exp(0.1 * k)) for k in (-1, 0, 1)]
    estimate = quantile_estimate(sessions, 0.5, "wall time")
    assert estimate is not None
    error = 0.1 / math.sqrt(3) * stats.t.ppf(0.95, 2)
    assert estimate.bounds(0.9) == pytest.approx((math.exp(-error), math.exp(error)))


def test_quantile_needs_enough_calls() -> None:
    assert quantile_estimate([np.ones(4)], 0.5, "wall time") is None


def test_ratio_within_sessions_has_the_t_interval_of_the_batches() -> None:
    logs = np.array([0.01, 0.03] * 10)
    estimate = ratio_estimate([logs], "wall time")
    low, high = stats.t.interval(0.9, 19, loc=0.02, scale=logs.std(ddof=1) / math.sqrt(20))
    assert estimate.value == pytest.approx(math.exp(0.02))
    assert estimate.bounds(0.9) == pytest.approx((math.exp(low), math.exp(high)))


def test_ratio_over_sessions_has_the_t_interval_of_the_sessions() -> None:
    estimate = ratio_estimate([np.full(100, mean) for mean in (0.00, 0.01, 0.02)], "wall time")
    half = stats.t.ppf(0.95, 2) * 0.01 / math.sqrt(3)
    assert estimate.bounds(0.9) == pytest.approx((math.exp(0.01 - half), math.exp(0.01 + half)))
    half = stats.t.ppf(0.75, 2) * 0.01 / math.sqrt(3)
    assert estimate.bounds(0.5) == pytest.approx((math.exp(0.01 - half), math.exp(0.01 + half)))


def test_ratio_ignores_spikes_within_a_batch() -> None:
    logs = np.zeros(2000)
    logs[::50] = 3.0
    assert ratio_estimate([logs, logs, logs], "wall time").value == 1.0


def test_ratio_covers_the_truth_as_often_as_it_says() -> None:
    # Sessions differ by 0.5 % (one sigma), quads by 2 %: the 90 % interval holds in 86 to 96 % of 400 runs.
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        sessions = [random.normal(random.normal(0.03, 0.005), 0.02, 200) for _ in range(4)]
        low, high = ratio_estimate(sessions, "wall time").bounds(0.9)
        hits += low <= math.exp(0.03) <= high
    assert 0.86 <= hits / 400 <= 0.96


def test_ratio_needs_two_quads() -> None:
    with pytest.raises(ValueError, match="no spread"):
        ratio_estimate([np.zeros(1)], "wall time")
