"""Several sensors read as one: the GPUs and the processor of a machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from joulecut.profiler.records import NOT_READ, DeviceState, Domain, Read
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
        return _together([sensor.read() for sensor in self._sensors])

    def reader_of(self, columns: Collection[int]) -> Callable[[], Read]:
        """A function that reads only the sensors of some columns, and leaves the others out.

        Its readings have all columns; those that were left out are None, with the fault ``NOT_READ``.

        Args:
            columns: numbers of domains; at least one.
        """
        owners = [sensor for sensor in self._sensors for _ in sensor.domains]
        wanted = [owners[column] for column in columns]

        def read() -> Read:
            begin_s, end_s = float("inf"), float("-inf")
            reads: list[Read] = []
            for sensor in self._sensors:
                if sensor in wanted:
                    reads.append(sensor.read())
                    begin_s, end_s = min(begin_s, reads[-1].begin_s), reads[-1].end_s
                else:
                    width = len(sensor.domains)
                    reads.append(Read(0.0, 0.0, (None,) * width, (NOT_READ,) * width))
            return replace(_together(reads), begin_s=begin_s, end_s=end_s)

        return read

    def states(self) -> tuple[DeviceState, ...]:
        """What the devices of all of them say."""
        return tuple(state for sensor in self._sensors for state in sensor.states())

    def close(self) -> None:
        """Close all of them."""
        for sensor in self._sensors:
            sensor.close()


def _together(reads: Sequence[Read]) -> Read:
    """Readings of several sensors as one."""
    counts = tuple(count for read in reads for count in read.counts)
    faults: tuple[str, ...] = ()
    stamps_s: tuple[float | None, ...] = ()
    if any(read.faults for read in reads):
        faults = tuple(fault for read in reads for fault in read.faults or ("",) * len(read.counts))
    if any(read.stamps_s for read in reads):
        stamps_s = tuple(at for read in reads for at in read.stamps_s or (None,) * len(read.counts))
    return Read(reads[0].begin_s, reads[-1].end_s, counts, faults, stamps_s)
