from pathlib import Path

import pytest
from powercap_tree import PowercapTree, TreeClock
from unprivileged import run_unprivileged, shared_folder, unreadable

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.sensors.powercap import PEAK_W, PowercapSensor, open_powercap

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu hypervisor rapl\n"


@pytest.fixture
def tree(tmp_path: Path) -> PowercapTree:
    return PowercapTree(tmp_path)


def opened(tree: PowercapTree, machine: str = "") -> tuple[PowercapSensor, TreeClock]:
    """A sensor on the tree, with the tree's own clock, on a machine whose processor a text describes."""
    proc = tree.root.parent.parent / "proc"
    proc.mkdir(exist_ok=True)
    (proc / "cpuinfo").write_text(machine)
    clock = TreeClock(tree)
    return open_powercap(clock, root=tree.root, machine=proc.parent), clock


def joules(sensor: PowercapSensor, clock: TreeClock, duration_s: float) -> dict[str, float]:
    """Joules by domain over a time in which no counter wraps."""
    before = sensor.read()
    clock.sleep_s(duration_s)
    after = sensor.read()
    return {
        domain.name: domain.quantum * (end - begin)
        for domain, begin, end in zip(sensor.domains, before.counts, after.counts, strict=True)
        if begin is not None and end is not None
    }


def counted(sensor: PowercapSensor) -> list[str]:
    return [domain.name for domain in sensor.domains if domain.counted]


def note(sensor: PowercapSensor, name: str) -> str:
    return next(domain.note for domain in sensor.domains if domain.name == name)


def test_the_platform_is_no_second_processor(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "core", watts=12.0)
    tree.add("intel-rapl:0:1", "uncore", watts=1.0)
    tree.add("intel-rapl:0:2", "dram", watts=3.0)
    tree.add("intel-rapl:1", "psys", watts=40.0)
    sensor, clock = opened(tree)
    energy_j = joules(sensor, clock, 2.0)
    assert counted(sensor) == ["package:0", "dram:0"]
    assert sum(energy_j[name] for name in counted(sensor)) == pytest.approx(46.0, abs=1e-4)
    assert energy_j["psys"] == pytest.approx(80.0, abs=1e-4)
    assert [domain.boundary for domain in sensor.domains] == ["cpu_package"] * 4 + ["board_dc"]
    assert note(sensor, "core:0") == "contained in package:0"
    assert "contains the packages" in note(sensor, "psys")


def test_sockets_are_added_and_memory_belongs_to_its_socket(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=50.0)
    tree.add("intel-rapl:1", "package-1", watts=50.0)
    tree.add("intel-rapl:1:0", "dram", watts=7.0)
    sensor, clock = opened(tree)
    energy_j = joules(sensor, clock, 1.0)
    assert counted(sensor) == ["package:0", "package:1", "dram:1"]
    assert sum(energy_j.values()) == pytest.approx(107.0, abs=1e-3)


