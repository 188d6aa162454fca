"""Windows on GPUs, through the real nvidia-ml-py: joules that are right, bounded or refused.

True joules are watts times seconds of the schedule; the counter shows them in ticks of 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from nvml_stub import Stub

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks, settle
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.records import Measurement

NO_COUNTER = "error nvmlDeviceGetTotalEnergyConsumption 3\n"
GPU = "gpu\nphase 0.037\nwatts 100\n"
BEGIN_S = 5.0


@pytest.fixture
def stub(
    nvml_library: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stub]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stub = Stub(nvml_library(), tmp_path, monkeypatch)
    yield stub
    stub.close()


def measured(stub: Stub, schedule: str, *durations_s: float) -> list[Measurement]:
    """Windows of these lengths, a second apart; the first begins at 5 s."""
    stub.clock.set_s(0.5)
    sensor = stub.open(schedule)
    recorder = Recorder(sensor, stub.clock)
    find_ticks(recorder)
    stub.clock.sleep_s(BEGIN_S - 0.5 - stub.clock.now_s())
    names = [str(number) for number in range(len(durations_s))]
    for name, duration_s in zip(names, durations_s, strict=True):
        with recorder.polled():
            stub.clock.sleep_s(0.5)
            recorder.look()
            recorder.begin(name)
            stub.clock.sleep_s(duration_s)
            recorder.end(name)
            settle(recorder)
            recorder.look()
            stub.clock.sleep_s(0.5)
    sensor.close()
    trace = recorder.trace()
    return [evaluate(trace, name) for name in names]


def joules(measurement: Measurement) -> float:
    assert measurement.total is not None
    return measurement.total.value


@pytest.mark.parametrize(("duration_s", "share"), [(0.6, 0.04), (2.0, 0.005), (5.0, 0.005)])
def test_a_steady_load_is_right(stub: Stub, duration_s: float, share: float) -> None:
    (window,) = measured(stub, GPU, duration_s)
    assert joules(window) == pytest.approx(100 * duration_s, rel=share)
    assert (window.quality, window.reasons) == ("good", ())
    assert window.domains[0].tick_s == pytest.approx(0.1, rel=0.1)


def test_a_step_of_load_is_right(stub: Stub) -> None:
    (window,) = measured(stub, f"{GPU}at 6 watts 300\n", 3.0)
    assert joules(window) == pytest.approx(1.0 * 100 + 2.0 * 300, rel=0.02)


def test_power_is_integrated_where_there_is_no_counter_and_the_label_says_so(stub: Stub) -> None:
    (window,) = measured(stub, f"gpu\n{NO_COUNTER}watts 100\nat 6 watts 300\n", 3.0)
    assert joules(window) == pytest.approx(1.0 * 100 + 2.0 * 300, rel=0.02)
    assert "integrated" in window.domains[0].source


def test_an_average_of_power_is_no_good_figure_for_a_short_window(stub: Stub) -> None:
    lacking = "".join(f"field_error 186 {scope} 3\n" for scope in (0, 1))
    (window,) = measured(stub, f"gpu\n{NO_COUNTER}{lacking}watts 100\nat 5 watts 300\n", 0.5)
    assert window.quality != "good"  # the average still holds half a second of 100 W


def test_a_block_shorter_than_two_ticks_has_bounds_that_hold(stub: Stub) -> None:
    (window,) = measured(stub, GPU, 0.03)
    assert window.quality == "below resolution"
    assert window.total is not None
    low_j, high_j = window.total.bounds(0.9)
    assert low_j <= 3.0 <= high_j
    assert window.total.value > 0


def test_several_gpus_add_up(stub: Stub) -> None:
    (window,) = measured(stub, f"{GPU}gpu\nphase 0.081\nwatts 250\n", 3.0)
    assert [domain.name for domain in window.domains] == ["gpu:0", "gpu:1"]
    assert joules(window) == pytest.approx((100 + 250) * 3.0, rel=0.005)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("at 6 stuck 1", "stuck"),
        ("at 6 lost 1", "GPU is lost"),
        ("at 6 reset 1", "went backwards"),
        ("at 6 error nvmlDeviceGetTotalEnergyConsumption 3", "Not Supported"),
        ("at 6 mig 1", "split by MIG"),
    ],
)
def test_a_fault_leaves_no_figure_but_the_reason(stub: Stub, fault: str, reason: str) -> None:
    (window,) = measured(stub, f"{GPU}{fault}\n", 3.0)
    assert window.total is None
    assert window.quality == "invalid"
    assert reason in "; ".join(window.reasons)


def test_the_window_after_a_reload_of_the_driver_is_good_again(stub: Stub) -> None:
    before, across, after = measured(stub, f"{GPU}at 7.5 reset 1\n", 1.0, 3.0, 2.0)
    assert (before.quality, across.quality, after.quality) == ("good", "invalid", "good")
    assert joules(after) == pytest.approx(200.0, rel=0.005)


@pytest.mark.parametrize(
    ("disturbance", "reason"),
    [
        ("at 6 reasons 0x20", "software thermal slowdown"),
        ("at 6 violating_power 0.5", "held back by its power limit for 1"),
        ("process 4000001", "process 4000001"),
        ("at 6 power_limit 250", "power limit changed"),
        ("at 6 sm_clock 900", "lowered its clock"),
    ],
)
def test_a_disturbance_leaves_a_figure_with_a_doubt(stub: Stub, disturbance: str, reason: str) -> None:
    (window,) = measured(stub, f"{GPU}{disturbance}\n", 3.0)
    assert joules(window) == pytest.approx(300.0, rel=0.005)
    assert window.quality == "degraded"
    assert reason in "; ".join(window.reasons)


def test_idle_and_chosen_clocks_are_no_disturbance(stub: Stub) -> None:
    (window,) = measured(stub, f"{GPU}reasons 0x3\n", 2.0)
    assert window.quality == "good"


def blocks(seed: int, count: int) -> Iterator[tuple[str, float]]:
    """Loads that begin and end with the block and jump in it, on counters of any phase; and its length."""
    random = Random(seed)
    for _ in range(count):
        duration_s = random.choice([0.03, 0.15, 0.25, 0.4, 0.6, 1.0, 2.0, 5.0])
        lines = [f"phase {random.uniform(0, 0.1):.4f}", f"tick {random.choice([0.1, 0.1, 0.02])}", "watts 60"]
        at_s = BEGIN_S
        while at_s < BEGIN_S + duration_s:
            lines.append(f"at {at_s:.4f} watts {random.uniform(60, 400):.1f}")
            at_s += random.choice([10.0, random.uniform(0.05, 0.5)])
        lines.append(f"at {BEGIN_S + duration_s:.4f} watts 60")
        yield "\n".join(lines) + "\n", duration_s


@pytest.mark.parametrize("reading", ["counter", "instant power"])
def test_a_good_figure_has_the_truth_in_its_interval(stub: Stub, reading: str) -> None:
    """Without the board's own error, as the stand-in has none; at least nine in ten, and every bound."""
    lacking = "" if reading == "counter" else NO_COUNTER
    held = []
    for schedule, duration_s in blocks(1, 60):
        (window,) = measured(stub, f"gpu\n{lacking}{schedule}", duration_s)
        true_j = stub.joules(BEGIN_S, BEGIN_S + duration_s)
        if window.total is None:
            assert (reading, window.quality) == ("instant power", "invalid")
            assert duration_s < 0.2  # the gauge has no figure for less than two of its periods
            continue
        low_j = window.total.value - window.total.own.below_90
        high_j = window.total.value + window.total.own.above_90
        held.append(low_j - 1e-9 <= true_j <= high_j + 1e-9)
        assert held[-1] or window.quality == "good"
    assert sum(held) >= 0.9 * len(held) > 40


def test_short_blocks_of_steady_load_are_right_after_idle(stub: Stub) -> None:
    """What was before a block must not colour its power."""
    for phase_s in (0.01, 0.03, 0.05, 0.07, 0.09):
        schedule = f"gpu\nphase {phase_s}\nwatts 60\nat 5 watts 300\nat 5.25 watts 60\n"
        (window,) = measured(stub, schedule, 0.25)
        assert joules(window) == pytest.approx(0.25 * 300, rel=0.02)
