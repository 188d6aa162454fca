"""RAPL counters of the processor through performance events: ``perf stat -e power/energy-pkg/``.

Preferred to powercap because the kernel itself follows the wraps and keeps 64 bits in units of 2^-32 J, and
because one capability (CAP_PERFMON) opens it. Counting starts at 0 when the sensor is opened. What is added
and what is only shown is as in ``powercap``. Source: perf_event_open(2).
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from joulecut.errors import SensorDenied, SensorMissing, SensorUnusable
from joulecut.profiler.clock import Clock
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.cpu_state import cpu_state, is_amd
from joulecut.profiler.sensors.files import fault_of
from joulecut.profiler.sensors.mirrors import differ_by, look
from joulecut.profiler.sensors.pmu import Event, Place, read_events, read_places, read_type
from joulecut.profiler.sensors.remedies import remedy
from joulecut.profiler.sensors.roles import GAIN, boundary_of, role_of

__all__ = ["PerfSensor", "open_perf"]

_SYSCALLS: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319}
"""Numbers of perf_event_open in Linux's tables of system calls."""
_EVERY_PROCESS: Final = -1
_NO_GROUP: Final = -1
_CLOSE_ON_EXEC: Final = 8
_ATTRIBUTES: Final = struct.Struct("=IIQQQQQIIQ")
"""``struct perf_event_attr`` in its first version, which every kernel takes: type, size, config, zeros."""
_COUNT: Final = struct.Struct("=Q")


class PerfSensor:
    """RAPL by performance events; see ``open_perf``."""

    name = "rapl"

    def __init__(self, clock: Clock, domains: Sequence[Domain], files: Sequence[int], machine: Path) -> None:
        self.domains = tuple(domains)
        self._now_s = clock.now_s
        self._files = list(files)
        self._machine = machine

    def read(self) -> Read:
        """All counters now."""
        begin_s = self._now_s()
        try:
            counts: tuple[int | None, ...] = tuple(_read_all(self._files))
            faults: tuple[str, ...] = ()
        except (OSError, struct.error):
            pairs = [_one(file) for file in self._files]
            counts, faults = tuple(count for count, _ in pairs), tuple(fault for _, fault in pairs)
        return Read(begin_s, self._now_s(), counts, faults)

    def states(self) -> tuple[DeviceState, ...]:
        """The processor: see ``cpu_state.cpu_facts``."""
        return (cpu_state(self._now_s(), self._machine),)

    def close(self) -> None:
        """Stop counting."""
        for file in self._files:
            if file >= 0:
                os.close(file)
        self._files = [-1] * len(self._files)


def open_perf(
    clock: Clock,
    *,
    root: Path = Path("/sys/bus/event_source/devices"),
    unit: str = "power",
    machine: Path = Path("/"),
) -> PerfSensor:
    """The energy events of the processor, counted for the whole machine from now on.

    Args:
        clock: what the reads are stamped with.
        root: folder of the performance units.
        unit: the unit that counts energy.
        machine: root of the file system that holds ``proc``, ``sys`` and ``etc`` of the machine.

    Raises:
        SensorMissing: the machine has no such unit, or no system call for it.
        SensorUnusable: an event cannot be opened for another reason than rights.
        SensorDenied: its events may not be opened; the hint is the command that grants it.
    """
    kind = read_type(root / unit)
    places = read_places(root / unit, machine)
    columns = [(event, place) for event in read_events(root / unit) for place in places]
    files = _opened(kind, columns, unit, machine)
    repeats = _repeats(columns, files, clock)
    amd = is_amd(machine)
    domains = [
        _domain(event, place, repeats.get(column, ""), amd, unit)
        for column, (event, place) in enumerate(columns)
    ]
    return PerfSensor(clock, domains, files, machine)


def _opened(kind: int, columns: Sequence[tuple[Event, Place]], unit: str, machine: Path) -> list[int]:
    files: list[int] = []
    try:
        for event, place in columns:
            files.append(_event_file(kind, event.config, place.cpu))
    except OSError as error:
        for file in files:
            os.close(file)
        event, place = columns[len(files)]
        where = f"the event {unit}/{event.name}/ on CPU {place.cpu}"
        if not isinstance(error, PermissionError):
            raise SensorUnusable(f"{where} cannot be opened: {error.strerror}.") from error
        way = remedy("perf", machine)
        raise SensorDenied(
            f"{where} may not be opened.",
            hint=f"To allow it for good ({way.family}; {way.effect}): {way.command}",
        ) from error
    return files


def _event_file(kind: int, config: int, cpu: int) -> int:
    """The descriptor of one event on one CPU, whatever runs there."""
    import ctypes

    number = _SYSCALLS.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        raise SensorMissing(f"no performance events on {platform.system()} {platform.machine()}.")
    attributes = ctypes.create_string_buffer(_ATTRIBUTES.pack(kind, _ATTRIBUTES.size, config, *[0] * 7))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_EVERY_PROCESS, cpu, _NO_GROUP, ctypes.c_ulong(_CLOSE_ON_EXEC))
    file = int(libc.syscall(ctypes.c_long(number), ctypes.byref(attributes), *arguments))
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return file


def _repeats(columns: Sequence[tuple[Event, Place]], files: Sequence[int], clock: Clock) -> dict[int, str]:
    """Columns that count what another one counts, within one socket, with the name of that one.

    On AMD some kernels list a CPU for each die though the register is the socket's (mended in 2024 by
    "perf/x86/rapl: Fix the energy-pkg event for AMD CPUs"). Every count starts when its event is opened, so
    two of one register differ by a constant.
    """
    packages = [column for column, (event, _) in enumerate(columns) if event.part == "package"]
    if len(packages) == len({columns[column][1].package for column in packages}):
        return {}
    counts = look(lambda: _read_all(files), packages, clock)
    repeats: dict[int, str] = {}
    for index, (event, place) in enumerate(columns):
        for before, (other, there) in enumerate(columns[:index]):
            alike = other == event and there.package == place.package and before not in repeats
            if alike and differ_by(counts[before], counts[index]) is not None:
                repeats[index] = _name(other, there)
    return repeats


def _name(event: Event, place: Place) -> str:
    return "psys" if (event.part, place.name) == ("psys", "0") else f"{event.part}:{place.name}"


def _domain(event: Event, place: Place, repeats: str, amd: bool, unit: str) -> Domain:
    counted, note = role_of(event.part, place.name, repeats, amd)
    return Domain(
        name=_name(event, place),
        kind="counter",
        quantum=event.quantum_j,
        counts=0,
        counted=counted,
        boundary=boundary_of(event.part),
        peak_w=0.0,
        gain=GAIN,
        device="cpu",
        source=f"perf {unit}/{event.name}/ on CPU {place.cpu}",
        note=note,
    )


def _read_all(files: Sequence[int]) -> list[int]:
    read, unpack = os.read, _COUNT.unpack
    return [unpack(read(file, 8))[0] for file in files]


def _one(file: int) -> tuple[int | None, str]:
    try:
        return _read_all([file])[0], ""
    except OSError as error:
        return None, fault_of(error)
    except struct.error:
        return None, "the event has stopped counting"
