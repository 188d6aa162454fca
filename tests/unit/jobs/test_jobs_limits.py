"""Limits of a budget, each held against its figure."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from joulecut.estimate import Estimate, Spread, exact
from joulecut.jobs.limits import accuracy_estimate, limit_checks
from joulecut.pruning.records import Budget, LimitCheck


def joules(value: float) -> Estimate:
    """x/÷ 1.5 common to the board and x/÷ 1.1 of its own at 90 %, half as wide at 50 %."""
    common = Spread(0.2 * value, 0.25 * value, value / 3, 0.5 * value)
    own = Spread(0.04 * value, 0.05 * value, 0.09 * value, 0.1 * value)
    return Estimate(value, "J", "modelled", "demo", common=common, own=own, common_with="board")


def seconds(value: float) -> Estimate:
    return Estimate(
        value, "s", "measured", "demo", own=Spread(0.1 * value, 0.1 * value, 0.2 * value, 0.2 * value)
    )


def checked(budget: Budget, **figures: Estimate | None) -> dict[str, LimitCheck]:
    return {one.what: one for one in limit_checks(budget, joules(2.0), joules(1.0), **figures)}


@pytest.mark.parametrize(
    ("budget", "met"),
    [
        # 1 J is at most 1 + hypot(0.5, 0.1) J at 90 %, and at least 1 - hypot(1/3, 0.09)
        (Budget(energy_j=1.52), "yes"),
        (Budget(energy_j=1.50), "unsure"),
        (Budget(energy_j=0.66), "unsure"),
        (Budget(energy_j=0.65), "no"),
        # at 50 % it is at most 1 + hypot(0.25, 0.05)
        (Budget(energy_j=1.26, confidence=0.5), "yes"),
        # what is common cancels in the half: own factors 1.1 above and 1 / 0.91 below combine to x 1.1434
        (Budget(share=0.58), "yes"),
        (Budget(share=0.57), "unsure"),
        (Budget(share=0.43), "no"),
    ],
)
def test_energy_is_met_on_its_upper_bound(budget: Budget, met: str) -> None:
    (check,) = checked(budget).values()
    assert (check.what, check.met) == ("energy", met)


def test_each_limit_has_its_words_its_figure_and_its_verdict() -> None:
    budget = Budget(energy_j=2.0, latency_s=5e-3, memory_bytes=256e3, min_accuracy=0.9)
    figures = {
        "latency": seconds(4.5e-3),
        "memory": exact(300e3, "B", "modelled", "demo"),
        "accuracy": accuracy_estimate(0.9, 50),
    }
    found = [(one.what, one.asked, one.met) for one in checked(budget, **figures).values()]
    assert found == [
        ("energy", "at most 2.00 J", "yes"),
        ("latency", "at most 5.00 ms", "unsure"),  # up to 5.4 ms
        ("memory peak", "at most 256 kB", "no"),
        ("validation accuracy", "at least 90.0 %", "yes"),
    ]
    kept = [one.figure for one in checked(budget, **figures).values()]
    assert kept[1:] == list(figures.values())


def test_what_is_not_known_is_unsure_and_a_training_step_is_named() -> None:
    budget = Budget(energy_j=2.0, latency_s=1.0, min_accuracy=0.5, per="training step", step_samples=32)
    found = checked(budget)
    assert [one.met for one in found.values()] == ["yes", "unsure", "unsure"]
    assert next(iter(found)) == "energy of a training step of 32"


def test_an_accuracy_below_the_lowest_allowed_is_not_met() -> None:
    check = checked(Budget(energy_j=2.0, min_accuracy=0.9), accuracy=accuracy_estimate(0.88, 50))
    assert check["validation accuracy"].met == "no"


def test_the_bounds_of_an_accuracy_are_those_of_scipy() -> None:
    found = accuracy_estimate(0.88, 50)
    for confidence in (0.5, 0.9):
        expected = binomtest(44, 50).proportion_ci(confidence, method="wilson")
        assert found.bounds(confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)
