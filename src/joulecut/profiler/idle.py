"""Idle power: what the machine drew before and after the work, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulecut.estimate import Estimate, Spread
from joulecut.profiler.domains import Piece, common_name, gain_spread, own_spread, reckon
from joulecut.profiler.reckoned import Reckoned, Span
from joulecut.profiler.records import Trace
from joulecut.profiler.ticks import Staircase
from joulecut.units import format_quantity

__all__ = ["PAUSE", "Idle", "idle_of"]

PAUSE: Final = "pause"
"""Name of idle time between iterations, which is no measurement of idle power."""
_SHARE: Final = 0.05
_WATTS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Idle power of each column, in watts; None where it could not be measured.

    Attributes:
        powers_w: mean of before and after.
        halves_w: half widths at 90 %, with half the difference of the two in them.
        reasons: doubts.
    """

    powers_w: tuple[float | None, ...]
    halves_w: tuple[float, ...]
    reasons: tuple[str, ...]

    def power_w(self, column: int) -> float:
        """Of one column; 0 where unknown."""
        return self.powers_w[column] or 0.0

    def energy(self, trace: Trace, duration_s: float) -> Estimate | None:
        """Joules of the counted domains in some time; None where one of them is unknown."""
        counted = [(k, domain) for k, domain in enumerate(trace.domains) if domain.counted]
        if not counted or any(self.powers_w[k] is None for k, _ in counted):
            return None
        joules = [self.power_w(k) * duration_s for k, _ in counted]
        half = math.hypot(*(self.halves_w[k] * duration_s for k, _ in counted))
        common = Spread()
        for (_, domain), value in zip(counted, joules, strict=True):
            common = common.linear(gain_spread(domain, value))
        return Estimate(
            value=math.fsum(joules),
            unit="J",
            origin="measured",
            method="idle power before and after, times the time of the work",
            n=len(_spans(trace)),
            common=common,
            own=own_spread(Reckoned(0.0, half, half, "good")),
            common_with=common_name(trace, [domain for _, domain in counted]),
        )


def idle_of(trace: Trace, stairs: Sequence[Staircase]) -> Idle | None:
    """Idle power by the idle times of a trace; None without any."""
    spans = _spans(trace)
    if not spans:
        return None
    found = [[reckon(one, [Piece(span, None)]) for span in spans] for one in stairs]
    powers, halves = list[float | None](), list[float]()
    for column in found:
        power, half = _mean(column, spans)
        powers.append(power)
        halves.append(half)
    return Idle(tuple(powers), tuple(halves), _doubts(trace, found, spans))


def _spans(trace: Trace) -> list[Span]:
    spans: list[Span] = []
    begin_s: float | None = None
    for mark in trace.marks:
        if mark.name == PAUSE:
            continue
        if mark.kind == "idle_begin":
            begin_s = mark.at_s
        elif mark.kind == "idle_end" and begin_s is not None and mark.at_s > begin_s:
            spans.append(Span(begin_s, mark.at_s))
            begin_s = None
    return spans


def _mean(column: Sequence[Reckoned], spans: Sequence[Span]) -> tuple[float | None, float]:
    """Mean power of the idle times, and the half width of its 90 % interval."""
    if any(one.quality == "invalid" for one in column):
        return None, 0.0
    powers = [one.energy_j / span.duration_s for one, span in zip(column, spans, strict=True)]
    own = [
        max(one.below_j, one.above_j) / span.duration_s / len(spans)
        for one, span in zip(column, spans, strict=True)
    ]
    return math.fsum(powers) / len(powers), math.hypot(*own, (max(powers) - min(powers)) / 2)


def _doubts(trace: Trace, found: Sequence[Sequence[Reckoned]], spans: Sequence[Span]) -> tuple[str, ...]:
    """Idle that failed, and idle before that is not idle after: by more than 5 % or 1 W, and by more than
    the counters leave open."""
    counted = [column for column, domain in zip(found, trace.domains, strict=True) if domain.counted]
    failed = [one.reason for column in counted for one in column if one.quality == "invalid"]
    if failed:
        return (f"idle power could not be measured: {failed[0]}",)
    powers = [
        math.fsum(column[at].energy_j for column in counted) / span.duration_s
        for at, span in enumerate(spans)
    ]
    unsure = math.hypot(
        *(
            max(c[at].below_j, c[at].above_j) / span.duration_s
            for c in counted
            for at, span in enumerate(spans)
        )
    )
    apart, mean = max(powers) - min(powers), math.fsum(powers) / len(powers)
    if apart <= unsure or apart <= min(_SHARE * mean, _WATTS):
        return ()
    first, last = format_quantity(powers[0], "W"), format_quantity(powers[-1], "W")
    return (f"idle power was {first} before and {last} after the work",)
