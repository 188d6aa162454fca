"""Joules by a gauge of power, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulecut.profiler.gauges import gauge_period, integrated_energy
from joulecut.profiler.reckoned import Span
from joulecut.profiler.records import Domain
from joulecut.profiler.wraps import Series

GAUGE = Domain("gpu:0", "gauge", 1e-3, 0, True, "board_dc", 0.0, 0.05, "gpu:0", "example")
POLL_S = 0.005
PERIOD_S = 0.1


def shown(powers_w: list[float], domain: Domain = GAUGE, *, stamped: bool = False) -> Series:
    """A gauge that shows each value for a tenth of a second, read every 5 ms from time 0 on."""
    per = round(PERIOD_S / POLL_S)
    times = tuple(k * POLL_S for k in range(per * len(powers_w)))
    values = tuple(powers_w[k // per] for k in range(len(times)))
    stamps = tuple((k // per) * PERIOD_S if stamped else None for k in range(len(times)))
    return Series(domain, times, values, tuple(round(value * 1e3) for value in values), stamps, ())


def test_steady_power_is_power_times_time() -> None:
    energy = integrated_energy(shown([100.0] * 30), Span(0.5, 2.5))
    assert energy.energy_j == pytest.approx(200.0)
    assert energy.quality == "good"
    assert energy.below_j == energy.above_j == pytest.approx(0.9 * 0.5e-3 * 2.0)  # the last digit alone


def test_a_load_that_begins_with_the_window_and_ends_with_it() -> None:
    """100 W, and 300 W from 1 to 2 s, shown as the mean of the last period: one period late."""
    powers = [100.0] * 11 + [300.0] * 10 + [100.0] * 10
    energy = integrated_energy(shown(powers, stamped=True), Span(1.0, 2.0))
    assert energy.energy_j - energy.below_j <= 300.0 <= energy.energy_j + energy.above_j
    assert energy.energy_j == pytest.approx(300.0, rel=0.001)  # not coloured by the 100 W before and after


def test_a_gauge_of_moments_is_inside_the_interval_too() -> None:
    """The same load, shown in the middle of each period as it was in that moment: late by half a period."""
    powers = [100.0] * 11 + [300.0] * 10 + [100.0] * 10
    half_late = shown(powers, stamped=True)
    moved = replace(half_late, times_s=tuple(time - PERIOD_S / 2 for time in half_late.times_s))
    energy = integrated_energy(moved, Span(1.0, 2.0))
    assert energy.energy_j == pytest.approx(300.0, rel=0.001)
    assert energy.energy_j - energy.below_j <= 300.0 <= energy.energy_j + energy.above_j


def test_what_was_not_seen_after_the_window_widens_it() -> None:
    powers = [100.0] * 20
    seen = integrated_energy(shown(powers, stamped=True), Span(0.5, 1.5))
    cut = shown(powers[:15], stamped=True)
    unseen = integrated_energy(cut, Span(0.5, 1.49))
    assert seen.above_j < 0.01
    lag_s = 0.75 * PERIOD_S
    assert unseen.above_j == pytest.approx((1.49 + lag_s - cut.times_s[-1]) * 100.0, rel=0.01)


def test_the_period_is_found_from_changes_or_stamps() -> None:
    assert gauge_period(shown([float(100 + k % 3) for k in range(20)])) == pytest.approx(PERIOD_S)
    assert gauge_period(shown([100.0] * 20, stamped=True)) == pytest.approx(PERIOD_S)
    assert gauge_period(shown([100.0] * 20)) == 0.0  # nothing changes: nothing lags
    assert gauge_period(shown([100.0] * 10 + [300.0] * 10)) == 0.25  # the longest that a gauge may have
    stays = [100.0, 100.0, 120.0, 120.0, 120.0, 110.0, 105.0, 105.0, 130.0, 100.0, 90.0]
    assert gauge_period(shown(stays)) == pytest.approx(PERIOD_S)


def test_shorter_than_two_periods_has_no_figure_or_bounds() -> None:
    powers = [float(100 + k % 3) for k in range(20)]
    assert integrated_energy(shown(powers), Span(1.0, 1.15)).quality == "invalid"
    limited = integrated_energy(shown(powers, replace(GAUGE, peak_w=400.0)), Span(1.0, 1.15))
    assert limited.quality == "below resolution"
    assert limited.energy_j - limited.below_j == 0.0
    assert limited.energy_j + limited.above_j == pytest.approx(400.0 * 0.15)


def test_an_average_needs_five_of_its_lengths() -> None:
    averaged = shown([100.0] * 80, replace(GAUGE, average_s=1.0), stamped=True)
    assert integrated_energy(averaged, Span(1.0, 2.5)).quality == "invalid"
    assert integrated_energy(averaged, Span(1.0, 5.0)).quality == "degraded"
    assert integrated_energy(averaged, Span(1.0, 6.5)).quality == "good"


def test_an_average_of_a_second_does_not_colour_a_window_after_idle() -> None:
    """60 W, and 260 W from 2 to 8 s: the average rises by 20 W in each tenth of a second, and falls so."""
    rising = [60.0 + 20.0 * k for k in range(1, 11)]
    averages = [60.0] * 21 + rising + [260.0] * 50 + rising[-2::-1] + [60.0] * 20
    averaged = shown(averages, replace(GAUGE, average_s=1.0), stamped=True)
    energy = integrated_energy(averaged, Span(2.0, 8.0))
    assert energy.quality == "good"
    assert energy.energy_j == pytest.approx(6.0 * 260.0, rel=0.001)


def test_without_readings_around_there_is_no_figure() -> None:
    gauge = shown([100.0] * 10)
    assert integrated_energy(gauge, Span(-0.5, 0.5)).quality == "invalid"
    assert integrated_energy(gauge, Span(0.5, 1.5)).quality == "invalid"
