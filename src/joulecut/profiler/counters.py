"""Joules of a block of code by a counter: what the counter allows, and the likeliest value within it.

At any time the counter shows the joules up to its last tick. So the joules at the begin (and the end) of a
block lie between the value shown then and the value after the next tick. Inside these bounds the value
follows from the time to the nearest sharp edge and the power between the edges.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from joulecut.profiler.edges import Edge
from joulecut.profiler.reckoned import UNIFORM_90, Reckoned, Span, refused
from joulecut.profiler.ticks import Staircase

__all__ = ["block_energy", "stood_still"]

_SHARP: Final = 0.25
_STUCK_TICKS: Final = 10
_STUCK_S: Final = 0.5
_FEW_TICKS: Final = 2
_SURELY: Final = 3.0
"""No power above this many times what was seen is taken to be likely."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Joules at one end of a block: the likeliest value and its bounds."""

    value_j: float
    low_j: float
    high_j: float


def block_energy(stairs: Staircase, span: Span) -> Reckoned:
    """The joules of a counter between two moments.

    Needs a reading at or before the begin and one at or after the end. Shorter than two ticks it gives
    certain bounds, as ``below resolution``; a counter that stands still is stuck, and no figure.
    """
    series = stairs.series
    before = bisect_right(series.times_s, span.begin_s) - 1
    after = bisect_right(series.times_s, span.end_s)
    if before < 0 or after >= len(series.times_s):
        failed = series.breaks[0].reason if series.breaks else ""
        where = "before the begin" if before < 0 else "after the end"
        return refused(failed or f"there is no reading {where}")
    counts = series.counts[before], series.counts[after]
    broken = series.broken(series.times_s[before], series.times_s[after])
    if broken:
        return refused(broken, *counts)
    rise_j = series.values[after] - series.values[before]
    still = stood_still(stairs, before, after)
    if still:
        return refused(still, *counts)
    tick_s = stairs.tick_s
    if tick_s is None:
        return _unticked(stairs, rise_j, counts)
    power_w = _power(stairs, span, rise_j)
    limit_w = _limit(stairs, span, power_w)
    begin = _level(stairs, span.begin_s, power_w, limit_w, at_begin=True)
    end = _level(stairs, span.end_s, power_w, limit_w, at_begin=False)
    return _between(begin, end, span, tick_s, power_w, counts)


def _between(
    begin: _Level, end: _Level, span: Span, tick_s: float, power_w: float, counts: tuple[int, int]
) -> Reckoned:
    energy_j = end.value_j - begin.value_j
    ticks = math.floor(span.duration_s / tick_s + 1e-9)
    few = ticks < _FEW_TICKS
    least_j, most_j = max(end.low_j - begin.high_j, 0.0), end.high_j - begin.low_j
    if few:
        energy_j = min(max(energy_j, least_j), most_j)
        if energy_j <= 0.0:
            energy_j = (least_j + most_j) / 2
        below_j, above_j = energy_j - least_j, most_j - energy_j
    else:
        below_j = UNIFORM_90 * math.hypot(end.value_j - end.low_j, begin.high_j - begin.value_j)
        above_j = UNIFORM_90 * math.hypot(end.high_j - end.value_j, begin.value_j - begin.low_j)
    return Reckoned(
        energy_j=energy_j,
        below_j=below_j,
        above_j=above_j,
        quality="below resolution" if few else "good",
        reason=f"shorter than two ticks of the counter ({tick_s:.3g} s each): bounds only" if few else "",
        ticks=ticks,
        resolution_j=power_w * tick_s,
        method="counter, bounds of its ticks" if few else "counter, from tick to tick",
        begin_count=counts[0],
        end_count=counts[1],
    )


def _unticked(stairs: Staircase, rise_j: float, counts: tuple[int, int]) -> Reckoned:
    """A counter whose period was not found."""
    if rise_j == 0.0:
        return refused("the counter did not change, and how often it does is not known", *counts)
    quantum = stairs.series.domain.quantum
    return Reckoned(
        energy_j=rise_j,
        below_j=quantum,
        above_j=quantum,
        quality="degraded",
        reason="how often the counter changes is not known, so the interval leaves out its period",
        method="counter, as read",
        begin_count=counts[0],
        end_count=counts[1],
    )


