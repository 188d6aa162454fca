"""Which sensor answers on this machine, and what the others said.

``auto`` takes a board's own rails where it has them, for they hold everything; else the GPUs (NVML) and the
processor (RAPL) together. RAPL is tried through performance events, then through powercap: with the first,
the kernel follows the wraps. Nothing is ever filled in by a model here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from joulecut.errors import SensorDenied, SensorError, SensorMissing, SensorUnusable, UsageError
from joulecut.profiler.clock import Clock
from joulecut.profiler.sensors.joined import JoinedSensor
from joulecut.profiler.sensors.sensor import Sensor

__all__ = ["SENSORS", "Choice", "Sources", "open_sensor", "openers"]

SENSORS: Final = ("auto", "nvml", "rapl", "jetson", "pyrapl", "codecarbon")
"""What may be asked for by name; ``rapl`` stands for ``perf``, else ``powercap``."""
_RAPL: Final = ("perf", "powercap")
_DEVICES: Final = {"jetson": "the rails of the board", "nvml": "the GPUs", "perf": "the processor's counters"}
_ELSEWHERE: Final = {
    "Darwin": "macOS tells its energy to root alone (powermetrics), which joulecut does not read",
    "Windows": "Windows tells its energy through the Energy Meter Interface, which joulecut does not read",
}

Openers = Mapping[str, Callable[[], Sensor]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where sensors are looked for; everything that a test or a container may want to put elsewhere.

    Attributes:
        powercap: the tree of RAPL zones; where it is given, it is the only way to RAPL that is tried.
        nvml_library: a file instead of the system's ``libnvidia-ml.so.1``.
        machine: root of the file system that holds ``sys``, ``proc`` and ``etc``.
        system: the operating system.
    """

    powercap: Path | None = None
    nvml_library: Path | None = None
    machine: Path = Path("/")
    system: str = field(default_factory=platform.system)


@dataclass(frozen=True, slots=True)
class Choice:
    """The sensor that is used.

    Attributes:
        sensor: open.
        chosen: a sentence for each one that was tried, in order, without its full stop.
        unread: a sentence for each device that is there and may not or cannot be read.
    """

    sensor: Sensor
    chosen: tuple[str, ...]
    unread: tuple[str, ...] = ()


def openers(clock: Clock, sources: Sources) -> dict[str, Callable[[], Sensor]]:
    """How each sensor is opened, by name, in the order in which they are tried."""

    def nvml() -> Sensor:
        from joulecut.profiler.sensors.nvml import open_nvml

        return open_nvml(clock, library=sources.nvml_library)

    def perf() -> Sensor:
        from joulecut.profiler.sensors.perf_event import open_perf

        root = sources.machine / "sys/bus/event_source/devices"
        return open_perf(clock, root=root, machine=sources.machine)

    def powercap() -> Sensor:
        from joulecut.profiler.sensors.powercap import open_powercap

        root = sources.powercap or sources.machine / "sys/class/powercap"
        return open_powercap(clock, root=root, machine=sources.machine)

    def jetson() -> Sensor:
        from joulecut.profiler.sensors.hwmon import open_jetson

        sys = sources.machine / "sys"
        root, old_root = sys / "class/hwmon", sys / "bus/i2c/drivers/ina3221x"
        return open_jetson(clock, root=root, old_root=old_root, machine=sources.machine)

    def pyrapl() -> Sensor:
        from joulecut.profiler.sensors.pyrapl import open_pyrapl

        return open_pyrapl(clock)

    def codecarbon() -> Sensor:
        from joulecut.profiler.sensors.codecarbon import open_codecarbon

        return open_codecarbon(clock, sources.powercap or sources.machine / "sys/class/powercap")

    every = (jetson, nvml, perf, powercap, pyrapl, codecarbon)
    return {opener.__name__: opener for opener in every}


def open_sensor(name: str, clock: Clock, sources: Sources | None = None) -> Choice:
    """Open a sensor, and say why this one.

    Args:
        name: one of ``SENSORS``.
        clock: what its reads are stamped with.
        sources: where to look; by default on this machine.

    Returns:
        The open sensor, why it is this one, and what is there and not in it.

    Raises:
        UsageError: no sensor has that name.
        SensorDenied: one is there, none may be read; the hint is the command that grants access.
        SensorMissing: none is there; the message says what each one lacks.
        MissingExtra: ``pyrapl`` or ``codecarbon`` was asked for and is not installed.
    """
    if name not in SENSORS:
        raise UsageError(f"no sensor is called {name[:80]!r}.", hint=f"There are: {', '.join(SENSORS)}.")
    sources = sources or Sources()
    ways = openers(clock, sources)
    if name in ("pyrapl", "codecarbon", "nvml", "jetson"):
        return Choice(ways[name](), (f"{name} was asked for",))
    trial = _Trial(ways)
    if name == "auto" and trial.opened("jetson"):
        return trial.choice()
    if name == "auto":
        trial.opened("nvml")
    if sources.system in _ELSEWHERE:
        trial.refuse("rapl", SensorMissing(f"{_ELSEWHERE[sources.system]}."))
    else:
        trial.opened(*(_RAPL if sources.powercap is None else _RAPL[-1:]))
    return trial.choice()


class _Trial:
    """What was tried and what came of it."""

    def __init__(self, ways: Openers) -> None:
        self._ways = ways
        self._sensors: list[Sensor] = []
        self._said: list[str] = []
        self._unread: list[str] = []
        self._errors: dict[str, SensorError] = {}

    def opened(self, *ways: str) -> bool:
        """Try the ways to one device, in order, until one answers; whether one does."""
        there: list[SensorError] = []
        for way in ways:
            try:
                sensor = self._ways[way]()
            except SensorError as error:
                self.refuse(way, error)
                there += [error] if isinstance(error, SensorDenied | SensorUnusable) else []
                continue
            self._sensors.append(sensor)
            counted = ", ".join(domain.name for domain in sensor.domains if domain.counted)
            self._said.append(f"{way} is used for {counted}")
            return True
        if there:
            device = _DEVICES.get(ways[0], _DEVICES["perf"])
            why = f"{there[-1].message.rstrip('.')} (`joulecut doctor` says what it takes)"
            self._unread.append(f"{device} could not be read and are in no figure: {why}")
        return False

    def refuse(self, way: str, error: SensorError) -> None:
        """Write down why one is not used."""
        self._errors[way] = error
        self._said.append(f"{way} is not used: {error.message.rstrip('.')}")

    def choice(self) -> Choice:
        """The sensors that answered, as one."""
        if not self._sensors:
            raise self._failure()
        sensor = self._sensors[0] if len(self._sensors) == 1 else JoinedSensor(self._sensors)
        return Choice(sensor, tuple(self._said), tuple(self._unread))

    def _failure(self) -> SensorError:
        """The most helpful of the errors: a right that is missing is nearer than a sensor that is."""
        denied = [error for error in self._errors.values() if isinstance(error, SensorDenied)]
        if denied:
            return denied[-1]
        said = "; ".join(f"{way}: {error.message.rstrip('.')}" for way, error in self._errors.items())
        hint = "`joulecut doctor` says what each sensor would need."
        return SensorMissing(f"no energy sensor answers ({said}).", hint=hint)
