"""Interval factors by mode."""

from __future__ import annotations

import math

import pytest

from joulecut.hw_models.intervals import Interval, interval, total_factor_90


def test_modes_shrink_with_knowledge() -> None:
    order = [
        "datasheet",
        "scaled",
        "calibrated-1",
        "calibrated-3",
        "calibrated-8",
        "latency-measured",
        "definition",
    ]
    factors = [interval(mode).total_90 for mode in order]
    assert factors == pytest.approx([3.5, 2.5, 1.5, 1.3, 1.25, 1.22, 1.0])


@pytest.mark.parametrize(
    "mode", ["", "calibrated-0", "calibrated-", "calibrated-x", "calibrated-01", "measured"]
)
def test_unknown_modes(mode: str) -> None:
    with pytest.raises(ValueError, match="no mode"):
        total_factor_90(mode)


def test_parts_join_in_the_log_domain() -> None:
    parts = interval("calibrated-1", own_90=1.5)
    assert math.hypot(math.log(parts.common_90), math.log(parts.own_90)) == pytest.approx(math.log(1.5))
    assert parts.own_90 == 1.5
    assert math.hypot(math.log(parts.common_50), math.log(parts.own_50)) == pytest.approx(math.log(1.11))


def test_own_part_never_exceeds_the_whole() -> None:
    assert interval("latency-measured", own_90=1.5).own_90 == 1.22
    assert interval("latency-measured", own_90=1.5).common_90 == 1.0


def test_another_factor_than_the_modes() -> None:
    assert interval("calibrated-8", total_90=2.5).total_90 == pytest.approx(2.5)


def test_spreads() -> None:
    certain = Interval()
    assert certain.own(3.0).parts() == certain.common(3.0).parts() == (0, 0, 0, 0)
    wide = Interval(1.2, 2.0, 1.1, 1.25)
    assert wide.common(4.0).above_90 == 4.0
    assert wide.own(4.0).below_90 == pytest.approx(0.8)
    assert wide.own(4.0, 10.0).below_90 == 4.0
    assert wide.own(4.0, 10.0).above_90 == pytest.approx(10.0)
