"""Counters that stand still for a while at the ends of a window: never a wrong figure that is called good."""

import random

import pytest
from traces import counter, stairs, trace, window

import joulecut as jc
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.records import Mark, Measurement, Read
from joulecut.profiler.simulate import Fault, Load, Meter, SimulatedSensor, World, energy_counter

RAPL = energy_counter("package:0", "cpu", tick_s=0.001)
NVML = energy_counter("gpu:0", "cpu", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")


def measured_block(
    meter: Meter, length_s: float, stall_s: tuple[float, float] | None = None
) -> tuple[Measurement, float, float]:
    """A block of 100 W on a machine of 30 W: the measurement, its true joules, and when it began.

    The counter stands still from and to the two times, and then shows at once what it missed.
    """
    world = World(Load("cpu", idle_w=30.0), seed=1)
    faults = [Fault("stuck", at_s=stall_s[0], until_s=stall_s[1])] if stall_s else []
    with jc.measure("work", sensor=SimulatedSensor(world, [meter], faults=faults), clock=world) as block:
        world.work(length_s, 100.0)
    begin_s, end_s = (mark.at_s for mark in block.trace.marks)
    return block.measurement, world.energy_j("cpu", begin_s, end_s), begin_s


@pytest.mark.parametrize("after_s", [0.001, 0.025, 0.085])
def test_a_writer_that_stalls_through_the_end_of_a_window_degrades_it(after_s: float) -> None:
    """A block of 115 ms; a counter of 1 ms moves for 25 ms of it and then no more until after the end.

    Without a look at what comes after the block this is 2.5 J of 11.5 J.
    """
    begin_s = measured_block(RAPL, 0.115)[2]
    measured, true_j, _ = measured_block(RAPL, 0.115, (begin_s + 0.025, begin_s + 0.115 + after_s))
    assert true_j == pytest.approx(11.5, rel=1e-3)
    assert measured.total is not None
    low_j, high_j = measured.total.bounds(0.9)
    assert low_j <= true_j <= high_j
    assert measured.total.value == pytest.approx(true_j, rel=0.35)  # 30 W for up to 85 ms after it
    if after_s > 0.003:
        assert measured.quality == "degraded"
        assert "about the end of the block" in measured.reasons[0]


@pytest.mark.parametrize(("meter", "scale"), [(RAPL, 0.01), (NVML, 1.0)])
def test_no_stall_makes_a_wrong_figure_good(meter: Meter, scale: float) -> None:
    """Stalls of up to 9 ticks around both ends of windows of 5 to 30 ticks, about which it is 30 W."""
    drawn = random.Random(5)
    begin_s = measured_block(meter, scale)[2]
    good, outside = 0, 0
    for _ in range(100):
        length_s = drawn.uniform(0.5, 3.0) * scale
        stall_s = begin_s + drawn.uniform(-0.5 * scale, length_s + 0.1 * scale)
        until_s = stall_s + drawn.uniform(0.1, 0.9) * scale
        measured, true_j, _ = measured_block(meter, length_s, (stall_s, until_s))
        if measured.quality != "good":
            continue
        assert measured.total is not None
        low_j, high_j = measured.total.bounds(0.9)
        good += 1
        if not low_j <= true_j <= high_j:
            outside += 1
            assert measured.total.value == pytest.approx(true_j, rel=0.05)
    assert good > 10
    assert outside <= 0.1 * good


def test_what_was_caught_up_after_the_end_is_shared_by_time() -> None:
    """10 J each 0.1 s up to 1 s, nothing up to 1.6 s, then 60 J at once: 100 W throughout.

    The block ends at 1.3 s. Its end lies between the 100 J that were shown and the 160 J that came at once.
    """
    rises = [10] * 10 + [0] * 5 + [60] + [10] * 4
    measured = evaluate(trace(counter(), stairs(rises, 0.1), window(0.4, 1.3)))
    assert measured.total is not None
    assert measured.quality == "degraded"
    assert measured.total.value == pytest.approx(90.0, rel=0.1)
    low_j, high_j = measured.total.bounds(0.9)
    assert low_j <= 90.0 <= high_j
    assert high_j - low_j > 40.0


def test_a_short_rest_in_a_long_window_is_only_in_the_interval() -> None:
    """50 s at 100 W; at the end 0.4 s of rest leave 40 J of 5000 open, under a fiftieth."""
    rises = [10] * 500 + [0] * 3 + [40] + [10] * 5
    measured = evaluate(trace(counter(), stairs(rises, 0.1), window(0.0 + 0.3, 50.2)))
    assert measured.total is not None
    assert measured.quality == "good"
    low_j, high_j = measured.total.bounds(0.9)
    assert low_j <= 4990.0 <= high_j


def test_without_a_step_after_the_end_the_bound_is_the_power_that_was_seen() -> None:
    reads = stairs([10] * 10, 0.1) + [Read(1.0 + k / 100, 1.0 + k / 100, (100,)) for k in range(45)]
    measured = evaluate(trace(counter(), reads, [Mark(0.25, "begin", "work"), Mark(1.3, "end", "work")]))
    assert measured.total is not None
    assert measured.quality == "degraded"
    assert measured.total.bounds(0.9)[1] > 105.0
