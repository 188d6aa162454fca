"""The protocol that every sensor follows."""

from __future__ import annotations

from typing import Protocol

from joulecut.profiler.records import DeviceState, Domain, Read

__all__ = ["Sensor"]


class Sensor(Protocol):
    """Something that knows joules.

    Opening one (each kind has an ``open_...`` function with what it needs as parameters: a clock, a root
    folder, a library) raises ``SensorMissing`` where the machine has none and ``SensorDenied`` where it may
    not be read, with the command that grants access. An open sensor raises nothing: what fails later comes
    back as a fault of the read.
    """

    @property
    def name(self) -> str:
        """``nvml``, ``rapl``, ``pyrapl``, ``codecarbon``, ``jetson``, ``simulated``."""
        ...

    @property
    def domains(self) -> tuple[Domain, ...]:
        """What each column of a read is; fixed while the sensor is open."""
        ...

    def read(self) -> Read:
        """All domains now: a few microseconds, no allocation beyond the record."""
        ...

    def states(self) -> tuple[DeviceState, ...]:
        """What the devices say of themselves now; slower than a read."""
        ...

    def close(self) -> None:
        """Give back what is held; a second call does nothing."""
        ...
