"""RAPL as pyRAPL reads it, for those who want its figures.

Known limits of pyRAPL 0.2.3.1, seen on trees whose joules were known: it reads ``/sys/class/powercap`` and no
other folder, refuses processors of several dies, and does not know where its counters wrap, so that a window
with a wrap in it is invalid here (pyRAPL itself gives None or a negative energy).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.clock import Clock
from joulecut.profiler.optional import import_optional
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.cpu_state import cpu_state
from joulecut.profiler.sensors.roles import GAIN

__all__ = ["PyRaplSensor", "open_pyrapl"]

_NOTE: Final = "pyRAPL does not tell where the counter wraps; a window with a wrap in it is invalid"
_DEVICES: Final = ("package", "dram")


class PyRaplSensor:
    """The columns of ``pyRAPL.Sensor.energy()`` that the machine has; open it with ``open_pyrapl``."""

    def __init__(self, clock: Clock, sensor: Any) -> None:
        self._clock = clock
        self._sensor = sensor
        first = sensor.energy()
        self._columns = [column for column, energy_uj in enumerate(first) if energy_uj >= 0]
        self._domains = tuple(_domain(column) for column in self._columns)

    @property
    def name(self) -> str:
        """``pyrapl``."""
        return "pyrapl"

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Packages and their DRAM, as far as pyRAPL found them."""
        return self._domains

    def read(self) -> Read:
        """All of them now; pyRAPL reads all or none."""
        begin_s = self._clock.now_s()
        try:
            energies_uj = self._sensor.energy()
        except (OSError, ValueError) as error:
            why = f"pyRAPL could not read: {error}"
            count = len(self._columns)
            return Read(begin_s, self._clock.now_s(), (None,) * count, (why,) * count)
        return Read(begin_s, self._clock.now_s(), tuple(int(energies_uj[column]) for column in self._columns))

    def states(self) -> tuple[DeviceState, ...]:
        """The processor."""
        return (cpu_state(self._clock.now_s(), Path("/")),)

    def close(self) -> None:
        """Nothing to do: pyRAPL closes its files with the object."""


def open_pyrapl(clock: Clock) -> PyRaplSensor:
    """Open the counters through pyRAPL.

    Raises:
        MissingExtra: pyRAPL is not installed.
        SensorMissing: the machine has no RAPL, or one that pyRAPL does not understand.
        SensorDenied: the counters may not be read.
    """
    package = import_optional("pyRAPL", package="pyRAPL", extra="pyrapl", purpose="the sensor pyrapl")
    try:
        return PyRaplSensor(clock, package.Sensor())
    except PermissionError as error:
        raise SensorDenied(
            f"pyRAPL may not read {error.filename}.", hint="`joulecut doctor` prints the command that helps."
        ) from error
    except package.PyRAPLException as error:
        raise SensorMissing(
            "pyRAPL finds no counters that it understands on this machine (it knows one die a socket).",
            hint="Try `--sensor rapl`.",
        ) from error
    except (OSError, ValueError) as error:
        raise SensorMissing(
            f"pyRAPL cannot read this machine: {error}.", hint="Try `--sensor rapl`."
        ) from error


def _domain(column: int) -> Domain:
    """Column 2 s + d of pyRAPL is device d (package, DRAM) of socket s, in microjoules."""
    socket, device = divmod(column, len(_DEVICES))
    return Domain(
        name=f"{_DEVICES[device]}:{socket}",
        kind="counter",
        quantum=1e-6,
        counts=0,
        counted=True,
        boundary="cpu_package",
        peak_w=0.0,
        gain=GAIN,
        device="cpu",
        source=f"pyRAPL {_DEVICES[device]} of socket {socket}",
        note=_NOTE,
    )
