"""Who polls what: slow counters by a thread, wrap-arounds without one where readings come anyway."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from powercap_tree import PowercapTree

import joulecut as jc
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks, record_idle
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.command import record_command
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.measure import Meter
from joulecut.profiler.records import NOT_READ, Domain, Read
from joulecut.profiler.repeat import Patience, record_repeated
from joulecut.profiler.sensors.joined import JoinedSensor
from joulecut.profiler.sensors.powercap import open_powercap
from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter
from joulecut.profiler.wraps import unwrap

NVML = energy_counter("gpu:0", "gpu", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")
RAPL = energy_counter("package:0", "cpu", tick_s=0.001)


class Threadless(SystemClock):
    """The machine's clock, on which no poller may be started."""

    @contextmanager
    def every(self, period_s: float, call: Callable[[], None]) -> Iterator[None]:
        raise AssertionError(f"a poller was started, with a period of {period_s} s")
        yield


def joined(world: World) -> JoinedSensor:
    return JoinedSensor([SimulatedSensor(world, [NVML]), SimulatedSensor(world, [RAPL])])


def test_of_a_joined_sensor_only_the_slow_counters_are_polled() -> None:
    """2 s: 400 polls of the GPU at 5 ms; the processor is read at the ends alone."""
    world = World(Load("gpu", idle_w=60.0), Load("cpu", idle_w=20.0), seed=3)
    with jc.measure("decode", sensor=joined(world), clock=world) as window:
        world.work(2.0, 100.0)
    measured = window.measurement
    assert measured.quality == "good"
    assert measured.total is not None
    begin, end = (mark.at_s for mark in window.trace.marks)
    inside = [read for read in window.trace.reads if begin < read.begin_s < end]
    assert len(inside) > 20
    assert {read.faults for read in inside} == {("", NOT_READ)}
    true_j = world.energy_j("gpu", begin, end) + world.energy_j("cpu", begin, end)
    low_j, high_j = measured.total.bounds(0.9)
    assert low_j <= true_j <= high_j


def test_what_was_left_out_is_no_failure() -> None:
    domain = Domain("package:0", "counter", 0.5, 8, True, "cpu_package", 0.0, 0.0, "cpu", "by hand")
    reads = [Read(0.0, 0.0, (1,)), Read(1.0, 1.0, (None,), (NOT_READ,)), Read(2.0, 2.0, (3,))]
    series = unwrap(domain, 0, reads)
    assert (series.values, series.times_s, series.breaks) == ((0.0, 1.0), (0.0, 2.0), ())


def test_a_joined_sensor_is_read_whole_as_often_as_its_wraps_need() -> None:
    """A range of 60 J at 60 W at most: read each third of a second, a window of 3 s at 40 W loses no wrap."""
    wrapping = energy_counter("package:0", "cpu", tick_s=0.001, quantum_j=1e-3, counts=60_000, peak_w=60.0)
    world = World(Load("gpu", idle_w=60.0), Load("cpu", idle_w=20.0), seed=3)
    sensor = JoinedSensor([SimulatedSensor(world, [NVML]), SimulatedSensor(world, [wrapping])])
    with Meter(sensor, clock=world) as meter:
        with meter.window("work") as window:
            world.sleep_s(6.0)
        measured = window.measurement
    package = next(domain for domain in measured.domains if domain.name == "package:0")
    assert package.energy is not None
    assert package.energy.value == pytest.approx(120.0, rel=1e-3)


def test_times_that_are_known_need_no_poller(tmp_path: Path) -> None:
    """Package counters of 262 kJ, which no 0.2 s can fill."""
    tree = PowercapTree(tmp_path)
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    with tree.live_process():
        clock = Threadless()
        sensor = open_powercap(clock, root=tree.root, machine=tmp_path)
        recorder = Recorder(sensor, clock)
        find_ticks(recorder)
        record_idle(recorder, 0.2, "before")
        record_repeated(recorder, lambda: sum(range(10_000)), "work", Patience(0.2, 0.2, idle_s=0.1))
        sensor.close()
    assert evaluate(recorder.trace()).total is not None


def test_the_wraps_of_a_commands_window_are_followed_without_a_thread(tmp_path: Path) -> None:
    """60 J at 40 W wrap each 1.5 s, and a power of 60 W at most asks for a reading each third of a second."""
    tree = PowercapTree(tmp_path)
    tree.add("intel-rapl:0", "package-0", watts=40.0, range_uj=60_000_000, max_power_w=30.0)
    with tree.live_process():
        clock = Threadless()
        sensor = open_powercap(clock, root=tree.root, machine=tmp_path)
        recorder = Recorder(sensor, clock)
        find_ticks(recorder)
        command = [sys.executable, "-c", "import time; time.sleep(2.5)"]
        measured = evaluate(record_command(recorder, command, "sleep"))
        sensor.close()
    assert measured.total is not None
    assert measured.total.value == pytest.approx(40.0 * measured.duration_s, rel=0.05)
    assert measured.total.value > 60.0
