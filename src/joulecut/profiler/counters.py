"""Joules of a block of code by a counter: what the counter allows, and the likeliest value within it.

At any time the counter shows the joules up to its last tick. So the joules at the begin (and the end) of a
block lie between the value shown then and the value after the next tick. Inside these bounds the value
follows from the time to the nearest sharp edge and the power between the edges.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

from joulecut.profiler.ends import End, end_of_block
from joulecut.profiler.reckoned import UNIFORM_90, Reckoned, Span, refused
from joulecut.profiler.records import Quality
from joulecut.profiler.ticks import Staircase
from joulecut.units import format_quantity

__all__ = ["block_energy", "stood_still"]

_STUCK_TICKS: Final = 10
_STUCK_S: Final = 0.5
_FEW_TICKS: Final = 2
_SLIGHT: Final = 0.02
"""Share of a block's joules that a counter at rest may leave open without a word."""
_SURELY: Final = 3.0
"""No power above this many times what was seen is taken to be likely."""


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
    begin = end_of_block(stairs, span.begin_s, power_w, limit_w, at_begin=True)
    end = end_of_block(stairs, span.end_s, power_w, limit_w, at_begin=False)
    return _between(begin, end, span, tick_s, power_w, counts)


def _between(
    begin: End, end: End, span: Span, tick_s: float, power_w: float, counts: tuple[int, int]
) -> Reckoned:
    energy_j = end.value_j - begin.value_j
    ticks = math.floor(span.duration_s / tick_s + 1e-9)
    few = ticks < _FEW_TICKS
    quality: Quality
    least_j, most_j = max(end.low_j - begin.high_j, 0.0), end.high_j - begin.low_j
    if few:
        energy_j = min(max(energy_j, least_j), most_j)
        if energy_j <= 0.0:
            energy_j = (least_j + most_j) / 2
        below_j, above_j = energy_j - least_j, most_j - energy_j
        quality, reason = (
            "below resolution",
            f"shorter than two ticks of the counter ({tick_s:.3g} s each): bounds only",
        )
    else:
        below_j = UNIFORM_90 * math.hypot(end.value_j - end.low_j, begin.high_j - begin.value_j)
        above_j = UNIFORM_90 * math.hypot(end.high_j - end.value_j, begin.value_j - begin.low_j)
        quality, reason = _doubt(begin, end, energy_j)
    return Reckoned(
        energy_j=energy_j,
        below_j=below_j,
        above_j=above_j,
        quality=quality,
        reason=reason,
        ticks=ticks,
        resolution_j=power_w * tick_s,
        method="counter, bounds of its ticks" if few else "counter, from tick to tick",
        begin_count=counts[0],
        end_count=counts[1],
    )


def _doubt(begin: End, end: End, energy_j: float) -> tuple[Quality, str]:
    """Whether the counter stood still at an end of the block, for so long that it matters."""
    for where, one in (("begin", begin), ("end", end)):
        if one.still_s and one.high_j - one.low_j > _SLIGHT * energy_j:
            still = format_quantity(one.still_s, "s", 2)
            return "degraded", f"the counter stood still for {still} about the {where} of the block"
    return "good", ""


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
