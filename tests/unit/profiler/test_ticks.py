"""Ticks of simulated counters, found while they are read, and steps placed by their common period."""

import pytest

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks
from joulecut.profiler.edges import Edge
from joulecut.profiler.grid import refined, tick_bounds
from joulecut.profiler.simulate import Fault, Load, Meter, SimulatedSensor, World, energy_counter, power_gauge


def found(meter: Meter, *faults: Fault, seed: int = 0) -> tuple[float | None, float]:
    """The tick that is found, and the simulated time that it took."""
    world = World(Load("cpu", idle_w=30.0), seed=seed)
    sensor = SimulatedSensor(world, [meter], faults=faults)
    recorder = Recorder(sensor, world)
    find_ticks(recorder)
    return recorder.ticks_s[0], world.now_s()


@pytest.mark.parametrize("tick_s", [0.001, 0.01, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_the_tick_is_found_within_a_tenth_in_three_seconds(tick_s: float, seed: int) -> None:
    nvml = {"quantum_j": 1e-3, "counts": 0} if tick_s > 0.001 else {}
    meter = energy_counter("it", "cpu", tick_s=tick_s, **nvml)  # type: ignore[arg-type]
    tick, took_s = found(meter, seed=seed)
    assert tick == pytest.approx(tick_s, rel=0.1)
    assert took_s < 3.0


def test_ticks_that_jitter_are_found() -> None:
    tick, _ = found(energy_counter("package:0", "cpu", tick_s=0.001, jitter_s=0.0002))
    assert tick == pytest.approx(0.001, rel=0.1)


def test_a_stuck_counter_has_no_tick() -> None:
    tick, took_s = found(energy_counter("package:0", "cpu", tick_s=0.001), Fault("stuck"))
    assert tick is None
    assert took_s < 3.0


def test_a_counter_that_is_always_current_is_as_quick_as_it_was_read() -> None:
    """Read every 5 us, it changed at each reading."""
    tick, _ = found(energy_counter("package:0", "cpu", tick_s=0.0, quantum_j=1e-6))
    assert tick is not None
    assert tick < 1e-4


def test_a_gauge_has_no_steps() -> None:
    assert found(power_gauge("rail:VDD", "cpu", tick_s=0.02))[0] is None


def test_steps_in_one_period_are_placed_closer_than_they_were_caught() -> None:
    """Caught to 20 ms each, ticks of exactly 0.1 s, off by up to 18 ms in turn."""
    offs = [0.0, 0.018, -0.018, 0.01, -0.01, 0.018, -0.018, 0.0, 0.005, -0.005]
    caught = [Edge(0.1 * k + off, 0.02, 0.0, k) for k, off in enumerate(offs)]
    placed = refined(caught, 0.101)
    assert max(abs(edge.at_s - 0.1 * k) for k, edge in enumerate(placed)) < 0.006
    assert all(edge.half_s <= 0.02 for edge in placed)
    assert all(abs(edge.at_s - 0.1 * k) <= edge.half_s for k, edge in enumerate(placed))


def test_steps_without_a_period_stay_where_they_were_caught() -> None:
    caught = [Edge(at_s, 0.001, 0.0, k) for k, at_s in enumerate([0.0, 0.1, 0.22, 0.3, 0.43])]
    assert refined(caught, 0.1) == caught
    assert tick_bounds(caught, [0, 1, 2, 3, 4]) is None


def test_steps_far_apart_are_placed_by_themselves() -> None:
    """Between two stretches of steps 100 ticks were not read: their number is not sure."""
    near = [Edge(0.1 * k, 0.001, 0.0, k) for k in range(4)]
    far = [Edge(10.05 + 0.1 * k, 0.001, 0.0, 4 + k) for k in range(4)]
    placed = refined([*near, *far], 0.1)
    assert placed[4].at_s == pytest.approx(10.05, abs=1e-6)
    assert placed[0].at_s == pytest.approx(0.0, abs=1e-6)
