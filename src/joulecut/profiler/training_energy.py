"""A trace of a training loop read: joules per epoch, per step and per part of a step, which add up.

The joules up to a moment are one function of time for all of them, so that parts and rest add up to their
step, and steps and rest to their epoch, exactly. What is shorter than two ticks of the counter is merged, or
named as attributed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread
from joulecut.profiler.domains import Piece, common_name, gain_spread, own_spread, reckon, stairs_of
from joulecut.profiler.doubts import doubts_about, states_around
from joulecut.profiler.evaluate import provenance_of
from joulecut.profiler.level import Level
from joulecut.profiler.provenance import Concern
from joulecut.profiler.reckoned import UNIFORM_90, Reckoned, Span, worst
from joulecut.profiler.records import Quality, Trace
from joulecut.profiler.ticks import Staircase
from joulecut.profiler.training_records import PARTS, PartEnergy, TrainingEnergy, TrainingWindow

__all__ = ["training_energy"]

_FEW_TICKS: Final = 2


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    span: Span


def training_energy(trace: Trace) -> TrainingEnergy:
    """The joules of the epochs, steps and parts that the marks of a trace name.

    Raises:
        UsageError: it holds no finished step.
    """
    spans = _spans(trace)
    steps = [one for one in spans if one.name.startswith("step ")]
    if not steps:
        raise UsageError("the trace holds no finished step.", hint="Enter `with meter.step():` in the loop.")
    whole = Span(min(one.span.begin_s for one in spans), max(one.span.end_s for one in spans))
    doubts = doubts_about(*states_around(trace, whole))
    reader = _Reader(trace, [one for one in spans if one.name in PARTS], doubts)
    epochs = [one for one in spans if one.name.startswith("epoch ")]
    groups = _groups(steps, epochs, _FEW_TICKS * reader.tick_s)
    merged = any(len(group) > 1 for group in groups)
    reasons = [*(doubt.reason for doubt in doubts), *trace.unread]
    if merged:
        reasons.append(f"steps were merged until they held two ticks of {reader.tick_s:.3g} s")
    each_step = tuple(reader.window(_label(group), _around(group), group) for group in groups)
    each_epoch = tuple(reader.window(one.name, one.span, _inside(one.span, steps)) for one in epochs)
    if any(part.energy.origin == "attributed" for one in (*each_epoch, *each_step) for part in one.parts):
        reasons.append("parts shorter than two ticks were attributed by their time")
    return TrainingEnergy(each_epoch, each_step, tuple(reasons), trace.sensor, provenance_of(trace))


def _spans(trace: Trace) -> list[_Named]:
    """All finished windows, in the order of their ends; nested ones are there too."""
    open_s: dict[str, float] = {}
    found: list[_Named] = []
    for mark in trace.marks:
        if mark.kind == "begin":
            open_s[mark.name] = mark.at_s
        elif mark.kind == "end" and mark.name in open_s:
            found.append(_Named(mark.name, Span(open_s.pop(mark.name), mark.at_s)))
    return found


def _groups(steps: Sequence[_Named], epochs: Sequence[_Named], least_s: float) -> list[list[_Named]]:
    """Steps in a row that last long enough together; never across epochs, and no short rest at the end."""
    groups: list[list[_Named]] = []
    for at, step in enumerate(steps):
        starts = at == 0 or _epoch_of(step, epochs) != _epoch_of(steps[at - 1], epochs)
        if starts or _around(groups[-1]).duration_s >= least_s:
            if not starts and _left_s(steps[at:], epochs) < least_s:
                groups[-1].append(step)
            else:
                groups.append([step])
        else:
            groups[-1].append(step)
    return groups


def _left_s(steps: Sequence[_Named], epochs: Sequence[_Named]) -> float:
    """From the begin of the first of the steps to the end of the last one of its epoch."""
    epoch = _epoch_of(steps[0], epochs)
    last = max(step.span.end_s for step in steps if _epoch_of(step, epochs) == epoch)
    return last - steps[0].span.begin_s


def _epoch_of(step: _Named, epochs: Sequence[_Named]) -> str:
    return next((one.name for one in epochs if _holds(one.span, step.span)), "")


def _holds(outer: Span, inner: Span) -> bool:
    return outer.begin_s <= inner.begin_s and inner.end_s <= outer.end_s


def _inside(span: Span, parts: Sequence[_Named]) -> list[_Named]:
    return [part for part in parts if _holds(span, part.span)]


def _around(group: Sequence[_Named]) -> Span:
    return Span(group[0].span.begin_s, group[-1].span.end_s)


def _label(group: Sequence[_Named]) -> str:
    if len(group) == 1:
        return group[0].name
    return f"steps {group[0].name.removeprefix('step ')} to {group[-1].name.removeprefix('step ')}"


class _Reader:
    """The joules of the counted domains together, up to any moment."""

    def __init__(self, trace: Trace, parts: Sequence[_Named], doubts: Sequence[Concern]) -> None:
        self._trace = trace
        self._parts = parts
        self._stairs = [one for one in stairs_of(trace) if one.series.domain.counted]
        self._levels = [Level(one) for one in self._stairs]
        devices = {one.series.domain.device for one in self._stairs} | {""}
        self._doubts = [doubt for doubt in doubts if doubt.device in devices]
        self.tick_s = max((one.tick_s or 0.0 for one in self._stairs), default=0.0)

    def window(self, label: str, span: Span, steps: Sequence[_Named]) -> TrainingWindow:
        reckoned = [reckon(one, [Piece(span, None)]) for one in self._stairs]
        found: list[tuple[Quality, str]] = [(one.quality, one.reason) for one in reckoned]
        found.extend((doubt.quality, doubt.reason) for doubt in self._doubts)
        if not reckoned:
            found.append(("invalid", "the sensor has no counted domain"))
        quality = worst([quality for quality, _ in found])
        reason = next((reason for one, reason in found if one == quality), "")
        if quality == "invalid":
            return TrainingWindow(label, None, span.duration_s, len(steps), (), quality, reason)
        whole = self._widened(self._energy([span], span), span, reckoned)
        parts = self._split(span, whole)
        return TrainingWindow(label, whole, span.duration_s, len(steps), parts, quality, reason)

    def _split(self, span: Span, whole: Estimate) -> tuple[PartEnergy, ...]:
        """The parts in a span and what is left; none where no part was marked."""
        inside = _inside(span, self._parts)
        by_name = {name: [one.span for one in inside if one.name == name] for name in PARTS}
        found = [
            PartEnergy(name, self._part(spans, span, whole), math.fsum(one.duration_s for one in spans))
            for name, spans in by_name.items()
            if spans
        ]
        if not found:
            return ()
        rest_s = span.duration_s - math.fsum(part.duration_s for part in found)
        rest_j = whole.value - math.fsum(part.energy.value for part in found)
        attributed = any(part.energy.origin == "attributed" for part in found)
        half = math.hypot(*(max(part.energy.own.below_90, part.energy.own.above_90) for part in found))
        half = math.hypot(half, whole.own.above_90)
        rest = Estimate(
            value=rest_j,
            unit="J",
            origin="attributed" if attributed else "measured",
            method="the whole minus its parts",
            n=len(inside),
            common=_gain(self._stairs, rest_j),
            own=own_spread(Reckoned(0.0, half, half, "good")),
            common_with=whole.common_with,
        )
        return (*found, PartEnergy("rest", rest, rest_s))

    def _part(self, spans: Sequence[Span], within: Span, whole: Estimate) -> Estimate:
        mean_s = math.fsum(span.duration_s for span in spans) / len(spans)
        if mean_s >= _FEW_TICKS * self.tick_s:
            return self._energy(spans, within)
        joules = self._joules(spans)
        below, above = max(joules, 0.0), max(whole.value - joules, 0.0)
        return Estimate(
            value=joules,
            unit="J",
            origin="attributed",
            method="by time, within ticks of the counter",
            n=len(spans),
            common=_gain(self._stairs, joules),
            own=own_spread(Reckoned(0.0, below, above, "good")),
            common_with=whole.common_with,
        )

    def _widened(self, whole: Estimate, span: Span, reckoned: Sequence[Reckoned]) -> Estimate:
        """The joules of a span with all in their bounds that a doubt about an end of it leaves open."""
        pairs = [
            (level.between(span), one)
            for level, one in zip(self._levels, reckoned, strict=True)
            if one.quality != "good"
        ]
        below_j = math.hypot(*(max(shown_j - one.energy_j + one.below_j, 0.0) for shown_j, one in pairs))
        above_j = math.hypot(*(max(one.energy_j + one.above_j - shown_j, 0.0) for shown_j, one in pairs))
        below_j, above_j = max(below_j, whole.own.below_90), max(above_j, whole.own.above_90)
        return replace(whole, own=own_spread(Reckoned(0.0, below_j, above_j, "degraded"))) if pairs else whole

    def _energy(self, spans: Sequence[Span], within: Span) -> Estimate:
        """Joules of the spans; each end is known to a tick."""
        tick_j = math.hypot(
            *(
                level.between(within) / within.duration_s * (one.tick_s or 0.0)
                for one, level in zip(self._stairs, self._levels, strict=True)
            )
        )
        half = UNIFORM_90 * tick_j * math.sqrt(len(spans) / 2)
        joules = self._joules(spans)
        return Estimate(
            value=joules,
            unit="J",
            origin="measured",
            method="counter, read at the ends",
            n=len(spans),
            common=_gain(self._stairs, joules),
            own=own_spread(Reckoned(0.0, half, half, "good")),
            common_with=common_name(self._trace, [one.series.domain for one in self._stairs]),
        )

    def _joules(self, spans: Sequence[Span]) -> float:
        return math.fsum(level.between(span) for level in self._levels for span in spans)


def _gain(stairs: Sequence[Staircase], joules: float) -> Spread:
    """The declared error of the sensors, for joules of all of them: that of the worst."""
    return max((gain_spread(one.series.domain, joules) for one in stairs), key=lambda s: s.above_90)
