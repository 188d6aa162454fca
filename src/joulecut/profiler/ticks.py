"""A counter is a staircase: when its steps came, and in which period.

Only a step that was caught between two readings close together says when it came. From such *edges* the
period of the counter (its tick) follows as the median of their distances.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from joulecut.profiler.edges import Edge
from joulecut.profiler.grid import refined
from joulecut.profiler.wraps import Series

__all__ = ["QUICK_TICK_S", "Staircase", "staircase", "tick_period"]

QUICK_TICK_S: Final = 0.0125
"""A counter that changes at least this often is waited for at the ends of a window, and not polled in it."""
_SHARP: Final = 0.25
"""An edge is sharp where it is known to this share of a tick."""
_LEAST_STEPS: Final = 3
_GAP_STEPS: Final = 5
_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class Staircase:
    """A counter's series with its steps.

    Attributes:
        series: the joules.
        edges: every step that was seen, sharp or not, in the order of time.
        tick_s: the period of the steps; None where too few were seen.
        sharp: the edges known to a quarter of a tick.
        largest_w: the highest mean power between neighbouring sharp edges; 0 if unknown.
    """

    series: Series
    edges: tuple[Edge, ...]
    tick_s: float | None
    sharp: tuple[Edge, ...]
    largest_w: float

    def next_rise(self, index: int) -> Edge | None:
        """The first step after a reading."""
        at = bisect_right(self.edges, index, key=lambda edge: edge.index)
        return self.edges[at] if at < len(self.edges) else None

    def last_rise(self, index: int) -> Edge | None:
        """The step that led to the value of a reading; None where it came before the first one."""
        at = bisect_right(self.edges, index, key=lambda edge: edge.index)
        return self.edges[at - 1] if at else None

    def sharp_between(self, begin_s: float, end_s: float) -> tuple[Edge, ...]:
        """The sharp edges in a time."""
        first = bisect_left(self.sharp, begin_s, key=lambda edge: edge.at_s)
        last = bisect_right(self.sharp, end_s, key=lambda edge: edge.at_s)
        return self.sharp[first:last]


def staircase(series: Series) -> Staircase:
    """The steps of a counter.

    >>> from joulecut.profiler.records import Domain
    >>> domain = Domain("gpu:0", "counter", 1.0, 0, True, "board_dc", 0.0, 0.0, "gpu:0", "example")
    >>> times = tuple(k / 100 for k in range(100))
    >>> joules = tuple(float(k // 10) for k in range(100))
    >>> shown = staircase(Series(domain, times, joules, (0,) * 100, (None,) * 100, ()))
    >>> round(shown.tick_s, 6), len(shown.sharp)
    (0.1, 9)
    """
    edges = _edges(series)
    tick_s = tick_period(edges, series)
    if tick_s is None:
        return Staircase(series, edges, None, (), 0.0)
    caught = [edge for edge in edges if edge.half_s <= _SHARP * tick_s * 1.000001]
    sharp = tuple(refined(caught, tick_s))
    better = {edge.index: edge for edge in sharp}
    edges = tuple(better.get(edge.index, edge) for edge in edges)
    return Staircase(series, edges, tick_s, sharp, _largest_power(sharp, tick_s))


def _edges(series: Series) -> tuple[Edge, ...]:
    times, values = series.times_s, series.values
    halves = series.halves_s or (0.0,) * len(times)
    edges: list[Edge] = []
    for k in range(1, len(values)):
        if values[k] > values[k - 1]:
            first_s, last_s = times[k - 1] - halves[k - 1], times[k] + halves[k]
            edges.append(Edge((first_s + last_s) / 2, (last_s - first_s) / 2, values[k], k))
    return tuple(edges)


def tick_period(edges: Sequence[Edge], series: Series) -> float | None:
    """The distance of neighbouring edges that are sharp; None where there are fewer than three.

    Their median first; then the mean of those that are whole multiples of it: the longer, the more exact. A
    counter that had moved at each of many readings is at least as quick as the readings came: then their
    distance is returned, as an upper bound.
    """
    gaps = [
        b.at_s - a.at_s for a, b in pairwise(edges) if max(a.half_s, b.half_s) <= _SHARP * (b.at_s - a.at_s)
    ]
    if len(gaps) >= _LEAST_STEPS:
        return _refined(gaps, _median(gaps))
    if len(edges) >= _GAP_STEPS and len(edges) == len(series.values) - 1:
        return _median([b - a for a, b in pairwise(series.times_s)])
    return None


def _median(values: Sequence[float]) -> float:
    """As ``statistics.median``, whose module takes as long to import as all that is here."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _refined(gaps: Sequence[float], rough_s: float) -> float:
    """The sum of the distances over the number of ticks in them."""
    counts = [round(gap / rough_s) for gap in gaps]
    whole = [
        (gap, n)
        for gap, n in zip(gaps, counts, strict=True)
        if 1 <= n <= _FEW and abs(gap / rough_s - n) < _SHARP
    ]
    ticks = sum(n for _, n in whole)
    return math.fsum(gap for gap, _ in whole) / ticks if ticks else rough_s


def _largest_power(sharp: Sequence[Edge], tick_s: float) -> float:
    powers = [
        (b.value_j - a.value_j) / (b.at_s - a.at_s)
        for a, b in pairwise(sharp)
        if b.at_s - a.at_s > tick_s / 2
    ]
    return max(powers, default=0.0)
