import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pmu_tree import event_sources, write_topology, write_unit
from unprivileged import run_unprivileged, shared_folder

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.sensors.mirrors import differ_by
from joulecut.profiler.sensors.perf_event import PerfSensor, open_perf
from joulecut.profiler.sensors.pmu import read_events, read_places
from joulecut.profiler.sensors.powercap import open_powercap
from joulecut.profiler.sensors.sensor import Sensor


def opened(machine: Path) -> PerfSensor:
    """The sensor on a machine's tree, where this user may open an event of a whole CPU."""
    try:
        return open_perf(SystemClock(), root=event_sources(machine), machine=machine)
    except SensorDenied as error:
        pytest.skip(f"this user may not open an event of one CPU (kernel.perf_event_paranoid): {error}")


def test_counts_come_from_the_kernel_with_the_scale_of_the_tree(tmp_path: Path) -> None:
    write_unit(tmp_path, {"energy-pkg": "event=0x00", "energy-ram": "event=0x00"})
    sensor = opened(tmp_path)
    assert [(domain.name, domain.counted) for domain in sensor.domains] == [
        ("package:0", True),
        ("dram:0", True),
    ]
    assert {(domain.quantum, domain.counts, domain.peak_w) for domain in sensor.domains} == {(1e-9, 0, 0.0)}
    before, began_s = sensor.read(), time.perf_counter()
    time.sleep(0.2)
    after, took_s = sensor.read(), time.perf_counter() - began_s
    for begin, end in zip(before.counts, after.counts, strict=True):
        assert begin is not None
        assert end is not None
        assert 1e-9 * (end - begin) == pytest.approx(took_s, rel=0.05)
    sensor.close()
    sensor.close()
    assert sensor.read().counts == (None, None)
    assert "EBADF" in sensor.read().faults[0]


def test_parts_of_a_package_and_the_platform_are_shown_and_not_added(tmp_path: Path) -> None:
    names = ("energy-psys", "energy-gpu", "energy-cores", "energy-pkg")
    write_unit(tmp_path, dict.fromkeys(names, "event=0"))
    sensor = opened(tmp_path)
    assert {domain.name: domain.counted for domain in sensor.domains} == {
        "package:0": True, "core:0": False, "uncore:0": False, "psys": False,
    }  # fmt: skip


def test_what_to_ask_for_is_put_together_by_the_format(tmp_path: Path) -> None:
    unit = write_unit(tmp_path, {"energy-pkg": "event=0x02,umask=0x1"}, scale="2.3283064365386962890625e-10")
    (unit / "format").mkdir()
    (unit / "format" / "event").write_text("config:0-7\n")
    (unit / "format" / "umask").write_text("config:8-15\n")
    (event,) = read_events(unit)
    assert (event.config, event.quantum_j) == (0x102, 2.0**-32)


def test_sockets_and_dies_are_named_after_the_topology(tmp_path: Path) -> None:
    unit = write_unit(tmp_path, {"energy-pkg": "event=2"}, cpumask="0,4,8")
    for cpu, package, die in ((0, 0, 0), (4, 0, 1), (8, 1, 0)):
        write_topology(tmp_path, cpu, package, die)
    assert [place.name for place in read_places(unit, tmp_path)] == ["0-die-0", "0-die-1", "1"]


def test_without_a_topology_every_cpu_is_a_socket(tmp_path: Path) -> None:
    unit = write_unit(tmp_path, {"energy-pkg": "event=2"}, cpumask="0,18")
    assert [place.name for place in read_places(unit, tmp_path)] == ["0", "1"]


@pytest.fixture
def on_one_cpu() -> Iterator[None]:
    """Keeps this process on CPU 0, where each of its sleeps is a context switch."""
    allowed = os.sched_getaffinity(0)
    if 0 not in allowed:
        pytest.skip("this process may not run on CPU 0")
    os.sched_setaffinity(0, {0})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("on_one_cpu")
