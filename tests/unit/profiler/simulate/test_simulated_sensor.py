"""Simulated meters: what they show, by hand, and what each fault does to it."""

import math

import pytest

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.simulate import (
    Fault,
    Load,
    Meter,
    SimulatedSensor,
    World,
    energy_counter,
    power_gauge,
)


def nvml(**settings: float) -> Meter:
    """A counter of mJ on gpu:0 that ticks every 0.1 s, from 0.1 s on."""
    fixed = {"tick_s": 0.1, "quantum_j": 1e-3, "phase_s": 0.1} | settings
    return energy_counter("gpu:0", "gpu:0", counts=0, boundary="board_dc", **fixed)  # type: ignore[arg-type]


def world_with(
    *meters: Meter, seed: int = 0, faults: tuple[Fault, ...] = ()
) -> tuple[World, SimulatedSensor]:
    world = World(Load("gpu:0", idle_w=100.0), Load("cpu", idle_w=20.0), seed=seed)
    return world, SimulatedSensor(world, meters, faults=faults, read_s=0.0)


def counts_after(sensor: SimulatedSensor, world: World, *pauses_s: float) -> list[int | None]:
    shown: list[int | None] = []
    for pause_s in pauses_s:
        world.sleep_s(pause_s)
        shown.append(sensor.read().counts[0])
    return shown


def test_a_counter_is_a_staircase_of_its_ticks() -> None:
    world, sensor = world_with(nvml())
    assert counts_after(sensor, world, 0.05, 0.1, 0.04, 0.02) == [0, 10_000, 10_000, 20_000]


def test_the_quantum_cuts_down_and_the_counter_wraps() -> None:
    meter = energy_counter("package:0", "cpu", tick_s=0.0, quantum_j=3.0, counts=10, first_count=8)
    world, sensor = world_with(meter)
    assert counts_after(sensor, world, 0.0, 0.5, 0.5) == [8, 1, 4]  # 10 J = 3 counts, 20 J = 6 counts


def test_part_time_sampling_sees_the_end_of_each_tick() -> None:
    world, sensor = world_with(nvml(duty=0.25))
    for _ in range(10):  # 300 W in the first half of each tick, 100 W in the second, where it looks
        world.work(0.05, 300.0)
        world.sleep_s(0.05)
    world.sleep_s(0.001)
    assert world.energy_j("gpu:0", 0.0, 1.0) == pytest.approx(200.0)
    assert sensor.read().counts[0] == pytest.approx(100_000, abs=1)


def test_gain_noise_and_jitter_stay_in_their_bounds() -> None:
    meters = (
        nvml(gain_error=0.05),
        energy_counter("noisy", "gpu:0", tick_s=0.1, quantum_j=1e-3, counts=0, phase_s=0.1, noise=0.1),
        energy_counter("late", "gpu:0", tick_s=0.1, quantum_j=1e-3, counts=0, phase_s=0.1, jitter_s=0.02),
    )
    world, sensor = world_with(*meters, seed=5)
    world.sleep_s(100.05)
    gained, noisy, late = sensor.read().counts
    assert gained == pytest.approx(10_500_000, abs=1)
    assert noisy == pytest.approx(10_000_000, abs=3 * 1000 * math.sqrt(1000))  # 1 J a tick, 1,000 ticks
    assert noisy != 10_000_000
    assert late == pytest.approx(10_000_000, abs=2_000)  # the last tick is at most 0.02 s off
    assert late != 10_000_000


def test_a_gauge_shows_the_mean_power_of_its_window() -> None:
    instant = power_gauge("power", "gpu:0", tick_s=0.1)
    average = power_gauge("average", "gpu:0", "cpu", tick_s=0.1, window_s=1.0)
    world, sensor = world_with(instant, average)
    world.sleep_s(2.0)
    world.work(0.5, 300.0)
    instant_mw, average_mw = sensor.read().counts
    assert instant_mw == 300_000
    assert average_mw is not None
    assert 200_000 <= average_mw <= 220_000  # 220 W at the end, less 2 W for each 10 ms since the last tick


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault("stuck", at_s=0.2, until_s=0.36), [10_000, 20_000, 20_000, 40_000]),
        (Fault("reset", at_s=0.2), [10_000, 0, 10_000, 20_000]),
        (Fault("lost", at_s=0.2, until_s=0.3), [10_000, None, 30_000, 40_000]),
        (Fault("denied", at_s=0.2, domain="cpu"), [10_000, 20_000, 30_000, 40_000]),
    ],
)
def test_faults(fault: Fault, shown: list[int | None]) -> None:
    world, sensor = world_with(nvml(), faults=(fault,))
    assert counts_after(sensor, world, 0.15, 0.1, 0.1, 0.1) == shown


def test_a_read_says_why_a_domain_failed_and_takes_its_time() -> None:
    world = World(Load("cpu", idle_w=20.0))
    meters = [energy_counter(name, "cpu", tick_s=0.001) for name in ("package:0", "dram:0")]
    sensor = SimulatedSensor(world, meters, faults=[Fault("lost", domain="dram:0")], read_s=1e-5)
    read = sensor.read()
    assert (read.begin_s, read.end_s) == pytest.approx((0.0, 2e-5))
    assert read.counts == (0, None)
    assert read.faults == ("", "the device is lost")


def test_opening_fails_where_the_whole_sensor_is_missing_or_denied() -> None:
    world = World(Load("cpu", idle_w=20.0))
    with pytest.raises(SensorDenied):
        SimulatedSensor(world, [nvml()], faults=[Fault("denied")])
    with pytest.raises(SensorMissing):
        SimulatedSensor(world, [nvml()], faults=[Fault("missing")])
    with pytest.raises(ValueError, match="no fault 'explode'"):
        Fault("explode")  # type: ignore[arg-type]


def test_states_say_what_the_faults_add() -> None:
    world, sensor = world_with(
        nvml(), faults=(Fault("throttle", at_s=1.0, until_s=2.0), Fault("state", facts={"fan": "off"}))
    )
    (before,) = sensor.states()
    world.sleep_s(1.5)
    (during,) = sensor.states()
    assert before.device == "gpu:0"
    assert before.facts == {"temperature_c": 35.0, "fan": "off"}
    assert set(during.facts) - set(before.facts) == {"throttle_reasons"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"duty": 0.0}, "duty"), ({"jitter_s": 0.06}, "jitter"), ({"tick_s": 0.0, "noise": 0.1}, "per tick")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        nvml(**settings)
