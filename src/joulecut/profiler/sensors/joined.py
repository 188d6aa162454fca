"""Several sensors read as one: the GPUs and the processor of a machine."""

from __future__ import annotations

from collections.abc import Sequence

from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.sensor import Sensor

__all__ = ["JoinedSensor"]


class JoinedSensor:
    """The domains of several sensors side by side; a reading brackets them all.

    Args:
        sensors: open sensors, on one clock, in the order in which they are read; closing this closes them.
    """

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._sensors = tuple(sensors)
        self._domains = tuple(domain for sensor in self._sensors for domain in sensor.domains)

    @property
    def name(self) -> str:
        """The names of the sensors: ``nvml+rapl``."""
        return "+".join(sensor.name for sensor in self._sensors)

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Those of the first sensor, of the second, ..."""
        return self._domains

    def read(self) -> Read:
        """All of them, one after the other."""
        reads = [sensor.read() for sensor in self._sensors]
        counts = tuple(count for read in reads for count in read.counts)
        faults: tuple[str, ...] = ()
        stamps_s: tuple[float | None, ...] = ()
        if any(read.faults for read in reads):
            faults = tuple(fault for read in reads for fault in read.faults or ("",) * len(read.counts))
        if any(read.stamps_s for read in reads):
            stamps_s = tuple(at for read in reads for at in read.stamps_s or (None,) * len(read.counts))
        return Read(reads[0].begin_s, reads[-1].end_s, counts, faults, stamps_s)

    def states(self) -> tuple[DeviceState, ...]:
        """What the devices of all of them say."""
        return tuple(state for sensor in self._sensors for state in sensor.states())

    def close(self) -> None:
        """Close all of them."""
        for sensor in self._sensors:
            sensor.close()