def test_dies_of_one_socket_that_count_alike_are_counted_once(tmp_path: Path) -> None:
    write_unit(tmp_path, {"energy-pkg": "event=3"}, cpumask="0,0")
    write_topology(tmp_path, 0, 0)
    sensor = opened(tmp_path)
    assert [(domain.name, domain.counted) for domain in sensor.domains] == [
        ("package:0-die-0", True), ("package:0-die-1", False),
    ]  # fmt: skip
    assert sensor.domains[1].note == "shows the same counter as package:0-die-0"


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        ([105, 115, 125, 136, 145], 5),
        ([105, 116, 128, 131, 149], None),
        ([None, None, None, None, None], None),
    ],
)
def test_two_counts_of_one_register_differ_by_a_constant(
    second: list[int | None], difference: int | None
) -> None:
    assert differ_by([100, 110, 120, 130, 140], second) == difference


def test_counters_that_stand_still_prove_nothing() -> None:
    assert differ_by([7, 7, 7, 7], [7, 7, 7, 7]) is None


def test_a_machine_without_the_unit_misses_the_sensor(tmp_path: Path) -> None:
    with pytest.raises(SensorMissing, match="no performance unit"):
        open_perf(SystemClock(), root=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": {"energy-ram": "event=3"}}, "no event energy-pkg"),
        ({"events": {"energy-pkg": "event=2"}, "unit": "mJ"}, "counts mJ, not Joules"),
        ({"events": {"energy-pkg": "event=2"}, "scale": "much"}, "cannot be understood"),
        ({"events": {"energy-pkg": "event=2"}, "kind": 4711}, "cannot be opened: No such file or directory"),
    ],
)
def test_a_tree_that_makes_no_sense_is_no_sensor(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_unit(tmp_path, **change)
    with pytest.raises(SensorMissing, match=message):
        open_perf(SystemClock(), root=event_sources(tmp_path), machine=tmp_path)


def test_who_may_not_open_events_is_told_how_to_get_the_right() -> None:
    with shared_folder() as machine:
        write_unit(machine, {"energy-pkg": "event=0"})
        (machine / "etc").mkdir()
        (machine / "etc/os-release").write_text('ID=linuxmint\nID_LIKE="ubuntu debian"\n')
        said = run_unprivileged(
            "import ctypes, sys\nfrom pathlib import Path\nfrom joulecut.errors import SensorDenied\n"
            "from joulecut.profiler.clock import SystemClock\n"
            "from joulecut.profiler.sensors.perf_event import open_perf",
            "try:\n    open_perf(SystemClock(), root=Path(sys.argv[1]), machine=Path(sys.argv[2]))\n"
            "except SensorDenied as error:\n    print(error)",
            event_sources(machine),
            machine,
        )
    if not said:
        pytest.skip("anyone may open events of a CPU here (kernel.perf_event_paranoid)")
    assert said.startswith("the event power/energy-pkg/ on CPU 0 may not be opened. ")
    assert "(Debian and Ubuntu; " in said
    assert said.endswith(
        'libcap2-bin && sudo setcap cap_perfmon=ep "$(readlink -f "$(command -v python3)")"\n'
    )


@pytest.mark.rapl
def test_on_this_machine_perf_and_powercap_see_the_same_joules() -> None:
    clock = SystemClock()
    try:
        sensors: tuple[Sensor, Sensor] = (open_perf(clock), open_powercap(clock))
    except (SensorMissing, SensorDenied) as error:
        pytest.skip(str(error))
    before = [sensor.read() for sensor in sensors]
    clock.sleep_s(2.0)
    after = [sensor.read() for sensor in sensors]
    energy_j = [
        {
            domain.name: domain.quantum * ((end - begin) % (domain.counts or 2**64))
            for domain, begin, end in zip(sensor.domains, first.counts, last.counts, strict=True)
            if domain.counted and begin is not None and end is not None
        }
        for sensor, first, last in zip(sensors, before, after, strict=True)
    ]
    for name in energy_j[0].keys() & energy_j[1].keys():
        assert energy_j[0][name] == pytest.approx(energy_j[1][name], rel=0.02)
