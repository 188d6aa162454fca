"""The energy events of a performance monitoring unit, as sysfs describes them.

``/sys/bus/event_source/devices/power`` holds the unit's ``type``, one CPU for each die in ``cpumask``, and in
``events`` what to ask for (``energy-pkg``: ``event=0x02``) with its ``.scale`` and
``.unit`` (2^-32 Joules).
Source: Documentation/ABI/testing/sysfs-bus-event_source-devices-events and arch/x86/events/rapl.c of Linux.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulecut.errors import SensorMissing
from joulecut.profiler.sensors.files import read_integer, read_text

__all__ = ["Event", "Place", "cpu_list", "read_events", "read_places", "read_type"]

PARTS: Final = {
    "energy-pkg": "package",
    "energy-cores": "core",
    "energy-gpu": "uncore",
    "energy-ram": "dram",
    "energy-psys": "psys",
}
_FIRST_BIT: Final = re.compile(r"config:(\d+)")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name in sysfs, the part of the processor, what to ask for, and joules of one count."""

    name: str
    part: str
    config: int
    quantum_j: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where the events of one CPU are counted: its socket, and that with its die where several are listed."""

    cpu: int
    package: int
    name: str


def read_type(unit: Path) -> int:
    """The number by which the kernel knows a unit.

    Raises:
        SensorMissing: there is no such unit.
    """
    number = read_integer(unit / "type")
    if number is None:
        raise SensorMissing(
            f"the kernel has no performance unit {unit}.",
            hint="It takes an x86 processor with RAPL; virtual machines rarely have it.",
        )
    return number


def read_events(unit: Path) -> tuple[Event, ...]:
    """The energy events of a unit, packages first.

    Raises:
        SensorMissing: it has none, or one without a scale in joules.
    """
    events = tuple(
        _event(unit, name, part) for name, part in PARTS.items() if (unit / "events" / name).exists()
    )
    if not any(event.part == "package" for event in events):
        raise SensorMissing(f"the performance unit {unit} has no event energy-pkg.")
    return events


def _event(unit: Path, name: str, part: str) -> Event:
    path = unit / "events" / name
    scale, joules = read_text(path.with_name(f"{name}.scale")), read_text(path.with_name(f"{name}.unit"))
    if joules != "Joules":
        raise SensorMissing(f"the event {path} counts {joules or 'in an unknown unit'}, not Joules.")
    try:
        quantum_j = float(scale)
        terms = [term.split("=") for term in read_text(path).split(",")]
        config = sum(int(value, 0) << _first_bit(unit, term) for term, value in terms)
    except ValueError as error:
        raise SensorMissing(f"the description of the event {path} cannot be understood.") from error
    return Event(name, part, config, quantum_j)


def _first_bit(unit: Path, term: str) -> int:
    """Where a term goes in the number that is asked for; without a description, where ``event`` always is."""
    found = _FIRST_BIT.match(read_text(unit / "format" / term))
    return int(found[1]) if found else 0


def read_places(unit: Path, machine: Path) -> tuple[Place, ...]:
    """The CPUs that a unit counts on: one for each socket or die (``cpumask``; without one, CPU 0)."""
    topology = machine / "sys/devices/system/cpu"
    places = []
    for index, cpu in enumerate(cpu_list(read_text(unit / "cpumask")) or (0,)):
        package = read_integer(topology / f"cpu{cpu}/topology/physical_package_id")
        die = read_integer(topology / f"cpu{cpu}/topology/die_id")
        places.append((cpu, index if package is None or package < 0 else package, die))
    packages = [package for _, package, _ in places]
    names = [
        f"{package}-die-{packages[:index].count(package) if die is None else die}"
        if packages.count(package) > 1
        else f"{package}"
        for index, (_, package, die) in enumerate(places)
    ]
    return tuple(Place(cpu, package, name) for (cpu, package, _), name in zip(places, names, strict=True))


def cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's way to write a set of CPUs.

    >>> cpu_list("0,18-19"), cpu_list("")
    ((0, 18, 19), ())
    """
    cpus: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)
