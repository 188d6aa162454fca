"""Work that was repeated: how its iterations went on, and its joules from tick to tick.

The joules between two sharp edges of a slow counter are known to its quantum, and work that is repeated draws
its mean power before the first edge and after the last one too. So neither an edge in the middle of an
iteration costs anything, nor the tick in which the work began.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from joulecut.profiler.edges import Edge
from joulecut.profiler.reckoned import UNIFORM_90, Reckoned, Span
from joulecut.profiler.records import Mark
from joulecut.profiler.ticks import Staircase

__all__ = ["Progress", "batch_costs", "progress_of", "steady_energy"]

_BATCHES = 10
_CANDIDATES = 12


@dataclass(frozen=True, slots=True)
class Progress:
    """How the iterations of one span went on.

    Attributes:
        span: from the begin of the first to the end of the last.
        starts_s, ends_s: of each batch of iterations that a mark ended.
        counts: how many iterations each batch held.
        done: iterations before each batch.
        pauses: delays that were put between iterations on purpose.
    """

    span: Span
    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]
    counts: tuple[int, ...]
    done: tuple[int, ...]
    pauses: tuple[Span, ...]

    @property
    def total(self) -> int:
        """All iterations."""
        return self.done[-1] + self.counts[-1]

    @property
    def paused_s(self) -> float:
        """Time spent in pauses."""
        return math.fsum(pause.duration_s for pause in self.pauses)

    def at(self, time_s: float) -> float:
        """Iterations done by a moment, with the fraction of the one that ran then."""
        batch = bisect_right(self.starts_s, time_s) - 1
        if batch < 0:
            return 0.0
        start_s, end_s = self.starts_s[batch], self.ends_s[batch]
        share = 1.0 if time_s >= end_s else (time_s - start_s) / (end_s - start_s)
        return self.done[batch] + share * self.counts[batch]

    def paused_between(self, begin_s: float, end_s: float) -> float:
        """Time of pauses in a stretch of time."""
        return math.fsum(
            max(0.0, min(pause.end_s, end_s) - max(pause.begin_s, begin_s)) for pause in self.pauses
        )


def progress_of(marks: Sequence[Mark], span: Span) -> Progress | None:
    """The iterations in a span, from the marks of a trace; None where fewer than two were marked.

    >>> marks = [Mark(0.0, "begin"), Mark(1.0, "iteration"), Mark(3.0, "iteration"), Mark(3.0, "end")]
    >>> progress_of(marks, Span(0.0, 3.0)).at(2.0)
    1.5
    """
    starts, ends, counts, done = list[float](), list[float](), list[int](), list[int]()
    pauses: list[Span] = []
    since_s = span.begin_s
    total = 0
    first = bisect_left(marks, span.begin_s, key=lambda mark: mark.at_s)
    for mark in marks[first:]:
        if mark.at_s > span.end_s:
            break
        if mark.kind == "iteration" and mark.at_s > since_s:
            starts.append(since_s)
            ends.append(mark.at_s)
            counts.append(mark.count)
            done.append(total)
            total += mark.count
            since_s = mark.at_s
        elif mark.kind == "idle_end":
            pauses.append(Span(since_s, mark.at_s))
            since_s = mark.at_s
    if len(ends) < 2:
        return None
    return Progress(span, tuple(starts), tuple(ends), tuple(counts), tuple(done), tuple(pauses))


def steady_energy(stairs: Staircase, progress: Progress, idle_w: float) -> Reckoned | None:
    """Joules of all iterations of a span, by the power between the edges of the counter in it.

    Args:
        stairs: a slow counter, polled.
        progress: the iterations.
        idle_w: power of the pauses between iterations, which are not part of the iterations' energy.

    Returns:
        None where the counter gives fewer than two ticks with sharp edges in the span.
    """
    tick_s = stairs.tick_s or 0.0
    edges = stairs.sharp_between(progress.span.begin_s, progress.span.end_s)
    if not edges or edges[-1].at_s - edges[0].at_s < 1.9 * tick_s:
        return None
    first, last = _best_pair(edges)
    between_s, half_s = last.at_s - first.at_s, math.hypot(first.half_s, last.half_s)
    paused_s = progress.paused_between(first.at_s, last.at_s)
    spent_j = last.value_j - first.value_j
    power_w = (spent_j - idle_w * paused_s) / (between_s - paused_s)
    ran_s = progress.span.duration_s - progress.paused_s
    edges_j = half_s * spent_j / between_s + stairs.series.domain.quantum
    half_j = UNIFORM_90 * edges_j * ran_s / (between_s - paused_s)
    counts = stairs.series.counts
    return Reckoned(
        energy_j=power_w * ran_s,
        below_j=half_j,
        above_j=half_j,
        quality="good",
        ticks=round(between_s / tick_s),
        resolution_j=spent_j / between_s * tick_s,
        method="counter, steady work from tick to tick",
        begin_count=counts[first.index],
        end_count=counts[last.index],
    )


def _best_pair(edges: Sequence[Edge]) -> tuple[Edge, Edge]:
    """The two edges with the least uncertain time between them, one near each end."""
    near = min(_CANDIDATES, max(1, len(edges) // 4))
    pairs = [(a, b) for a in edges[:near] for b in edges[-near:] if b.at_s > a.at_s]
    return min(pairs, key=lambda ab: (ab[0].half_s + ab[1].half_s) / (ab[1].at_s - ab[0].at_s))


def batch_costs(stairs: Staircase, progress: Progress, idle_w: float) -> list[float]:
    """Joules of an iteration in each of up to ten stretches of a span, for the spread between them.

    A stretch lasts from one sharp edge to another, or, for a quick counter that nobody polled, from one
    reading to another, over at least two ticks.
    """
    tick_s = stairs.tick_s or 0.0
    span = progress.span
    edges = [(edge.at_s, edge.value_j) for edge in stairs.sharp_between(span.begin_s, span.end_s)]
    if len(edges) < 3:
        times = stairs.series.times_s
        first, last = bisect_left(times, span.begin_s), bisect_right(times, span.end_s)
        edges = list(zip(times[first:last], stairs.series.values[first:last], strict=True))
    step_s = max(2 * tick_s, span.duration_s / _BATCHES * 0.9)
    kept = edges[:1]
    for edge in edges[1:]:
        if edge[0] - kept[-1][0] >= step_s:
            kept.append(edge)
    costs = []
    for (begin_s, begin_j), (end_s, end_j) in pairwise(kept):
        ran = progress.at(end_s) - progress.at(begin_s)
        if ran > 0:
            costs.append((end_j - begin_j - idle_w * progress.paused_between(begin_s, end_s)) / ran)
    return costs
