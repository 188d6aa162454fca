"""codecarbon behind our protocol, on a powercap tree whose joules are known."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from powercap_tree import PowercapTree, TreeClock

from joulecut.errors import MissingExtra, SensorDenied, SensorMissing
from joulecut.profiler.sensors.codecarbon import open_codecarbon

needs_codecarbon = pytest.mark.skipif(
    find_spec("codecarbon") is None, reason="codecarbon is not installed (the extra `carbon`)"
)


def tree_with(folder: Path, watts: float = 20.0, range_uj: int = 262143328850) -> PowercapTree:
    tree = PowercapTree(folder)
    tree.add("intel-rapl:0", "package-0", watts=watts, range_uj=range_uj)
    tree.add("intel-rapl:0:0", "dram", watts=3.0)
    return tree


@needs_codecarbon
def test_its_joules_are_those_of_the_package(tmp_path: Path) -> None:
    tree = tree_with(tmp_path)
    clock = TreeClock(tree)
    sensor = open_codecarbon(clock, tree.root)
    begin = end = sensor.read()
    for _ in range(5):
        clock.sleep_s(0.4)
        end = sensor.read()
    assert begin.counts[0] is not None
    assert end.counts[0] is not None
    assert (end.counts[0] - begin.counts[0]) * 1e-6 == pytest.approx(40.0, abs=1e-3)
    assert sensor.domains[0].name == "cpu"
    assert "no DRAM" in sensor.domains[0].note
    sensor.close()


@needs_codecarbon
def test_a_read_that_codecarbon_skips_is_a_fault_and_no_window_may_span_it(tmp_path: Path) -> None:
    tree = tree_with(tmp_path)
    clock = TreeClock(tree)
    sensor = open_codecarbon(clock, tree.root)
    clock.sleep_s(1.0)
    before = sensor.read()
    tree.spoil("intel-rapl:0", b"nonsense\n")
    spoilt = sensor.read()
    tree.spoilt.clear()
    clock.sleep_s(0.1)
    sensor.read()
    clock.sleep_s(0.1)
    after = sensor.read()
    assert spoilt.counts == (None,)
    assert spoilt.faults == ("codecarbon could not read it",)
    assert before.counts[0] is not None
    assert after.counts[0] is not None
    assert after.counts[0] < before.counts[0]


@needs_codecarbon
def test_no_counter_is_no_model(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path)
    with pytest.raises(SensorMissing, match="no measurement"):
        open_codecarbon(TreeClock(tree), tree.root)


@needs_codecarbon
def test_a_denied_counter_is_told_from_a_missing_one(tmp_path: Path) -> None:
    tree = tree_with(tmp_path)
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        tree.break_reads(zone)
    with pytest.raises(SensorDenied, match="may not read"):
        open_codecarbon(TreeClock(tree), tree.root)


@pytest.mark.skipif(find_spec("codecarbon") is not None, reason="codecarbon is installed")
def test_without_codecarbon_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'joulecut\[carbon\]'"):
        open_codecarbon(TreeClock(PowercapTree(tmp_path)), tmp_path)
