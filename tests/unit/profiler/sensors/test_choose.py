from collections.abc import Callable
from pathlib import Path

import pytest
from jetson_tree import write_meter
from pmu_tree import write_unit
from powercap_tree import PowercapTree
from unprivileged import run_unprivileged, shared_folder, unreadable

from joulecut.errors import SensorDenied, SensorMissing, UsageError
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.choose import SENSORS, Sources, open_sensor
from joulecut.profiler.sensors.joined import JoinedSensor
from joulecut.profiler.sensors.sensor import Sensor

NO_GPU = "nvml is not used: "


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A machine without anything, whose library for GPUs is missing too."""
    return Sources(nvml_library=tmp_path / "libnvidia-ml.so.1", machine=tmp_path, system="Linux")


@pytest.fixture
def tree(tmp_path: Path) -> PowercapTree:
    """A powercap tree where that machine has its own."""
    tree = PowercapTree(tmp_path / "sys")
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    return tree


def opened(name: str, clock: SystemClock, sources: Sources) -> tuple[Sensor, tuple[str, ...]]:
    choice = open_sensor(name, clock, sources)
    return choice.sensor, choice.chosen


def test_nothing_answers_and_each_says_why(sources: Sources) -> None:
    with pytest.raises(SensorMissing) as caught:
        open_sensor("auto", SystemClock(), sources)
    message = str(caught.value)
    for way in (
        "jetson: no INA3221",
        "nvml: ",
        "perf: the kernel has no performance unit",
        "powercap: no RAPL",
    ):
        assert way in message
    assert message.endswith("`joulecut doctor` says what each sensor would need.")


def test_rapl_falls_back_from_perf_to_powercap_and_says_so(sources: Sources, tree: PowercapTree) -> None:
    sensor, chosen = opened("rapl", SystemClock(), sources)
    assert sensor.name == "rapl"
    assert [domain.source for domain in sensor.domains] == ["powercap intel-rapl:0"]
    assert chosen[0].startswith("perf is not used: the kernel has no performance unit ")
    assert chosen[1:] == ("powercap is used for package:0",)


def test_perf_comes_before_powercap(sources: Sources, tree: PowercapTree) -> None:
    write_unit(sources.machine, {"energy-pkg": "event=0"})
    try:
        sensor, chosen = opened("rapl", SystemClock(), sources)
    except SensorDenied as error:
        pytest.skip(str(error))
    if "perf is not used" in chosen[0]:
        pytest.skip(chosen[0])
    assert chosen == ("perf is used for package:0",)
    assert sensor.domains[0].source == "perf power/energy-pkg/ on CPU 0"
    sensor.close()


def test_a_tree_that_is_named_is_the_one_that_is_read(sources: Sources, tmp_path: Path) -> None:
    write_unit(sources.machine, {"energy-pkg": "event=0"})
    other = PowercapTree(tmp_path / "mounted")
    other.add("intel-rapl:0", "package-0", watts=20.0)
    named = Sources(powercap=other.root, machine=sources.machine, system="Linux")
    assert open_sensor("rapl", SystemClock(), named).chosen == ("powercap is used for package:0",)


def test_auto_tells_what_it_left_out(sources: Sources, tree: PowercapTree) -> None:
    sensor, chosen = opened("auto", SystemClock(), sources)
    assert sensor.name == "rapl"
    assert [line.partition(" ")[0] for line in chosen] == ["jetson", "nvml", "perf", "powercap"]
    assert chosen[1].startswith(NO_GPU)


def test_a_board_with_rails_is_measured_by_them_alone(sources: Sources, tree: PowercapTree) -> None:
    write_meter(sources.machine, 0, {"VDD_IN": (5000, 1000), "VDD_SOC": (5000, 100)})
    sensor, chosen = opened("auto", SystemClock(), sources)
    assert sensor.name == "jetson"
    assert chosen == ("jetson is used for rail:VDD_IN",)


@pytest.mark.parametrize(
    ("system", "word"), [("Darwin", "powermetrics"), ("Windows", "Energy Meter Interface")]
)
def test_other_systems_name_what_it_would_take(sources: Sources, system: str, word: str) -> None:
    elsewhere = Sources(nvml_library=sources.nvml_library, machine=sources.machine, system=system)
    for name in ("auto", "rapl"):
        with pytest.raises(SensorMissing, match=word):
            open_sensor(name, SystemClock(), elsewhere)


def test_an_unknown_name_lists_the_known_ones(sources: Sources) -> None:
    with pytest.raises(UsageError, match=r"no sensor is called 'meter'\. There are: auto, nvml, rapl"):
        open_sensor("meter", SystemClock(), sources)


@pytest.mark.parametrize(
    "name", [name for name in SENSORS if name not in ("auto", "rapl", "pyrapl", "codecarbon")]
)
def test_what_is_asked_for_and_missing_is_said(sources: Sources, name: str) -> None:
    with pytest.raises(SensorMissing):
        open_sensor(name, SystemClock(), sources)


def test_a_right_that_is_missing_is_named_before_sensors_that_are() -> None:
    with shared_folder() as machine:
        tree = PowercapTree(machine / "sys")
        unreadable(tree.add("intel-rapl:0", "package-0", watts=20.0) / "energy_uj")
        said = run_unprivileged(
            "import sys\nfrom pathlib import Path\nfrom joulecut.errors import SensorError\n"
            "from joulecut.profiler.clock import SystemClock\n"
            "from joulecut.profiler.sensors import choose, hwmon, nvml, perf_event, powercap\n"
            "import pynvml",
            "root = Path(sys.argv[1])\nsources = choose.Sources(nvml_library=root / 'none', machine=root)\n"
            "try:\n    choose.open_sensor('auto', SystemClock(), sources)\n"
            "except SensorError as error:\n    print(type(error).__name__, error)",
            machine,
        )
    assert said.startswith("SensorDenied the RAPL counter ")
    assert "(other systems with udev; a udev rule" in said


class Fixed:
    """A sensor that gives a reading written down beforehand."""

    def __init__(self, name: str, domains: tuple[str, ...], read: Read) -> None:
        self.name = name
        self.domains = tuple(
            Domain(each, "counter", 1.0, 0, True, "board_dc", 0.0, 0.0, name, "written down")
            for each in domains
        )
        self.reading = read
        self.closed = 0

    def read(self) -> Read:
        return self.reading

    def states(self) -> tuple[DeviceState, ...]:
        return (DeviceState(self.name, 0.0),)

    def close(self) -> None:
        self.closed += 1


def test_sensors_that_are_joined_keep_their_columns() -> None:
    gpus = Fixed("nvml", ("gpu:0", "gpu:1"), Read(1.0, 1.5, (7, None), ("", "lost"), (0.25, None)))
    cpu = Fixed("rapl", ("package:0",), Read(1.5, 1.75, (9,)))
    both = JoinedSensor([gpus, cpu])
    assert both.name == "nvml+rapl"
    assert [domain.name for domain in both.domains] == ["gpu:0", "gpu:1", "package:0"]
    assert both.read() == Read(1.0, 1.75, (7, None, 9), ("", "lost", ""), (0.25, None, None))
    assert [state.device for state in both.states()] == ["nvml", "rapl"]
    both.close()
    assert (gpus.closed, cpu.closed) == (1, 1)


def test_joined_readings_without_faults_stay_bare() -> None:
    one = Fixed("nvml", ("gpu:0",), Read(1.0, 1.5, (7,)))
    other = Fixed("rapl", ("package:0",), Read(1.5, 1.75, (9,)))
    assert JoinedSensor([one, other]).read() == Read(1.0, 1.75, (7, 9))


def test_a_device_that_is_there_and_not_read_is_named(
    tmp_path: Path, tree: PowercapTree, nvml_library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU split by MIG, and one whose driver refuses; a library that is not there is no device."""
    reasons = {"gpu\nmig 1\n": "split by MIG", "error nvmlInitWithFlags 4\ngpu\n": "refuses this user"}
    for schedule, why in reasons.items():
        (tmp_path / "schedule").write_text(schedule)
        monkeypatch.setenv("NVML_STUB_SCHEDULE", str(tmp_path / "schedule"))
        sources = Sources(nvml_library=nvml_library(), machine=tmp_path, system="Linux")
        choice = open_sensor("auto", SystemClock(), sources)
        choice.sensor.close()
        assert choice.sensor.name == "rapl"
        (said,) = choice.unread
        assert said.startswith("the GPUs could not be read and are in no figure: ")
        assert why in said
    without = Sources(nvml_library=tmp_path / "none", machine=tmp_path, system="Linux")
    assert open_sensor("auto", SystemClock(), without).unread == ()