def stood_still(stairs: Staircase, before: int, after: int) -> str:
    """Why the counter is stuck between two readings; "" where it moves.

    Stuck is what showed the same value in all readings over ten ticks and half a second, or, with a tick
    that is not known, over a second and through the whole trace.
    """
    times = stairs.series.times_s
    if stairs.tick_s is None:
        still_s = times[-1] - times[0]
        return _stuck(still_s) if not stairs.edges and still_s >= 1.0 else ""
    limit_s = max(_STUCK_TICKS * stairs.tick_s, _STUCK_S)
    since = before
    while True:
        edge = stairs.next_rise(since)
        until = min(edge.index - 1 if edge else after, after)
        still_s = times[until] - times[since]
        if still_s > limit_s:
            return _stuck(still_s)
        if edge is None or edge.index >= after:
            return ""
        since = edge.index


def _stuck(still_s: float) -> str:
    return f"the counter is stuck: it did not change for {still_s:.3g} s"


def _power(stairs: Staircase, span: Span, rise_j: float) -> float:
    """Mean power of the block: between sharp edges inside it, else about it, else of the whole rise.

    One tick that lies wholly inside the block tells more of it than two that reach out into what was before.
    """
    tick_s = stairs.tick_s or 0.0
    inside = stairs.sharp_between(span.begin_s, span.end_s)
    about = stairs.sharp_between(span.begin_s - 1.1 * tick_s, span.end_s + 1.1 * tick_s)
    enough = ((inside, 0.9 * tick_s, 0.35), (about, 2 * tick_s, 0.5))
    for edges, least_s, share in enough:
        if edges and edges[-1].at_s - edges[0].at_s >= max(least_s, share * span.duration_s):
            return (edges[-1].value_j - edges[0].value_j) / (edges[-1].at_s - edges[0].at_s)
    if rise_j > 0.0 and span.duration_s > tick_s:
        return rise_j / span.duration_s
    return stairs.largest_w


def _limit(stairs: Staircase, span: Span, power_w: float) -> float:
    """The power that bounds what a tick may hold: the stated peak where the bounds shall be certain."""
    peak_w = stairs.series.domain.peak_w or math.inf
    seen_w = _SURELY * max(power_w, stairs.largest_w)
    certain = span.duration_s < _FEW_TICKS * (stairs.tick_s or 0.0) and peak_w < math.inf
    return peak_w if certain else min(peak_w, seen_w)


def _level(stairs: Staircase, at_s: float, power_w: float, limit_w: float, *, at_begin: bool) -> _Level:
    """Joules at one moment."""
    tick_s = stairs.tick_s or 0.0
    times, values = stairs.series.times_s, stairs.series.values
    after = bisect_right(times, at_s)
    near = after if abs(times[after] - at_s) < abs(at_s - times[after - 1]) else after - 1
    near = near if abs(times[near] - at_s) <= _SHARP * tick_s else after - 1
    low_j = values[near]
    last = _sharp(stairs.last_rise(near), tick_s)
    rise = stairs.next_rise(near)
    upcoming = rise if rise and times[rise.index] - at_s <= 3 * tick_s else None
    quantum = stairs.series.domain.quantum
    high_j = upcoming.value_j if upcoming else low_j + limit_w * tick_s
    if last:
        high_j = min(high_j, low_j + limit_w * (max(at_s - last.at_s, 0.0) + last.half_s))
    coming = _sharp(upcoming, tick_s)
    if coming:
        low_j = max(low_j, coming.value_j - limit_w * (max(coming.at_s - at_s, 0.0) + coming.half_s))
    high_j = max(high_j, low_j) + quantum
    value_j = _likeliest(low_j, values[near], at_s, power_w, tick_s, last, coming, at_begin)
    return _Level(min(max(value_j, low_j), high_j), low_j, high_j)


def _sharp(edge: Edge | None, tick_s: float) -> Edge | None:
    return edge if edge and edge.half_s <= _SHARP * tick_s * 1.000001 else None


def _likeliest(
    low_j: float,
    shown_j: float,
    at_s: float,
    power_w: float,
    tick_s: float,
    last: Edge | None,
    coming: Edge | None,
    at_begin: bool,
) -> float:
    """The power of the block reckoned back from the edge inside it, or on from the one outside it."""
    if coming and (at_begin or not last):
        return coming.value_j - power_w * (coming.at_s - at_s)
    if last:
        return shown_j + power_w * (at_s - last.at_s)
    return max(low_j, shown_j + power_w * tick_s / 2)
