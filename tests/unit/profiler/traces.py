"""Traces written by hand: a counter of whole joules or millijoules, read when the test says."""

from __future__ import annotations

from collections.abc import Sequence

from joulecut.profiler.records import DeviceState, Domain, Mark, Read, Trace


def counter(
    name: str = "package:0",
    *,
    quantum: float = 1.0,
    counts: int = 0,
    counted: bool = True,
    peak_w: float = 0.0,
    gain: float = 0.0,
) -> Domain:
    return Domain(name, "counter", quantum, counts, counted, "cpu_package", peak_w, gain, "cpu", "by hand")


def stairs(rises_j: Sequence[int], tick_s: float, *, every: int = 10, first: int = 0) -> list[Read]:
    """Reads, ``every`` times a tick from the first tick on, of a counter that rises by ``rises_j``."""
    reads, count = [], first
    for tick, rise in enumerate(rises_j):
        count += rise
        for part in range(every):
            at_s = (tick + (part + 0.5) / every) * tick_s
            reads.append(Read(at_s, at_s, (count,)))
    return reads


def trace(
    domains: Domain | Sequence[Domain],
    reads: Sequence[Read],
    marks: Sequence[Mark],
    states: Sequence[DeviceState] = (),
) -> Trace:
    several = (domains,) if isinstance(domains, Domain) else tuple(domains)
    return Trace("by hand", several, tuple(reads), tuple(marks), tuple(states))


def window(begin_s: float, end_s: float, name: str = "work") -> list[Mark]:
    return [Mark(begin_s, "begin", name), Mark(end_s, "end", name)]
