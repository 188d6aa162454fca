"""Joules by a gauge of power: what it showed, integrated over time.

A gauge shows a value for a period of its own, and each value tells of the power before it: of the very moment
at which it was taken, or of a part or all of the period up to then. So what is shown lags behind what was
drawn by half a period (a moment) to a whole one (the mean of a period). No value that tells of the time
before a window too is used for its joules.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from joulecut.profiler.reckoned import UNIFORM_90, Reckoned, Span, refused
from joulecut.profiler.wraps import Series

__all__ = ["gauge_period", "integrated_energy"]

_LEAST_AVERAGES: Final = 5
"""A gauge that shows a running mean (NVML's power field: of 1 s on newer GPUs) says little about the ends of
a window, and less than this many of its lengths are hardly more than ends."""
_LEAST_PERIODS: Final = 2
_LONGEST_PERIOD_S: Final = 0.25
"""Longer than the period of any gauge that is known (0.1 s); steady power may look like a longer one."""
_LEAST_GAPS: Final = 3
_SHORTEST_STAMP_S: Final = 0.02
"""Stamps nearer together may be those of the readings, which are 5 ms apart, and not of the values."""
_LAG: Final = 0.75
"""Of a period: in the middle between half a period and a whole one."""


def integrated_energy(series: Series, span: Span) -> Reckoned:
    """The joules of a gauge between two moments.

    The interval holds where in its period each jump of the power may have been, what the gauge may have
    shown after the last reading, and its last digit. A window shorter than two periods gets no figure, or
    the bounds of the peak power where that is known.
    """
    times = series.times_s
    before = bisect_right(times, span.begin_s) - 1
    after = bisect_left(times, span.end_s)
    if before < 0 or after >= len(times):
        failed = series.breaks[0].reason if series.breaks else ""
        where = "before the begin" if before < 0 else "after the end"
        return refused(failed or f"there is no reading of power {where}")
    counts = series.counts[before], series.counts[after]
    broken = series.broken(times[before], times[after])
    if broken:
        return refused(broken, *counts)
    average_s = series.domain.average_s
    period_s = gauge_period(series) + average_s
    if span.duration_s < _LEAST_PERIODS * period_s or after - before < 2:
        return _too_short(series, span, counts)
    energy_j, half_j = _between_bounds(series, span, period_s)
    short = span.duration_s < _LEAST_AVERAGES * average_s
    return Reckoned(
        energy_j=energy_j,
        below_j=half_j,
        above_j=half_j,
        quality="degraded" if short else "good",
        reason=f"the gauge shows the mean of {average_s:.3g} s, too slow for a window this short"
        if short
        else "",
        ticks=math.floor(span.duration_s / period_s) if period_s else after - before - 1,
        resolution_j=energy_j / span.duration_s * period_s,
        method="power, integrated",
        begin_count=counts[0],
        end_count=counts[1],
    )


def _between_bounds(series: Series, span: Span, period_s: float) -> tuple[float, float]:
    """Joules and the half width of their 90 % interval.

    What was shown from two periods after the begin up to the end is of the window alone; its first and last
    value stand for the edges, which were shown together with what was before and after. The interval also
    holds what comes out if everything is taken as it was shown, late by the lag.
    """
    times, values = series.times_s, series.values
    inside_s = span.begin_s + 2 * period_s
    first_w, last_w = _shown(times, values, inside_s), _shown(times, values, span.end_s)
    inside_j = _shown_energy(times, values, inside_s, span.end_s)
    energy_j = inside_j + period_s * ((0.5 + _LAG) * first_w + (1.5 - _LAG) * last_w)
    lag_s = _LAG * period_s
    late_j = _shown_energy(times, values, span.begin_s + lag_s, span.end_s + lag_s)
    unseen_s = max(0.0, span.end_s + lag_s - times[-1])
    half_j = math.hypot(
        UNIFORM_90 * period_s / 2 * _jumps(times, values, inside_s, span.end_s),
        energy_j - late_j,
        unseen_s * values[-1],
        UNIFORM_90 * series.domain.quantum / 2 * span.duration_s,
    )
    return energy_j, half_j


def gauge_period(series: Series) -> float:
    """How long a gauge shows each value, in seconds, at most 0.25.

    By the times between changes of its value, of which the shorter ones count (a value that stays the same
    for several periods makes a long one); where it hardly changes, by its stamps.
    """
    times, values = series.times_s, series.values
    changed_s = [times[k] for k in range(1, len(times)) if values[k] != values[k - 1]]
    gaps = _gaps(changed_s)
    if len(gaps) >= _LEAST_GAPS:
        return min(_quantile(gaps, 0.25), _LONGEST_PERIOD_S)
    stamp_gaps = _gaps(sorted({stamp for stamp in series.stamps_s if stamp is not None}))
    if stamp_gaps and _quantile(stamp_gaps, 0.5) >= _SHORTEST_STAMP_S:
        return min(_quantile(stamp_gaps, 0.5), _LONGEST_PERIOD_S)
    return _LONGEST_PERIOD_S if changed_s else 0.0


def _gaps(times_s: Sequence[float]) -> list[float]:
    return [b - a for a, b in pairwise(times_s)]


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _shown_energy(times: Sequence[float], values: Sequence[float], begin_s: float, end_s: float) -> float:
    """The integral of what was shown; after the last reading it is taken to have stayed."""
    first, last = bisect_right(times, begin_s), bisect_left(times, end_s)
    points = [
        (begin_s, _shown(times, values, begin_s)),
        *zip(times[first:last], values[first:last], strict=True),
        (end_s, _shown(times, values, end_s)),
    ]
    return math.fsum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def _shown(times: Sequence[float], values: Sequence[float], at_s: float) -> float:
    """Linear between two readings, of which one or none saw the change."""
    after = bisect_left(times, at_s)
    if after in (0, len(times)):
        return values[min(after, len(times) - 1)]
    share = (at_s - times[after - 1]) / (times[after] - times[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


def _jumps(times: Sequence[float], values: Sequence[float], begin_s: float, end_s: float) -> float:
    """The changes of what was shown, in quadrature."""
    first, last = max(bisect_right(times, begin_s) - 1, 0), bisect_left(times, end_s)
    return math.hypot(*(b - a for a, b in pairwise(values[first : last + 1])))


def _too_short(series: Series, span: Span, counts: tuple[int, int]) -> Reckoned:
    """A window with hardly a reading in it: from nothing to the peak, where that is known."""
    if series.domain.peak_w <= 0:
        return refused("shorter than two periods of the power gauge", *counts)
    most_j = series.domain.peak_w * span.duration_s
    guess_j = min(series.domain.quantum * (counts[0] + counts[1]) / 2 * span.duration_s, most_j)
    return Reckoned(
        energy_j=guess_j,
        below_j=guess_j,
        above_j=most_j - guess_j,
        quality="below resolution",
        reason="shorter than two periods of the power gauge: bounds only",
        method="power, bounds of its peak",
        begin_count=counts[0],
        end_count=counts[1],
    )
