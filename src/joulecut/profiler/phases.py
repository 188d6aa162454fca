"""Work that ran in step with a sensor which looks at a part of each tick: its power over all of an iteration.

Every tick tells of the part of an iteration that the sensor looked at, which is known by its phase: how far
the iteration had come when the counter stepped. Delays bring other phases before the sensor, but a program
that is held up now and then does not bring all of them equally often. So each tick counts for as much of the
circle of phases as lies nearest to its own.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Final

from joulecut.profiler.iterations import Progress
from joulecut.profiler.ticks import Staircase

__all__ = ["even_power"]

_LONG: Final = 1.2
"""An iteration that took so many times its usual time was held up, at an unknown part of it."""
_WHOLE: Final = 0.25
"""How far the time between two steps may be from a tick, as a share of it."""


def even_power(stairs: Staircase, progress: Progress) -> tuple[float, float] | None:
    """Mean watts, every part of an iteration alike; None without a whole tick between two delays.

    Args:
        stairs: a slow counter, polled.
        progress: the iterations, with delays between them.

    Returns:
        The watts, and the largest share of an iteration that never came before the sensor.
    """
    tick_s = stairs.tick_s or 0.0
    usual_s = _usual_s(progress)
    points: list[tuple[float, float]] = []
    for first, last in pairwise(stairs.sharp_between(progress.span.begin_s, progress.span.end_s)):
        between_s = last.at_s - first.at_s
        whole = abs(between_s - tick_s) <= _WHOLE * tick_s
        plain = not progress.paused_between(first.at_s, last.at_s)
        if whole and plain and not _held_up(progress, last.at_s, usual_s):
            points.append((progress.at(last.at_s) % 1.0, (last.value_j - first.value_j) / between_s))
    return _round_the_circle(sorted(points))


def _usual_s(progress: Progress) -> float:
    """The median time of a batch of iterations."""
    times_s = sorted(
        end_s - start_s for start_s, end_s in zip(progress.starts_s, progress.ends_s, strict=True)
    )
    return times_s[len(times_s) // 2]


def _held_up(progress: Progress, at_s: float, usual_s: float) -> bool:
    """Whether the iteration at a moment took much longer than usual, so that its phase says little."""
    batch = max(bisect_right(progress.starts_s, at_s) - 1, 0)
    return progress.ends_s[batch] - progress.starts_s[batch] > _LONG * usual_s


def _round_the_circle(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """The mean of a function on the circle of length 1, by the trapezoidal rule, and the widest gap.

    >>> _round_the_circle([(0.0, 1.0), (0.25, 1.0), (0.5, 3.0), (0.75, 3.0), (0.875, 3.0)])
    (2.125, 0.25)
    """
    if not points:
        return None
    closed = [*points, (points[0][0] + 1.0, points[0][1])]
    gaps = [after[0] - before[0] for before, after in pairwise(closed)]
    means = [(before[1] + after[1]) / 2 for before, after in pairwise(closed)]
    return sum(gap * mean for gap, mean in zip(gaps, means, strict=True)), max(gaps)
