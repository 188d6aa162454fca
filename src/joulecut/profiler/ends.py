"""Joules at one end of a block of code, by a counter that shows them up to its last tick only."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from joulecut.profiler.edges import Edge
from joulecut.profiler.ticks import Staircase

__all__ = ["End", "end_of_block"]

_SHARP: Final = 0.25
_NEAR_TICKS: Final = 3.0
"""A step that comes later than this says nothing of the tick in which the block ended."""
_STILL_TICKS: Final = 2.0
"""A counter that shows one value for longer than this stands still: its writer was held up."""


@dataclass(frozen=True, slots=True)
class End:
    """Joules at one end of a block: the likeliest value and its bounds.

    Attributes:
        value_j, low_j, high_j: since the first reading.
        still_s: how long the counter stood still about this moment; 0 where it kept its ticks.
    """

    value_j: float
    low_j: float
    high_j: float
    still_s: float = 0.0


def end_of_block(stairs: Staircase, at_s: float, power_w: float, limit_w: float, *, at_begin: bool) -> End:
    """Joules at one moment.

    Args:
        stairs: the counter, with a tick.
        at_s: the moment; there are readings before and after it.
        power_w: mean power of the block.
        limit_w: power that a tick does not exceed.
        at_begin: whether the block begins there.
    """
    tick_s = stairs.tick_s or 0.0
    times, values = stairs.series.times_s, stairs.series.values
    near = _nearest(times, at_s, tick_s)
    rise, before = stairs.next_rise(near), stairs.last_rise(near)
    upcoming = rise if rise and times[rise.index] - at_s <= _NEAR_TICKS * tick_s else None
    still_s = _still_s(stairs, near, _sharp(upcoming, tick_s), power_w, limit_w)
    if still_s > _STILL_TICKS * tick_s:
        return _at_rest(stairs, at_s, near, limit_w, still_s)
    low_j = values[near]
    last = _sharp(before, tick_s)
    high_j = upcoming.value_j if upcoming else low_j + limit_w * tick_s
    if last:
        high_j = min(high_j, low_j + limit_w * (max(at_s - last.at_s, 0.0) + last.half_s))
    coming = _sharp(upcoming, tick_s)
    if coming:
        low_j = max(low_j, coming.value_j - limit_w * (max(coming.at_s - at_s, 0.0) + coming.half_s))
    high_j = max(high_j, low_j) + stairs.series.domain.quantum
    value_j = _likeliest(low_j, values[near], at_s, power_w, tick_s, last, coming, at_begin)
    return End(min(max(value_j, low_j), high_j), low_j, high_j)


def _nearest(times: tuple[float, ...], at_s: float, tick_s: float) -> int:
    """The reading that is nearest, if it is near, else the last one before."""
    after = bisect_right(times, at_s)
    near = after if abs(times[after] - at_s) < abs(at_s - times[after - 1]) else after - 1
    return near if abs(times[near] - at_s) <= _SHARP * tick_s else after - 1


def _still_s(stairs: Staircase, near: int, coming: Edge | None, power_w: float, limit_w: float) -> float:
    """How long the counter stood still about a reading.

    By the readings of the same value; or by a step soon after it that holds more than a tick can, and so is
    what a counter shows that was held up and catches up.
    """
    times, values = stairs.series.times_s, stairs.series.values
    before, rise = stairs.last_rise(near), stairs.next_rise(near)
    begin_s, end_s = times[before.index if before else 0], times[(rise.index if rise else len(times)) - 1]
    for gap in stairs.series.breaks:  # what was shown before one and after it cannot be compared
        begin_s = max(begin_s, gap.end_s) if gap.end_s <= times[near] else begin_s
        end_s = min(end_s, gap.begin_s) if gap.begin_s >= times[near] else end_s
    seen_s = end_s - begin_s
    if coming and power_w > 0.0 and coming.value_j - values[near] > limit_w * (stairs.tick_s or 0.0):
        return max(seen_s, (coming.value_j - values[near]) / power_w)
    return seen_s


def _at_rest(stairs: Staircase, at_s: float, near: int, limit_w: float, still_s: float) -> End:
    """Where the counter stood still: between what it showed and what it showed when it moved again.

    In between, the mean power from the last reading before the rest to the first one after it counts. A step
    that comes late comes at any time of a tick: half a tick of joules is not shown then, on average.
    """
    times, values = stairs.series.times_s, stairs.series.values
    before, rise = stairs.last_rise(near), stairs.next_rise(near)
    since = before.index - 1 if before else 0
    low_j = values[near]
    if rise is None:
        high_j = low_j + limit_w * max(at_s - times[since], 0.0) + stairs.series.domain.quantum
        return End(low_j, low_j, high_j, still_s)
    tick_s = stairs.tick_s or 0.0
    power_w = (rise.value_j - values[since]) / (rise.at_s - times[since])
    value_j = rise.value_j + power_w * (tick_s / 2 - (rise.at_s - at_s))
    high_j = rise.value_j + power_w * tick_s + stairs.series.domain.quantum
    return End(min(max(value_j, low_j), high_j), low_j, high_j, still_s)


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
