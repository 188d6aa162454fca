"""Raw counts made joules that only rise: wrap-arounds undone, and named where they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulecut.profiler.records import NOT_READ, Domain, Read

__all__ = ["Break", "Series", "unwrap"]

_LATE_S: Final = 0.25
"""Energy may show up this much later than it was drawn; longer than any tick that is known (0.1 s)."""


@dataclass(frozen=True, slots=True)
class Break:
    """A time over which nothing can be said, and why."""

    begin_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Series:
    """One column of a trace, without the readings that failed.

    Attributes:
        domain: what was read.
        times_s: the middle of each reading, rising.
        values: of a counter, joules since the first reading; of a gauge, watts.
        counts: as they were read.
        stamps_s: the sensor's own times, None where it gave none.
        breaks: where the values before and after cannot be compared, in the order of time.
        halves_s: half of how long each reading took; () for no time.
    """

    domain: Domain
    times_s: tuple[float, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]
    stamps_s: tuple[float | None, ...]
    breaks: tuple[Break, ...]
    halves_s: tuple[float, ...] = ()

    def broken(self, begin_s: float, end_s: float) -> str:
        """Why the values at the two times cannot be compared; "" where they can."""
        return next((b.reason for b in self.breaks if b.begin_s < end_s and b.end_s > begin_s), "")


def unwrap(domain: Domain, column: int, reads: Sequence[Read]) -> Series:
    """The series of one domain.

    A counter that wraps rises by the difference modulo its number of counts. That is wrong where more than
    a range may have passed between two readings, or where the rise is more than the device can draw (a
    reset); such places, backward steps of counters that do not wrap and failed readings become breaks.

    >>> domain = Domain("package:0", "counter", 0.5, 8, True, "cpu_package", 0.0, 0.0, "cpu", "example")
    >>> unwrap(domain, 0, [Read(0.0, 0.0, (6,)), Read(1.0, 1.0, (1,))]).values
    (0.0, 1.5)
    """
    times, halves, values = list[float](), list[float](), list[float]()
    counts, stamps = list[int](), list[float | None]()
    breaks: list[Break] = []
    total = 0
    lost = ""
    lost_s = 0.0
    for read in reads:
        at_s = (read.begin_s + read.end_s) / 2
        count = read.counts[column]
        if count is None:
            fault = _fault(read, column)
            if fault != NOT_READ and not lost:
                lost_s = times[-1] if times else at_s
                lost = f"a reading failed: {fault}"
            continue
        reason = lost
        if domain.kind == "counter" and counts:
            rise = count - counts[-1]
            rise += domain.counts if rise < 0 else 0
            reason = reason or _doubt(domain, rise, at_s - times[-1])
            total += 0 if reason else rise
        if reason:
            breaks.append(Break(lost_s if lost else times[-1], at_s, reason))
            lost = ""
        times.append(at_s)
        halves.append((read.end_s - read.begin_s) / 2)
        values.append(domain.quantum * (total if domain.kind == "counter" else count))
        counts.append(count)
        stamps.append(read.stamps_s[column] if read.stamps_s else None)
    if lost:
        breaks.append(Break(lost_s, float("inf"), lost))
    return Series(
        domain, tuple(times), tuple(values), tuple(counts), tuple(stamps), tuple(breaks), tuple(halves)
    )


def _fault(read: Read, column: int) -> str:
    return (read.faults[column] if read.faults else "") or "no value"


def _doubt(domain: Domain, rise: int, gap_s: float) -> str:
    """Why a step of a counter is no energy; "" where it is."""
    if rise < 0:
        return "the counter went backwards (it was reset, as by a reload of the driver)"
    if domain.peak_w <= 0:
        return ""
    if domain.counts and gap_s * domain.peak_w >= domain.counts * domain.quantum:
        return f"two readings were {gap_s:.3g} s apart, in which the counter may wrap around unseen"
    if rise * domain.quantum > domain.peak_w * (gap_s + _LATE_S):
        return "the counter rose by more than the device can draw (it was reset)"
    return ""
