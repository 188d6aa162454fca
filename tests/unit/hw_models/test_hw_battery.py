"""Battery life by hand: joules, periods and capacities whose quotients are plain."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hw_networks import resnet8

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread, exact, ratio
from joulecut.hw_models.battery import battery_life
from joulecut.hw_models.duty import parse_capacity, parse_period, parse_self_discharge
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.units import parse_quantity


def profile(joules: float = 0.010, seconds: float = 1.0) -> EnergyProfile:
    """10 mJ x/÷ 2 at 90 %, x/÷ 1.25 at 50 %, all common to the board; 1 s."""
    base = estimate(resnet8(), "nucleo-l4r5zi/x-cube-ai/int8")
    spread = Spread.factors(joules, 1.25, 2.0)
    total = Estimate(joules, "J", "modelled", "demo", common=spread, common_with="board")
    return replace(base, boundary="board_dc", total=total, duration=exact(seconds, "s", "modelled", "demo"))


def test_without_sleep_power_it_is_capacity_over_joules() -> None:
    """36 J at 10 mJ: 3,600 inferences; one every 10 s takes 10 hours. Bounds as of the joules."""
    life = battery_life(profile(), 36.0, 10.0)
    assert life.inferences.value == pytest.approx(3600)
    assert life.life.value == pytest.approx(36_000)
    assert life.power.value == pytest.approx(1e-3)
    assert life.inferences.bounds(0.9) == pytest.approx((1800, 7200))
    assert life.life.bounds(0.5) == pytest.approx((28_800, 45_000))
    assert life.power.bounds(0.9) == pytest.approx((0.5e-3, 2e-3))
    assert (life.life.unit, life.life.origin, life.inferences.common_with) == ("s", "modelled", "board")


def test_sleep_power_fills_the_rest_of_the_period() -> None:
    """10 mJ in 1 s and 9 s at 1 mW: 19 mJ each 10 s. At the upper bound 20 mJ + 9 mJ: 29 mJ."""
    life = battery_life(profile(), 38.0, 10.0, sleep_w=1e-3)
    assert life.inferences.value == pytest.approx(2000)
    assert life.inferences.bounds(0.9) == pytest.approx((38 / 29e-3, 38 / 14e-3))
    assert battery_life(profile(seconds=0.0), 38.0, 10.0, sleep_w=1e-3).notes == (
        "the time of one inference is not known: sleep power is counted all the time",
    )


def test_self_discharge_is_a_share_of_what_is_left() -> None:
    """With half gone a month (k = ln 2 a month), P (e^k - 1) / k = P / k is drained after a month."""
    month_s = 365.25 / 12 * 86_400
    k = math.log(2) / month_s
    capacity_j = 1e-3 / k  # so that exp(k t) = 1 + k C / P = 2: one month
    life = battery_life(profile(), capacity_j, 10.0, self_discharge=0.5)
    assert life.life.value == pytest.approx(month_s)
    alone = battery_life(profile(), capacity_j, 10.0)
    assert alone.life.value == pytest.approx(month_s / math.log(2))


def test_without_a_pause_the_period_is_the_time_of_one_inference() -> None:
    life = battery_life(profile(), 36.0)
    assert (life.period_s, life.life.value, life.power.value) == pytest.approx((1.0, 3600, 0.01))


def test_what_is_common_to_the_board_cancels_before_and_after() -> None:
    before, after = (battery_life(profile(joules), 36.0, 10.0) for joules in (0.010, 0.005))
    gained = ratio(after.inferences, before.inferences)
    assert gained.value == pytest.approx(2.0)
    assert gained.bounds(0.9) == pytest.approx((2.0, 2.0))


def test_what_a_battery_does_not_feed_is_refused() -> None:
    wall = estimate(resnet8(), "raspberry-pi-4b/tflite/float32")
    with pytest.raises(UsageError, match="counted at the wall, not at a battery"):
        battery_life(wall, 36.0, 10.0)
    rail = battery_life(replace(profile(), boundary="soc_rail"), 36.0, 10.0)
    assert "only the rail of the chip" in rail.notes[0]


@pytest.mark.parametrize(
    ("capacity_j", "period_s", "sleep_w", "share", "message"),
    [
        (0.0, 10.0, 0.0, 0.0, "capacity must be above 0 J, not 0 J"),
        (math.inf, 10.0, 0.0, 0.0, "capacity must be above"),
        (36.0, 0.5, 0.0, 0.0, "takes 1.00 s, longer than its period of 500 ms"),
        (36.0, math.nan, 0.0, 0.0, "longer than its period"),
        (36.0, 10.0, -1.0, 0.0, "sleep power must be 0 W or more"),
        (36.0, 10.0, 0.0, 1.0, "self-discharge from 0 to below 1"),
    ],
)
def test_figures_out_of_range(
    capacity_j: float, period_s: float, sleep_w: float, share: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        battery_life(profile(), capacity_j, period_s, sleep_w, share)


def test_a_profile_without_time_needs_a_period() -> None:
    with pytest.raises(UsageError, match="has no time for resnet8"):
        battery_life(profile(seconds=0.0), 36.0)
    with pytest.raises(UsageError, match="energy of one inference must be above 0 J"):
        battery_life(replace(profile(), total=exact(0.0, "J", "modelled", "demo")), 36.0, 10.0)


def test_capacities_and_periods_as_they_are_written() -> None:
    assert parse_capacity("2000 mWh") == 7200
    assert parse_capacity("2.4Wh") == pytest.approx(8640)
    assert parse_capacity("225 mAh × 3 V") == pytest.approx(2430)  # a CR2032
    assert parse_capacity("1200mAh@3.7V") == parse_capacity("1.2 Ah at 3700 mV") == pytest.approx(15_984)
    assert parse_capacity("36 J") == 36
    assert parse_period("6/min") == parse_period("8640/d") == parse_period("10s") == 10
    assert parse_self_discharge("3%") == parse_self_discharge("3 % per month") == 0.03
    assert parse_quantity("1 d", "s") == 86_400


@pytest.mark.parametrize("text", ["1200 mAh", "mWh", "2000", "-3 Wh", "0 J", "3.7 V", "1 x 2", ""])
def test_capacities_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_capacity(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0/h", "0 s", "-1 s", "often", "5 J", "/h", ""])
def test_periods_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_period(text)


@pytest.mark.parametrize("text", ["100%", "1", "-1%", "much", ""])
def test_self_discharges_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_self_discharge(text)
