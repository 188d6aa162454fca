"""The lowest accuracy of a budget, held against a figure."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from joulecut.jobs.limits import accuracy_check, accuracy_estimate


@pytest.mark.parametrize(("accuracy", "met"), [(0.9, "yes"), (0.94, "yes"), (0.88, "no")])
def test_the_figure_itself_decides(accuracy: float, met: str) -> None:
    check = accuracy_check(0.9, accuracy, 50)
    assert (check.what, check.asked, check.met) == ("validation accuracy", "at least 90.0 %", met)
    assert check.figure == accuracy_estimate(accuracy, 50)


def test_the_bounds_of_an_accuracy_are_those_of_scipy() -> None:
    found = accuracy_estimate(0.88, 50)
    for confidence in (0.5, 0.9):
        expected = binomtest(44, 50).proportion_ci(confidence, method="wilson")
        assert found.bounds(confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (found.n, found.origin) == (50, "measured")
