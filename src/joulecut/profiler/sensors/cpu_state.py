"""What Linux says of the processor: governor, clock, throttling, and whether the machine is a real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from joulecut.profiler.records import DeviceState, Fact
from joulecut.profiler.sensors.files import read_integer, read_text

__all__ = ["container", "cpu_facts", "cpu_state", "is_amd", "is_virtual_machine"]

_CPU: Final = Path("sys/devices/system/cpu/cpu0")
_FIRST_ENTRY: Final = 16384
_MARKERS: Final = ((".dockerenv", "docker"), ("run/.containerenv", "podman"))
_GROUPS: Final = (
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
)
"""Words in the control group of process 1, the more telling first; in a namespace of its own it is ``/``."""


def cpu_state(at_s: float, machine: Path) -> DeviceState:
    """The processor at one moment; ``machine`` as for ``cpu_facts``."""
    return DeviceState(device="cpu", at_s=at_s, facts=cpu_facts(machine))


def cpu_facts(machine: Path = Path("/")) -> dict[str, Fact]:
    """Facts by name; what the kernel does not tell is absent.

    ``governor``; ``clock_hz`` of the first CPU; ``core_throttle_count`` and ``package_throttle_count`` (since
    boot, Intel); ``virtual_machine`` true or false; ``container`` with the name of its kind, inside one only.

    Args:
        machine: root of the file system that holds ``sys`` and ``proc``.
    """
    facts: dict[str, Fact] = {"virtual_machine": is_virtual_machine(machine)}
    if governor := read_text(machine / _CPU / "cpufreq/scaling_governor"):
        facts["governor"] = governor
    clock_khz = read_integer(machine / _CPU / "cpufreq/scaling_cur_freq")
    if clock_khz is not None:
        facts["clock_hz"] = 1000 * clock_khz
    for name in ("core_throttle_count", "package_throttle_count"):
        count = read_integer(machine / _CPU / "thermal_throttle" / name)
        if count is not None:
            facts[name] = count
    if kind := container(machine):
        facts["container"] = kind
    return facts


def is_virtual_machine(machine: Path = Path("/")) -> bool:
    """Whether the processor says that a hypervisor runs it (``hypervisor`` among its flags; x86 only)."""
    return re.search(r"^flags\s*:.*\bhypervisor\b", _cpuinfo(machine), re.MULTILINE) is not None


def is_amd(machine: Path = Path("/")) -> bool:
    """Whether the processor is one of AMD's, or Hygon's, which are built alike."""
    return (
        re.search(r"^vendor_id\s*:\s*(AuthenticAMD|HygonGenuine)", _cpuinfo(machine), re.MULTILINE)
        is not None
    )


def container(machine: Path = Path("/")) -> str:
    """The kind of container that this process runs in, or "" for none that can be recognised."""
    for marker, kind in _MARKERS:
        if (machine / marker).exists():
            return kind
    groups = read_text(machine / "proc/1/cgroup")
    return next((kind for word, kind in _GROUPS if word in groups), "")


def _cpuinfo(machine: Path) -> str:
    """The entry of the first processor; the kernel asks every core that is read for its clock."""
    try:
        with (machine / "proc/cpuinfo").open("rb") as file:
            return file.read(_FIRST_ENTRY).decode(errors="replace")
    except OSError:
        return ""