def test_dies_that_show_one_register_are_counted_once(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0-die-0", watts=68.0)
    tree.add("intel-rapl:1", "package-0-die-1", mirrors="intel-rapl:0")
    tree.add("intel-rapl:2", "package-1-die-0", watts=61.0)
    tree.add("intel-rapl:3", "package-1-die-1", mirrors="intel-rapl:2")
    sensor, clock = opened(tree)
    assert counted(sensor) == ["package:0-die-0", "package:1-die-0"]
    assert note(sensor, "package:0-die-1") == "shows the same counter as package:0-die-0"
    assert note(sensor, "package:1-die-1") == "shows the same counter as package:1-die-0"
    energy_j = joules(sensor, clock, 1.0)
    assert sum(energy_j[name] for name in counted(sensor)) == pytest.approx(129.0, abs=1e-3)


def test_dies_with_registers_of_their_own_are_added(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0-die-0", watts=100.0)
    tree.add("intel-rapl:1", "package-0-die-1", watts=100.0)
    assert counted(opened(tree)[0]) == ["package:0-die-0", "package:0-die-1"]


def test_dies_are_told_apart_on_files_that_another_thread_writes(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0-die-0", watts=68.0)
    tree.add("intel-rapl:1", "package-0-die-1", mirrors="intel-rapl:0")
    tree.add("intel-rapl:2", "package-1-die-0", watts=68.0)
    with tree.live():
        sensor = open_powercap(SystemClock(), root=tree.root, machine=tree.root)
    assert counted(sensor) == ["package:0-die-0", "package:1-die-0"]


def test_a_second_path_to_the_same_package_is_shown_apart(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl-mmio:0", "package-0", watts=20.0)
    sensor, _ = opened(tree)
    assert counted(sensor) == ["package:0"]
    assert note(sensor, "mmio/package:0") == "shows the same counter as package:0"


def test_the_second_path_counts_where_it_is_the_only_one(tree: PowercapTree) -> None:
    tree.add("intel-rapl-mmio:0", "package-0", watts=20.0)
    assert counted(opened(tree)[0]) == ["mmio/package:0"]


def test_on_amd_the_core_zone_is_one_core(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=90.0)
    tree.add("intel-rapl:0:0", "core", watts=4.0)
    sensor, _ = opened(tree, AMD)
    assert counted(sensor) == ["package:0"]
    assert note(sensor, "core:0").startswith("the register of one core, contained in package:0; ")
    assert note(sensor, "package:0") == "computed by the processor from its activity, not measured"


def test_a_counter_goes_round_after_its_highest_count(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0, range_uj=4_999_999, start_uj=4_000_000)
    sensor, clock = opened(tree)
    (domain,) = sensor.domains
    assert domain.counts == 5_000_000
    (before,) = sensor.read().counts
    clock.sleep_s(0.1)
    (after,) = sensor.read().counts
    assert before is not None
    assert after is not None
    assert after < before
    assert domain.quantum * ((after - before) % domain.counts) == pytest.approx(2.0, abs=1e-4)


def test_a_counter_without_a_range_is_no_counter_that_never_wraps(tree: PowercapTree) -> None:
    (tree.add("intel-rapl:0", "package-0", watts=20.0) / "max_energy_range_uj").unlink()
    sensor, _ = opened(tree)
    assert sensor.domains[0].counts == 0
    assert "range of the counter is not told" in sensor.domains[0].note


def test_the_peak_is_twice_the_highest_limit_or_the_stated_one(tree: PowercapTree) -> None:
    folder = tree.add("intel-rapl:0", "package-0", watts=20.0, max_power_w=45.0)
    (folder / "constraint_1_power_limit_uw").write_text("120000000\n")
    tree.add("intel-rapl:1", "package-1", watts=20.0)
    tree.add("intel-rapl:2", "package-2", watts=20.0, range_uj=5_000_000)
    assert [domain.peak_w for domain in opened(tree)[0].domains] == [240.0, PEAK_W, 50.0]


@pytest.mark.parametrize("content", [b"", b"\n", b"12ab\n"])
def test_a_counter_that_says_nothing_is_a_fault_of_its_domain_alone(
    tree: PowercapTree, content: bytes
) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "dram", watts=2.0)
    sensor, clock = opened(tree)
    tree.spoil("intel-rapl:0:0", content)
    clock.sleep_s(0.5)
    read = sensor.read()
    assert read.counts == (tree.counters["intel-rapl:0"].count(tree.clock_s), None)
    assert read.faults == ("", "the file holds no number")


def test_an_error_of_the_machine_is_named(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.break_reads("intel-rapl:0")
    read = opened(tree)[0].read()
    assert read.counts == (None,)
    assert read.faults == ("the read failed with EIO (Input/output error)",)


def test_a_closed_sensor_answers_with_faults(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    sensor, _ = opened(tree)
    sensor.close()
    sensor.close()
    assert sensor.read().counts == (None,)


def test_a_tree_of_nested_folders_without_links_is_read_too(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "dram", watts=2.0)
    sensor = open_powercap(TreeClock(tree), root=tree.devices, machine=tree.root)
    assert [domain.source for domain in sensor.domains] == [
        "powercap intel-rapl:0",
        "powercap intel-rapl:0:0",
    ]


def test_a_total_is_never_made_without_one_of_its_parts(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    (tree.add("intel-rapl:0:0", "core", watts=9.0) / "energy_uj").unlink()
    (tree.add("intel-rapl:1", "package-1", watts=20.0) / "energy_uj").unlink()
    with pytest.raises(SensorMissing, match=r"intel-rapl:1/energy_uj cannot be opened .* would be too small"):
        opened_as_is(tree)
    (tree.folder("intel-rapl:1") / "energy_uj").write_text("1\n")
    assert [domain.name for domain in opened_as_is(tree).domains] == ["package:0", "package:1"]
    (tree.folder("intel-rapl:1") / "name").unlink()
    with pytest.raises(SensorMissing, match="intel-rapl:1 has no name"):
        opened_as_is(tree)


def opened_as_is(tree: PowercapTree) -> PowercapSensor:
    """A sensor on files that nobody writes."""
    return open_powercap(SystemClock(), root=tree.root, machine=tree.root)


def test_no_tree_and_no_package_are_missing_sensors(tree: PowercapTree) -> None:
    with pytest.raises(SensorMissing, match="no RAPL package below"):
        opened(tree)
    tree.add("intel-rapl:0", "psys", watts=40.0)
    with pytest.raises(SensorMissing, match="modprobe intel_rapl_msr"):
        opened(tree)


def test_who_may_not_read_is_told_how_to_get_the_right() -> None:
    with shared_folder() as machine:
        tree = PowercapTree(machine)
        unreadable(tree.add("intel-rapl:0", "package-0", watts=20.0) / "energy_uj")
        (machine / "etc").mkdir()
        (machine / "etc" / "os-release").write_text('NAME="Fedora Linux"\nID=fedora\n')
        said = run_unprivileged(
            "import sys\nfrom pathlib import Path\nfrom joulecut.errors import SensorDenied\n"
            "from joulecut.profiler.clock import SystemClock\n"
            "from joulecut.profiler.sensors.powercap import open_powercap",
            "try:\n    open_powercap(SystemClock(), root=Path(sys.argv[1]), machine=Path(sys.argv[2]))\n"
            "except SensorDenied as error:\n    print(error)",
            tree.root,
            machine,
        )
    assert "intel-rapl:0/energy_uj may not be read." in said
    assert "(Fedora and RHEL; a udev rule" in said
    assert "sudo tee /etc/udev/rules.d/70-energy.rules" in said


@pytest.mark.parametrize(
    ("mark", "word"),
    [(".dockerenv", "docker run --mount"), ("proc/cpuinfo", "This is a virtual machine")],
)
def test_where_the_machine_hides_the_counters_the_hint_says_so(tmp_path: Path, mark: str, word: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / mark).write_text(AMD)
    with pytest.raises(SensorMissing, match=word):
        open_powercap(SystemClock(), root=tmp_path / "powercap", machine=tmp_path)


def test_the_states_are_those_of_the_processor(tree: PowercapTree) -> None:
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    sensor, _ = opened(tree, AMD)
    (state,) = sensor.states()
    assert (state.device, state.facts["virtual_machine"]) == ("cpu", True)


@pytest.mark.rapl
def test_the_counters_of_this_machine_rise() -> None:
    clock = SystemClock()
    try:
        sensor = open_powercap(clock)
    except (SensorMissing, SensorDenied) as error:
        pytest.skip(str(error))
    before = sensor.read()
    clock.sleep_s(1.0)
    after = sensor.read()
    for domain, begin, end in zip(sensor.domains, before.counts, after.counts, strict=True):
        if domain.counted:
            assert begin is not None
            assert end is not None
            assert 0.0 < domain.quantum * ((end - begin) % domain.counts) < domain.peak_w
