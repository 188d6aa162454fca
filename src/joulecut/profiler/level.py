"""The joules of a domain up to any moment, as one function of time, for windows that lie side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from joulecut.profiler.reckoned import Span
from joulecut.profiler.ticks import QUICK_TICK_S, Staircase

__all__ = ["Level"]


class Level:
    """The likeliest joules up to a moment; what lies side by side adds up exactly.

    Of a slow counter that was polled, a moment lies between two steps: its joules follow from the step before
    with the power before, and from the step after with the power after, and the mean of both is taken. A
    quicker counter is read at the moment itself, and has not shown half a tick of it yet, on average. A gauge
    is integrated.
    """

    def __init__(self, stairs: Staircase) -> None:
        series = stairs.series
        self._polled = (stairs.tick_s or 0.0) > QUICK_TICK_S
        if series.domain.kind == "gauge":
            self._times, self._joules = series.times_s, _integrated(series.times_s, series.values)
        elif self._polled:
            self._times = tuple(edge.at_s for edge in stairs.sharp)
            self._joules = tuple(edge.value_j for edge in stairs.sharp)
        else:
            self._times = series.times_s
            self._joules = _ahead(series.times_s, series.values, stairs.tick_s or 0.0)

    def between(self, span: Span) -> float:
        """Joules from the begin to the end of a span."""
        return self.at(span.end_s) - self.at(span.begin_s)

    def at(self, time_s: float) -> float:
        """Joules up to a moment."""
        times, joules = self._times, self._joules
        if not times:
            return 0.0
        after = min(max(bisect_right(times, time_s), 1), len(times) - 1)
        if after == 0:
            return joules[0]
        low_j, high_j = joules[after - 1], joules[after]
        if not self._polled:
            share = (time_s - times[after - 1]) / (times[after] - times[after - 1])
            return low_j + min(max(share, 0.0), 1.0) * (high_j - low_j)
        on_j = low_j + self._power(after - 1) * (time_s - times[after - 1])
        back_j = high_j - self._power(after + 1) * (times[after] - time_s)
        return sum(min(max(one, low_j), high_j) for one in (on_j, back_j)) / 2

    def _power(self, index: int) -> float:
        """Mean power of the tick that ends with a step."""
        index = min(max(index, 1), len(self._times) - 1)
        return (self._joules[index] - self._joules[index - 1]) / (self._times[index] - self._times[index - 1])


def _integrated(times_s: Sequence[float], values_w: Sequence[float]) -> tuple[float, ...]:
    joules = [0.0]
    for k in range(1, len(values_w)):
        joules.append(joules[-1] + (values_w[k - 1] + values_w[k]) / 2 * (times_s[k] - times_s[k - 1]))
    return tuple(joules)


def _ahead(times_s: Sequence[float], values_j: Sequence[float], tick_s: float) -> tuple[float, ...]:
    """Each reading with half a tick of the power since a reading at least two ticks before."""
    joules = list(values_j)
    earlier = 0
    for k in range(1, len(values_j)):
        while earlier + 1 < k and times_s[k] - times_s[earlier + 1] >= 2 * tick_s:
            earlier += 1
        passed_s = times_s[k] - times_s[earlier]
        if passed_s >= 2 * tick_s > 0:
            joules[k] += (values_j[k] - values_j[earlier]) / passed_s * tick_s / 2
    return tuple(joules)
