"""A performance unit that counts energy, in a temporary folder, as sysfs describes one.

With the type of the kernel's software events, opening and counting are real: event 0 counts nanoseconds of
one CPU's time, which at a scale of 1e-9 is a joule a second, and event 3 the CPU's context switches.
"""

from pathlib import Path

SOFTWARE = 1
"""PERF_TYPE_SOFTWARE of perf_event_open(2)."""


def event_sources(machine: Path) -> Path:
    """Where the units lie below the root of a machine's file system."""
    return machine / "sys/bus/event_source/devices"


def write_unit(
    machine: Path,
    events: dict[str, str],
    *,
    cpumask: str = "0",
    scale: str = "1e-9",
    unit: str = "Joules",
    kind: int = SOFTWARE,
) -> Path:
    """Write the unit ``power`` with events such as ``energy-pkg`` -> ``event=0``; returns its folder."""
    folder = event_sources(machine) / "power"
    (folder / "events").mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "cpumask").write_text(f"{cpumask}\n")
    for name, text in events.items():
        (folder / "events" / name).write_text(f"{text}\n")
        (folder / "events" / f"{name}.scale").write_text(f"{scale}\n")
        (folder / "events" / f"{name}.unit").write_text(f"{unit}\n")
    return folder


def write_topology(machine: Path, cpu: int, package: int, die: int | None = None) -> None:
    """Say which socket and die a CPU belongs to."""
    folder = machine / f"sys/devices/system/cpu/cpu{cpu}/topology"
    folder.mkdir(parents=True)
    (folder / "physical_package_id").write_text(f"{package}\n")
    if die is not None:
        (folder / "die_id").write_text(f"{die}\n")
