"""Bounds of interleaved readings, by hand and against the binomial distribution of scipy."""

from __future__ import annotations

import math
import random

import pytest
from scipy.stats import binom

from joulecut.errors import NothingMeasured
from joulecut.pruning.pairs import Pairs, Readings, rounds_for

EIGHT = Readings((4.0, 1.0, 3.0, 2.0, 8.0, 7.0, 5.0, 6.0), "J")


@pytest.mark.parametrize(
    ("risk", "upper", "lower"),
    [
        (0.05, 7.0, 2.0),
        (9 / 256, 7.0, 2.0),
        (0.03, 8.0, 1.0),
        (1 / 256, 8.0, 1.0),
        (0.003, math.inf, -math.inf),
    ],
)
def test_the_bounds_of_eight_readings(risk: float, upper: float, lower: float) -> None:
    """All eight lie under the median in 1 of 256 cases, seven or more in 9 of 256 = 3.5 %."""
    assert EIGHT.upper(risk) == upper
    assert EIGHT.lower(risk) == lower


@pytest.mark.parametrize("count", [5, 12, 40, 101])
@pytest.mark.parametrize("risk", [0.25, 0.05, 0.01])
def test_the_rank_of_a_bound_is_a_quantile_of_the_binomial_distribution(count: int, risk: float) -> None:
    readings = Readings(tuple(float(k) for k in range(1, count + 1)), "J")
    under = int(binom.isf(risk, count, 0.5)) + 1  # the fewest that lie under the median that rarely
    assert readings.upper(risk) == (under if under <= count else math.inf)


def test_an_estimate_has_the_bounds_of_both_tails() -> None:
    """90 %: 5 % on each side; 50 %: 25 %, and six or more of eight lie under the median in 14.5 %."""
    found = EIGHT.estimate()
    assert found.value == 4.5
    assert found.bounds(0.9) == (2.0, 7.0)
    assert found.bounds(0.5) == (3.0, 6.0)
    assert (found.origin, found.n) == ("measured", 8)


def test_a_gain_widens_the_joules_and_cancels_in_the_ratio() -> None:
    pairs = Pairs((2.0,) * 8, (1.0,) * 8, gain=0.1, source="demo")
    assert pairs.smaller.estimate().bounds(0.9) == pytest.approx((0.9, 1.1))
    assert pairs.ratio.estimate().bounds(0.9) == (0.5, 0.5)
    assert pairs.smaller.upper(0.05) == pytest.approx(1.1)
    assert pairs.smaller.upper(0.05, 0.025) == pytest.approx(1 + 0.1 * 1.959964 / 1.644854)
    assert pairs.ratio.upper(0.05) == 0.5


def test_what_both_networks_share_cancels_in_the_ratio() -> None:
    """The machine gets twice as hungry from the first round to the last."""
    level = [1 + k / 7 for k in range(8)]
    pairs = Pairs(tuple(2 * x for x in level), tuple(x for x in level))
    assert pairs.ratio.values == (0.5,) * 8


def test_an_outlier_does_not_move_the_bounds() -> None:
    assert Readings((*EIGHT.values[:4], 800.0, *EIGHT.values[5:]), "J").upper(0.05) == 7.0


@pytest.mark.parametrize("risk", [0.5, 0.05, 0.01, 0.001, 1e-6])
def test_as_few_rounds_as_there_must_be(risk: float) -> None:
    rounds = rounds_for(risk)
    assert math.isfinite(Readings((1.0,) * rounds, "J").upper(risk))
    assert rounds == 5 or math.isinf(Readings((1.0,) * (rounds - 1), "J").upper(risk))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ((1.0,) * 4, (1.0,) * 4, "no 5 pairs"),
        ((1.0,) * 6, (1.0,) * 5, "no 5 pairs"),
        ((1.0,) * 5, (1.0, 1.0, 0.0, 1.0, 1.0), "not above 0"),
        ((1.0,) * 5, (1.0, 1.0, math.nan, 1.0, 1.0), "not above 0"),
        ((1.0, 1.0, math.inf, 1.0, 1.0), (1.0,) * 5, "not above 0"),
    ],
)
def test_readings_that_say_nothing_are_refused(
    before: tuple[float, ...], after: tuple[float, ...], message: str
) -> None:
    with pytest.raises(NothingMeasured, match=message):
        Pairs(before, after)


def test_the_upper_bound_holds_as_often_as_it_says() -> None:
    """2000 sets of 24 skewed readings: the bound at 5 % lies under the true median in about 3.2 % of them, as
    the binomial distribution has no rank nearer to 5 %; three standard errors are 1.2 %."""
    generator = random.Random(0)
    truth = math.log(2)
    under = sum(
        Readings(tuple(generator.expovariate(1.0) for _ in range(24)), "J").upper(0.05) < truth
        for _ in range(2000)
    )
    assert under / 2000 == pytest.approx(float(binom.sf(16, 24, 0.5)), abs=0.012)
