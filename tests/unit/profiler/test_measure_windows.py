"""Windows as users open them, on simulated sensors; and traces that are saved and read again."""

import json
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import joulecut as jc
from joulecut.codec import to_json
from joulecut.errors import SchemaError, UsageError
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.measure import Measuring, Meter
from joulecut.profiler.recording import load_trace, save_trace
from joulecut.profiler.simulate import Fault, Load, SimulatedSensor, World, energy_counter, power_gauge
from joulecut.schemas import schema_path

RAPL = energy_counter("package:0", "cpu", tick_s=0.001)
NVML = energy_counter("gpu:0", "cpu", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")


def machine(*meters: object, faults: tuple[Fault, ...] = ()) -> tuple[World, SimulatedSensor]:
    world = World(Load("cpu", idle_w=30.0), seed=1)
    return world, SimulatedSensor(world, list(meters) or [RAPL], faults=faults)  # type: ignore[arg-type]


def test_a_block_is_measured() -> None:
    world, sensor = machine()
    with jc.measure("decode", sensor=sensor, clock=world) as window:
        world.work(0.5, 100.0)
    assert window.energy is not None
    assert window.energy.value == pytest.approx(50.0, rel=2e-3)
    assert (window.measurement.label, window.measurement.quality) == ("decode", "good")
    assert window.measurement.idle is None


def test_a_block_has_a_net_where_idle_is_measured() -> None:
    world, sensor = machine()
    with jc.measure("decode", sensor=sensor, clock=world, idle_s=1.0) as window:
        world.work(1.0, 100.0)
    net = window.measurement.net
    assert net is not None
    assert net.value == pytest.approx(70.0, rel=0.01)


def test_no_figure_inside_the_block() -> None:
    world, sensor = machine()
    with (
        jc.measure(sensor=sensor, clock=world) as window,
        pytest.raises(UsageError, match="the window 'block' has not ended"),
    ):
        _ = window.energy


def test_the_window_stands_where_an_error_left_its_block() -> None:
    world, sensor = machine()
    measuring = jc.measure(sensor=sensor, clock=world, idle_s=1.0)
    window = measuring.__enter__()
    world.work(0.2, 100.0)
    error = ZeroDivisionError()
    measuring.__exit__(ZeroDivisionError, error, None)
    assert window.energy is not None
    assert window.energy.value == pytest.approx(20.0, rel=0.01)


def test_a_function_is_measured_at_every_call() -> None:
    world, sensor = machine()

    @jc.measure("decode", sensor=sensor, clock=world)
    def decode(duration_s: float) -> str:
        """Decode."""
        world.work(duration_s, 100.0)
        return "done"

    assert (decode(0.1), decode(duration_s=0.3)) == ("done", "done")
    assert [m.total.value for m in decode.measurements if m.total] == pytest.approx([10.0, 30.0], rel=0.01)
    assert decode.__doc__ == "Decode."
    decode.close()
    assert decode(0.1) == "done"


def test_work_is_repeated() -> None:
    world, sensor = machine()

    def decode() -> None:
        world.work(0.01, 100.0)

    measured = jc.measure(decode, sensor=sensor, clock=world, min_s=0.5, idle_s=0.5)
    assert measured.label == "decode"
    assert measured.per_iteration is not None
    assert measured.per_iteration.value == pytest.approx(1.0, rel=0.01)


def test_a_meter_keeps_windows_apart() -> None:
    world, sensor = machine()
    with Meter(sensor, clock=world) as meter:
        windows = []
        for k in range(1, 4):
            with meter.window("batch") as window:
                world.work(0.1 * k, 100.0)
            windows.append(window)
    values = [window.energy.value for window in windows if window.energy]
    assert values == pytest.approx([10.0, 20.0, 30.0], rel=0.02)
    together = evaluate(meter.trace(), "batch").total
    assert together is not None
    assert together.value == pytest.approx(60.0, rel=0.02)


def test_a_slow_counter_bounds_what_is_too_short_for_it() -> None:
    """30 ms at 100 W, the 3 J that Zeus reads as 5.14 J on average, or as 0."""
    world, sensor = machine(NVML)
    for _ in range(5):
        with jc.measure(sensor=sensor, clock=world) as window:
            world.work(0.03, 100.0)
        assert window.measurement.quality == "below resolution"
        assert window.energy is not None
        low, high = window.energy.bounds(0.9)
        assert 0 <= low <= 3.0 <= high
        assert window.energy.value > 0


def test_windows_of_a_meter_are_not_disturbed_by_what_follows() -> None:
    world, sensor = machine(NVML)
    with Meter(sensor, clock=world) as meter:
        with meter.window("first") as first:
            world.work(1.0, 100.0)
        early = to_json(first.measurement)
        with meter.window("second"):
            world.work(1.0, 300.0)
    assert to_json(first.measurement) == early


def test_a_meter_is_used_once_and_inside_its_block() -> None:
    world, sensor = machine()
    meter = Meter(sensor, clock=world)
    with pytest.raises(UsageError, match="not open"):
        _ = meter.recorder
    with meter:
        pass
    with pytest.raises(UsageError, match="once"), meter:
        pass


def test_a_counter_that_stops_within_the_window_has_no_figure() -> None:
    world, sensor = machine(NVML, faults=(Fault("stuck", at_s=2.0),))
    with jc.measure(sensor=sensor, clock=world) as window:
        world.work(5.0, 100.0)
    assert (window.energy, window.measurement.quality) == (None, "invalid")


def test_a_lost_sensor_spoils_a_window_and_not_the_next() -> None:
    world, sensor = machine(RAPL, faults=(Fault("lost", at_s=1.0, until_s=1.5),))
    with Meter(sensor, clock=world) as meter:
        with meter.window("lost") as lost:
            world.sleep_s(1.2 - world.now_s())
        world.sleep_s(1.6 - world.now_s())
        with meter.window("found") as found:
            world.work(0.5, 100.0)
    assert (lost.measurement.quality, found.measurement.quality) == ("invalid", "good")
    assert found.energy is not None
    assert found.energy.value == pytest.approx(50.0, rel=0.01)


def test_no_thread_in_a_window_unless_a_wrap_or_slow_ticks_need_one() -> None:
    """On the machine's own clock, with a sensor whose counter never wraps."""
    from joulecut.profiler.clock import SystemClock
    from joulecut.profiler.records import Domain, Read

    class Rising:
        name = "rising"
        domains = (Domain("package:0", "counter", 1e-6, 0, True, "cpu_package", 0.0, 0.0, "cpu", "a clock"),)

        def read(self) -> Read:
            now_s = clock.now_s()
            return Read(now_s, now_s, (int(now_s * 1000) * 1000,))

        def states(self) -> tuple[()]:
            return ()

        def close(self) -> None:
            pass

    clock = SystemClock()
    before = threading.active_count()
    with Measuring("block", Rising(), clock, 0.0) as window:
        inside = threading.active_count()
    assert inside == before
    assert window.measurement.sensor == "rising"


def test_gauges_are_polled() -> None:
    world, sensor = machine(power_gauge("rail:VDD_IN", "cpu", tick_s=0.01))
    with jc.measure(sensor=sensor, clock=world) as window:
        world.work(2.0, 100.0)
    assert window.energy is not None
    assert window.energy.value == pytest.approx(200.0, rel=0.01)


def test_wraps_are_polled_for() -> None:
    """5 J of range at 20 W: 250 ms. Windows of 1 s lose nothing."""
    wrapping = energy_counter("package:0", "cpu", tick_s=0.001, quantum_j=1e-3, counts=5000)
    world, sensor = machine(wrapping)
    with Meter(sensor, clock=world) as meter:
        for _ in range(20):
            with meter.window("second") as window:
                world.work(1.0, 20.0)
            assert window.energy is not None
            assert window.energy.value == pytest.approx(20.0, abs=0.2 + 0.02)


@pytest.mark.parametrize("meters", [(RAPL,), (NVML, RAPL), (power_gauge("rail:A", "cpu", tick_s=0.01),)])
def test_a_saved_trace_gives_the_same_bytes(meters: tuple[object, ...], tmp_path: Path) -> None:
    world, sensor = machine(*meters)
    with jc.measure("decode", sensor=sensor, clock=world, idle_s=1.0) as window:
        world.work(1.0, 100.0)
    save_trace(window.trace, tmp_path / "run.json")
    assert to_json(evaluate(load_trace(tmp_path / "run.json"))) == to_json(window.measurement)
    assert load_trace(tmp_path / "run.json") == window.trace
    jc.save(window.measurement, tmp_path / "measured.json")
    assert jc.load(tmp_path / "measured.json") == window.measurement
    assert jc.load(tmp_path / "run.json") == window.trace
    for name, file in (("trace", "run.json"), ("measurement", "measured.json")):
        schema = json.loads(schema_path(name).read_text())
        assert Draft202012Validator(schema).is_valid(json.loads((tmp_path / file).read_text()))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: text.replace('"counter"', '"meter"'), "is damaged"),
        (lambda text: text.replace('"domains": [', '"domains": [], "other": ['), "one count for each domain"),
    ],
)
def test_a_damaged_trace_is_refused(damage: Callable[[str], str], says: str, tmp_path: Path) -> None:
    world, sensor = machine()
    with jc.measure(sensor=sensor, clock=world) as window:
        world.work(0.1, 100.0)
    path = tmp_path / "run.json"
    save_trace(window.trace, path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(SchemaError, match=says):
        load_trace(path)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_trace(tmp_path / "none.json")


def test_a_long_recording_does_not_grow_without_end() -> None:
    from joulecut.profiler.acquire import _pruned
    from joulecut.profiler.records import Mark, Read

    reads = [Read(k / 100, k / 100, (k,)) for k in range(10_000)]  # 100 s
    kept = _pruned(reads, [Mark(10.0, "begin"), Mark(60.0, "end")], longest_gap_s=0.5)
    assert len(kept) < 900
    assert all(b.begin_s - a.begin_s <= 0.51 for a, b in pairwise(kept))
    assert [r for r in reads if 9.0 < r.begin_s < 11.0] == [r for r in kept if 9.0 < r.begin_s < 11.0]
    assert kept[-1] == reads[-1]
