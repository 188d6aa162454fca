"""RAPL counters of the processor through powercap: ``/sys/class/powercap/intel-rapl:*/energy_uj``.

The total is the sum over sockets of package and DRAM. A package contains its cores and its graphics
(``core``, ``uncore``) but not its DRAM; ``psys`` contains everything; ``intel-rapl-mmio`` repeats the
packages. What is contained or repeated is shown and not added. A count is a microjoule; the register moves
in steps of 15 to 61 uJ about once a millisecond and starts again from 0 after ``max_energy_range_uj``, on a
busy server within minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from joulecut.errors import SensorDenied, SensorMissing, SensorUnusable
from joulecut.profiler.clock import Clock
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.cpu_state import container, cpu_state, is_amd, is_virtual_machine
from joulecut.profiler.sensors.files import IntegerFiles
from joulecut.profiler.sensors.mirrors import differ_by, look
from joulecut.profiler.sensors.remedies import remedy
from joulecut.profiler.sensors.roles import COUNTED, GAIN, boundary_of, role_of
from joulecut.profiler.sensors.zones import Zone, read_zones

__all__ = ["PEAK_W", "PowercapSensor", "open_powercap"]

_QUANTUM_J: Final = 1e-6
PEAK_W: Final = 1000.0
"""Watts that no single package or its memory exceeds, where the zone states no limit: twice the 500 W that
the largest processors on sale are specified for (AMD EPYC 9965, Intel Xeon 6980P; both data sheets, 2024)."""
_LEAST_RANGE_S: Final = 0.1
"""A counter is made to last longer than this at its peak, assumed. Registers of processors last a minute or
more; it matters for other counters behind the same files."""
_LIMIT_MARGIN: Final = 2.0
"""A power limit holds on average over its time window; within the window power may be higher. Assumed."""
_RANGELESS: Final = "the range of the counter is not told, so no figure can be given across a backward step"


class PowercapSensor:
    """RAPL by kept descriptors; see ``open_powercap``."""

    name = "rapl"

    def __init__(self, clock: Clock, domains: Sequence[Domain], files: IntegerFiles, machine: Path) -> None:
        self.domains = tuple(domains)
        self._now_s = clock.now_s
        self._files = files
        self._machine = machine

    def read(self) -> Read:
        """All counters now, 1 to 2 us each."""
        begin_s = self._now_s()
        counts, faults = self._files.read()
        return Read(begin_s, self._now_s(), counts, faults)

    def states(self) -> tuple[DeviceState, ...]:
        """The processor: see ``cpu_state.cpu_facts``."""
        return (cpu_state(self._now_s(), self._machine),)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def open_powercap(
    clock: Clock, *, root: Path = Path("/sys/class/powercap"), machine: Path = Path("/")
) -> PowercapSensor:
    """The RAPL counters below a folder.

    With more than one package this takes 30 ms, to tell dies that show one register from sockets.

    Args:
        clock: what the reads are stamped with.
        root: the powercap tree; a container can be given the host's under another path.
        machine: root of the file system that holds ``proc``, ``sys`` and ``etc`` of the machine.

    Raises:
        SensorMissing: there is no RAPL package below ``root``.
        SensorUnusable: one of the counters of the total is gone.
        SensorDenied: a counter may not be read; the hint is the command that grants it.
    """
    try:
        zones = _zones(root, machine)
        files = IntegerFiles([zone.folder / "energy_uj" for zone in zones])
    except PermissionError as error:
        way = remedy("powercap", machine)
        raise SensorDenied(
            f"the RAPL counter {error.filename} may not be read.",
            hint=f"To allow it for good ({way.family}; {way.effect}): {way.command}",
        ) from error
    except OSError as error:
        raise SensorUnusable(
            f"the RAPL counter {error.filename} cannot be opened ({error.strerror}), and a total without it "
            "would be too small."
        ) from error
    repeats = _repeats(zones, files, clock)
    amd = is_amd(machine)
    domains = [_domain(zone, repeats.get(zone.identity, ""), amd) for zone in zones]
    return PowercapSensor(clock, domains, files, machine)


def _zones(root: Path, machine: Path) -> list[Zone]:
    """The zones that have a counter, and those that must have one because they are part of the total."""
    zones = read_zones(root)
    if not any(zone.part == "package" for zone in zones):
        raise SensorMissing(f"no RAPL package below {root}.", hint=_way_to_a_tree(machine))
    nameless = [zone for zone in zones if not zone.part]
    if nameless:
        raise SensorUnusable(
            f"the RAPL zone {nameless[0].folder} has no name, so what it counts is not known."
        )
    return [zone for zone in zones if zone.part in COUNTED or (zone.folder / "energy_uj").exists()]


def _way_to_a_tree(machine: Path) -> str:
    """What it would take to have one."""
    if container(machine):
        return f"Containers hide it; from the host: {remedy('powercap', machine).command}"
    if is_virtual_machine(machine):
        return "This is a virtual machine, and few show the energy of the processor that they run on."
    return "It takes an x86 processor and Linux's module: `sudo modprobe intel_rapl_msr`."


def _repeats(zones: Sequence[Zone], files: IntegerFiles, clock: Clock) -> dict[str, str]:
    """Zones that show what another one shows, with the name of that one."""
    processor = [zone for zone in zones if zone.kind == "intel-rapl"]
    names = {zone.domain for zone in processor}
    repeats = {z.identity: z.domain.partition("/")[2] for z in zones if z.domain.partition("/")[2] in names}
    if sum(zone.part == "package" for zone in processor) < 2:
        return repeats
    packages = [column for column, zone in enumerate(zones) if zone.part == "package"]
    looks = look(lambda: files.read()[0], packages, clock)
    columns = dict(zip([zone.identity for zone in zones], looks, strict=True))
    for index, zone in enumerate(processor):
        for other in processor[:index]:
            alike = zone.part == other.part and other.identity not in repeats
            if alike and differ_by(columns[other.identity], columns[zone.identity]) == 0:
                repeats[zone.identity] = other.domain
    return repeats


def _domain(zone: Zone, repeats: str, amd: bool) -> Domain:
    counted, note = role_of(zone.part, zone.place, repeats, amd)
    range_note = _RANGELESS if zone.range_uj is None else ""
    return Domain(
        name=zone.domain,
        kind="counter",
        quantum=_QUANTUM_J,
        counts=0 if zone.range_uj is None else zone.range_uj + 1,
        counted=counted,
        boundary=boundary_of(zone.part),
        peak_w=_peak_w(zone),
        gain=GAIN,
        device="cpu",
        source=f"powercap {zone.identity}",
        note="; ".join(filter(None, (note, range_note))),
    )


def _peak_w(zone: Zone) -> float:
    """Power that is surely never exceeded: by the zone's own limits, else by what is assumed of any."""
    if zone.limit_w > 0:
        return _LIMIT_MARGIN * zone.limit_w
    if not zone.range_uj:
        return PEAK_W
    return min(PEAK_W, _QUANTUM_J * zone.range_uj / _LEAST_RANGE_S)
