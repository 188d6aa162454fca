"""Repeated work on simulated sensors whose true joules are known."""

import pytest

from joulecut.errors import UsageError
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.instep import rhythm
from joulecut.profiler.records import Measurement, Trace
from joulecut.profiler.repeat import Patience, record_repeated
from joulecut.profiler.simulate import Fault, Load, Meter, SimulatedSensor, World, energy_counter

NVML = energy_counter("gpu:0", "gpu", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")
PART_TIME = energy_counter("gpu:0", "gpu", tick_s=0.1, quantum_j=1e-3, counts=0, duty=0.25)
RAPL = energy_counter("package:0", "gpu", tick_s=0.001)


def repeated(
    meter: Meter,
    *phases: tuple[float, float],
    patience: Patience,
    seed: int = 0,
    faults: tuple[Fault, ...] = (),
) -> tuple[Measurement, Trace]:
    """The measurement of an iteration that draws, in turn, so many watts for so long."""
    world = World(Load("gpu", idle_w=60.0), seed=seed)
    recorder = Recorder(SimulatedSensor(world, [meter], faults=faults), world)
    find_ticks(recorder)

    def work() -> None:
        for duration_s, power_w in phases:
            world.work(duration_s, power_w)

    record_repeated(recorder, work, "work", patience)
    return evaluate(recorder.trace()), recorder.trace()


def each_j(measured: Measurement) -> float:
    assert measured.per_iteration is not None
    return measured.per_iteration.value


@pytest.mark.parametrize("iteration_s", [0.001, 0.0071, 0.03])
@pytest.mark.parametrize(("window_s", "error"), [(0.6, 0.04), (2.0, 0.005)])
def test_slow_ticks_cost_no_accuracy(iteration_s: float, window_s: float, error: float) -> None:
    """100 W: 0.1 J in a millisecond."""
    for seed in range(4):
        patience = Patience(window_s, window_s, idle_s=1.0)
        measured, _ = repeated(NVML, (iteration_s, 100.0), patience=patience, seed=seed)
        assert each_j(measured) == pytest.approx(100.0 * iteration_s, rel=error)
        assert measured.quality == "good"
        assert measured.per_iteration is not None
        low, high = measured.per_iteration.bounds(0.9)
        assert low <= 100.0 * iteration_s <= high


def test_quick_ticks_are_waited_for_and_not_polled() -> None:
    measured, trace = repeated(RAPL, (0.004, 100.0), patience=Patience(1.0, 1.0, idle_s=0.5))
    assert each_j(measured) == pytest.approx(0.4, rel=1e-3)
    begin, end = (next(mark.at_s for mark in trace.marks if mark.kind == kind) for kind in ("begin", "end"))
    assert sum(begin < read.begin_s < end for read in trace.reads) <= 10  # stretches, for their spread


@pytest.mark.parametrize("half_s", [0.05, 0.0166, 0.1])
def test_work_in_step_with_a_part_time_sensor_is_measured_right(half_s: float) -> None:
    """300 W and 100 W by turns, of which a quarter of each tick is seen; without delays up to 50 % wrong."""
    for seed in range(3):
        phases = (half_s, 300.0), (half_s, 100.0)
        measured, trace = repeated(PART_TIME, *phases, patience=Patience(10.0, 10.0, idle_s=2.0), seed=seed)
        assert each_j(measured) == pytest.approx(400.0 * half_s, rel=0.02)
        assert len(trace.delays_s) == 8
        assert any("8 delays of" in reason for reason in measured.reasons)


def test_work_out_of_step_is_not_delayed() -> None:
    _, trace = repeated(PART_TIME, (0.037, 200.0), patience=Patience(10.0, 10.0, idle_s=0.0))
    assert trace.delays_s == ()


def test_delays_have_their_idle_power_measured_even_if_nobody_asked() -> None:
    measured, trace = repeated(PART_TIME, (0.1, 200.0), patience=Patience(5.0, 5.0, idle_s=0.0))
    assert trace.delays_s
    assert measured.idle is not None
    assert each_j(measured) == pytest.approx(20.0, rel=0.01)


def test_net_is_gross_minus_idle() -> None:
    """100 W and 60 W idle: 40 % of the gross joules."""
    measured, _ = repeated(RAPL, (0.01, 100.0), patience=Patience(1.0, 1.0, idle_s=1.0))
    assert measured.net is not None
    assert measured.total is not None
    assert measured.net.value == pytest.approx(0.4 * measured.total.value, rel=0.01)


def test_what_is_too_short_to_be_marked_is_counted() -> None:
    """10 us each: a mark for a hundred of them."""
    measured, trace = repeated(RAPL, (1e-5, 100.0), patience=Patience(0.2, 0.2, idle_s=0.0))
    assert each_j(measured) == pytest.approx(1e-3, rel=0.01)
    assert {mark.count for mark in trace.marks if mark.kind == "iteration"} == {100}
    assert measured.iterations >= 20_000


def test_it_goes_on_until_the_interval_is_narrow_or_time_is_up() -> None:
    noisy = energy_counter("gpu:0", "gpu", tick_s=0.1, quantum_j=1e-3, counts=0, noise=0.2)
    short, _ = repeated(noisy, (0.004, 200.0), patience=Patience(1.0, 40.0, half_width=0.5, idle_s=0.0))
    longer, _ = repeated(noisy, (0.004, 200.0), patience=Patience(1.0, 40.0, half_width=0.04, idle_s=0.0))
    bounded, _ = repeated(noisy, (0.004, 200.0), patience=Patience(1.0, 3.0, half_width=1e-4, idle_s=0.0))
    assert short.duration_s == pytest.approx(1.0, abs=0.1)
    assert longer.duration_s > 1.5
    assert longer.per_iteration is not None
    assert longer.per_iteration.own.above_90 <= 0.04 * longer.per_iteration.value
    assert bounded.duration_s == pytest.approx(3.0, abs=0.6)


def test_work_longer_than_all_patience_is_measured_once() -> None:
    measured, _ = repeated(NVML, (5.0, 100.0), patience=Patience(1.0, 2.0, idle_s=0.0))
    assert measured.iterations == 1
    assert measured.duration_s == pytest.approx(5.0)
    assert measured.total is not None
    assert measured.total.value == pytest.approx(500.0, rel=0.01)


def test_a_stuck_counter_gives_no_figure() -> None:
    measured, _ = repeated(
        NVML, (0.01, 100.0), patience=Patience(1.0, 5.0, idle_s=0.0), faults=(Fault("stuck"),)
    )
    assert (measured.total, measured.quality) == (None, "invalid")


@pytest.mark.parametrize(
    ("iteration_s", "in_step"),
    [(0.1, True), (0.05, True), (0.2, True), (0.15, True), (0.0333, True), (0.037, False), (0.07, False)],
)
def test_what_runs_in_step_with_ticks_of_100_ms_for_10_s(iteration_s: float, in_step: bool) -> None:
    assert (rhythm(iteration_s, 0.1, 10.0) is not None) == in_step


@pytest.mark.parametrize(
    ("times", "says"),
    [((0.0, 1.0), "cannot measure"), ((2.0, 1.0), "cannot measure"), ((1.0, float("inf")), "cannot")],
)
def test_patience_that_makes_no_sense_is_refused(times: tuple[float, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Patience(*times)


def test_negative_idle_time_is_refused() -> None:
    with pytest.raises(UsageError, match="idle_s 0 or more"):
        Patience(idle_s=-1.0)
