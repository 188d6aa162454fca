"""The doctor: every state a sensor can be in, on simulated machines and powercap trees."""

import os
from functools import partial
from pathlib import Path

import pytest
from powercap_tree import PowercapTree, TreeClock

from joulecut.errors import MissingExtra, SensorMissing
from joulecut.profiler.doctor import SensorCheck, diagnose, examine
from joulecut.profiler.sensors.powercap import open_powercap
from joulecut.profiler.sensors.sensor import Sensor
from joulecut.profiler.simulate import (
    Fault,
    Load,
    Meter,
    SimulatedSensor,
    World,
    energy_counter,
    power_gauge,
)

RAPL = energy_counter("package:0", "cpu", tick_s=0.001, jitter_s=0.0001)
NVML = energy_counter("gpu:0", "gpu:0", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")


def machine() -> World:
    return World(Load("cpu", idle_w=20.0), Load("gpu:0", idle_w=60.0))


def checked(meters: list[Meter], *faults: Fault, read_s: float = 5e-6) -> SensorCheck:
    world = machine()
    world.sleep_s(1.0)
    return examine("powercap", lambda: SimulatedSensor(world, meters, faults=faults, read_s=read_s), world)


@pytest.mark.parametrize("tick_s", [0.001, 0.01, 0.02, 0.1])
def test_the_tick_is_found_within_a_tenth(tick_s: float) -> None:
    check = checked(
        [energy_counter("gpu:0", "gpu:0", tick_s=tick_s, counts=0, jitter_s=tick_s / 20)], read_s=2e-5
    )
    assert check.status == "usable"
    assert check.domains[0].tick_s == pytest.approx(tick_s, rel=0.1)
    assert check.domains[0].power_w == pytest.approx(60.0, rel=0.05)


def test_it_stops_watching_when_the_ticks_are_known() -> None:
    world = machine()
    examine("powercap", lambda: SimulatedSensor(world, [RAPL], read_s=2e-5), world)
    assert 0.3 < world.now_s() < 0.4


def test_a_stuck_counter_fails_and_says_so() -> None:
    check = checked([RAPL, NVML], Fault("stuck", domain="gpu:0"), read_s=1e-4)
    assert check.status == "failing"
    assert check.reason == "gpu:0 stood still for 2 s."
    assert check.domains[0].problem == ""


def test_a_lost_device_and_a_reset_fail() -> None:
    assert "the device is lost" in checked([NVML], Fault("lost", at_s=1.3), read_s=1e-4).reason
    assert "went backwards" in checked([NVML], Fault("reset", at_s=1.3), read_s=1e-4).reason


def test_a_part_that_is_only_shown_does_not_decide() -> None:
    shown = energy_counter("psys", "cpu", tick_s=0.001, counted=False)
    assert checked([RAPL, shown], Fault("stuck", domain="psys"), read_s=1e-4).status == "usable"
    assert checked([shown]).reason == "nothing that it reads is part of a total."


def test_a_gauge_shows_its_power_and_has_no_tick() -> None:
    (domain,) = checked([power_gauge("gpu:0", "gpu:0", tick_s=0.1)], read_s=1e-4).domains
    assert domain.tick_s is None
    assert domain.power_w == pytest.approx(60.0)


def test_throttling_and_sharing_are_concerns() -> None:
    check = checked([NVML], Fault("throttle"), Fault("shared"), read_s=1e-4)
    assert check.status == "usable"
    assert check.concerns == (
        "gpu:0 was slowed down (software thermal slowdown)",
        "gpu:0 was shared with other programs (process 4242)",
    )
    assert check.facts["gpu:0"]["throttle_reasons"] == "software thermal slowdown"


def test_a_denied_tree_gets_a_command_for_each_family_its_own_first(tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path)
    folder = tree.add("intel-rapl:0", "package-0", watts=20.0)
    (folder / "energy_uj").chmod(0)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=fedora\n")
    if os.access(folder / "energy_uj", os.R_OK):
        pytest.skip("root may read everything")
    clock = TreeClock(tree)
    opener = partial(open_powercap, clock, root=tree.root, machine=tmp_path)
    check = examine("powercap", opener, clock, machine=tmp_path)
    assert check.status == "denied"
    assert check.remedies[0].family == "Fedora and RHEL"
    assert len({each.family for each in check.remedies}) == len(check.remedies) >= 6


def test_denied_and_missing_are_told_apart() -> None:
    world = machine()
    denied = examine("powercap", lambda: SimulatedSensor(world, [RAPL], faults=[Fault("denied")]), world)
    assert (denied.status, bool(denied.remedies)) == ("denied", True)
    missing = examine("powercap", lambda: SimulatedSensor(world, [RAPL], faults=[Fault("missing")]), world)
    assert (missing.status, missing.remedies) == ("missing", ())

    def no_package() -> Sensor:
        raise MissingExtra("pyRAPL", "pyrapl", "the sensor pyrapl")

    extra = examine("pyrapl", no_package, world)
    assert (extra.status, extra.hint) == ("missing", "Install it with: pip install 'joulecut[pyrapl]'")


def test_the_first_usable_sensor_is_named_and_the_machine_described(tmp_path: Path) -> None:
    world = machine()

    def none() -> Sensor:
        raise SensorMissing("NVIDIA's library is not here.", hint="Install the driver.")

    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("vendor_id : GenuineIntel\nflags : fpu hypervisor\n")
    (tmp_path / ".dockerenv").touch()
    stages: list[tuple[str, int, int]] = []
    diagnosis = diagnose(
        {"nvml": none, "powercap": lambda: SimulatedSensor(world, [RAPL])},
        world,
        machine=tmp_path,
        progress=lambda *stage: stages.append(stage),
    )
    assert diagnosis.usable == ("powercap",)
    assert [check.status for check in diagnosis.sensors] == ["missing", "usable"]
    assert diagnosis.machine == {"virtual_machine": True, "container": "docker"}
    assert stages == [("trying sensors", 0, 2), ("trying sensors", 1, 2)]
    assert diagnose({"nvml": none}, world, machine=tmp_path).usable == ()
