"""Windows over counters that wrap: right within a tick and a count, or no figure; never negative."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from powercap_tree import PowercapTree, TreeClock

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.records import Domain, Read
from joulecut.profiler.sensors.powercap import open_powercap
from joulecut.profiler.wraps import unwrap

TICK_S = 0.002
RANGE_UJ = 4_999_999


def measured(
    tree: PowercapTree, duration_s: float, between_s: float = 0.0
) -> tuple[float | None, float, str]:
    """Joules of one window as measured, in truth, and the quality; ``between_s`` passes before it."""
    clock = TreeClock(tree, step_s=2e-5, tick_s=TICK_S)
    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    recorder = Recorder(sensor, clock)
    find_ticks(recorder)
    clock.sleep_s(between_s)
    with recorder.polled():
        begin_s = recorder.begin("work")
        clock.sleep_s(duration_s)
        end_s = recorder.end("work")
        clock.sleep_s(2 * TICK_S)
        recorder.read()
    window = evaluate(recorder.trace(), "work")
    true_j = sum(
        tree.energy_j(domain.source.removeprefix("powercap "), begin_s, end_s)
        for domain in sensor.domains
        if domain.counted
    )
    return window.total.value if window.total else None, true_j, window.quality


@settings(max_examples=100, deadline=None)
@given(
    duration_s=st.floats(0.05, 2.0),
    watts=st.floats(5.0, 24.0),
    start_uj=st.integers(0, RANGE_UJ),
    between_s=st.floats(0.0, 0.01),
)
@example(duration_s=0.25, watts=20.0, start_uj=RANGE_UJ, between_s=0.0)
def test_polled_windows_are_right_over_any_number_of_wraps(
    duration_s: float, watts: float, start_uj: int, between_s: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = PowercapTree(Path(folder))
        tree.add("intel-rapl:0", "package-0", watts=watts, range_uj=RANGE_UJ, start_uj=start_uj)
        energy_j, true_j, quality = measured(tree, duration_s, between_s)
    assert quality == "good"
    assert energy_j is not None
    assert abs(energy_j - true_j) <= 0.01 * true_j + watts * TICK_S


def test_the_total_of_two_sockets_with_memory_survives_wraps_of_each(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path)
    for socket, watts in enumerate((20.0, 15.0)):
        tree.add(f"intel-rapl:{socket}", f"package-{socket}", watts=watts, range_uj=RANGE_UJ)
        tree.add(f"intel-rapl:{socket}:0", "dram", watts=watts / 5, range_uj=RANGE_UJ // 2)
    energy_j, true_j, quality = measured(tree, 3.0)
    assert (quality, round(true_j)) == ("good", 126)
    assert energy_j is not None
    assert abs(energy_j - true_j) <= 0.01 * true_j


def test_a_wrap_of_a_counter_without_a_range_is_no_figure(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path)
    folder = tree.add("intel-rapl:0", "package-0", watts=20.0, range_uj=RANGE_UJ, start_uj=0)
    (folder / "max_energy_range_uj").unlink()
    energy_j, _, quality = measured(tree, 0.2, between_s=0.1)
    assert (energy_j, quality) == (None, "invalid")


def test_a_zone_that_falls_silent_in_the_window_is_no_figure(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path)
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:1", "package-1", watts=20.0)
    clock = TreeClock(tree, step_s=2e-5, tick_s=TICK_S)
    recorder = Recorder(open_powercap(clock, root=tree.root, machine=tree.root), clock)
    find_ticks(recorder)
    recorder.begin("work")
    clock.sleep_s(0.3)
    tree.spoil("intel-rapl:1", b"")
    clock.sleep_s(0.3)
    recorder.end("work")
    window = evaluate(recorder.trace(), "work")
    assert (window.total, window.quality) == (None, "invalid")
    assert any("the file holds no number" in reason for reason in window.reasons)
    assert [domain.energy is None for domain in window.domains] == [False, True]


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(0.0, 60.0)), min_size=1, max_size=40),
    start=st.integers(0, 999),
)
def test_no_reading_pattern_gives_wrong_or_negative_joules(
    steps: list[tuple[float, float]], start: int
) -> None:
    """A range of 10 J at up to 60 W: a gap of 1/6 s or more may hide a wrap, and must say so."""
    domain = Domain("package:0", "counter", 0.01, 1000, True, "cpu_package", 60.0, 0.0, "cpu", "example")
    at_s, energy_j = 0.0, 0.0
    reads = [Read(0.0, 0.0, (start,))]
    truth = [0.0]
    for gap_s, watts in steps:
        at_s += gap_s
        energy_j += gap_s * watts
        truth.append(energy_j)
        reads.append(Read(at_s, at_s, ((start + int(energy_j / domain.quantum)) % domain.counts,)))
    series = unwrap(domain, 0, reads)
    for k, (gap_s, _) in enumerate(steps):
        begin_s, end_s = series.times_s[k], series.times_s[k + 1]
        rise_j = series.values[k + 1] - series.values[k]
        assert rise_j >= 0.0
        if not series.broken(begin_s, end_s):
            assert abs(rise_j - (truth[k + 1] - truth[k])) <= 1.001 * domain.quantum
        else:
            assert gap_s >= 10.0 / 60.0 * (1 - 1e-9)
