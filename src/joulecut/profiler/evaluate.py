"""A trace read: what was recorded becomes joules with intervals, by pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread, difference, total
from joulecut.profiler.domains import Piece, common_name, domain_energy, pieces_of, reckon, stairs_of
from joulecut.profiler.doubts import doubts_about, states_around
from joulecut.profiler.idle import Idle, idle_of
from joulecut.profiler.iterations import batch_costs
from joulecut.profiler.provenance import Concern
from joulecut.profiler.reckoned import Span, worst
from joulecut.profiler.records import DomainEnergy, Fact, Measurement, Quality, Trace
from joulecut.profiler.statistics import mean_half_widths
from joulecut.profiler.ticks import Staircase
from joulecut.units import format_quantity

__all__ = ["evaluate", "evaluate_all", "labels", "provenance_of"]

_LEAST_BATCHES: Final = 3
_LEFT: Final = 0.01
"""What eight delays leave of a pattern in step with the sensor: up to 1.3 % in simulated windows of 5 to 10 s
(300 W and 100 W by turns, iterations of 3 to 250 ms, ticks of 100 ms of which a quarter is looked at)."""


def labels(trace: Trace) -> tuple[str, ...]:
    """The names of the windows of a trace, in the order in which they first began."""
    return tuple(dict.fromkeys(mark.name for mark in trace.marks if mark.kind == "begin"))


def evaluate(trace: Trace, label: str | None = None) -> Measurement:
    """The measurement of one window of a trace.

    Stretches of the same name count as one window: their joules, times and iterations add up.

    Args:
        trace: what was recorded.
        label: the name of the window; by default the first one.

    Raises:
        UsageError: the trace has no window of that name.
    """
    names = labels(trace)
    label = label if label is not None else (names[0] if names else "")
    return _Reader(trace).measurement(label)


def evaluate_all(trace: Trace) -> tuple[Measurement, ...]:
    """The measurements of all windows of a trace, in the order of ``labels``."""
    reader = _Reader(trace)
    return tuple(reader.measurement(label) for label in labels(trace))


class _Reader:
    """What all windows of one trace share: its staircases and idle power."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._stairs = stairs_of(trace)
        self._idle = idle_of(trace, self._stairs)

    def measurement(self, label: str) -> Measurement:
        trace, idle = self._trace, self._idle
        pieces = pieces_of(trace, label)
        if not pieces:
            raise UsageError(
                f"the trace holds no finished window {label!r}.",
                hint=f"It holds {', '.join(map(repr, labels(trace))) or 'none'}.",
            )
        states = states_around(trace, Span(pieces[0].span.begin_s, pieces[-1].span.end_s))
        doubts = doubts_about(*states)
        domains = tuple(
            domain_energy(trace, stairs, reckon(stairs, pieces, idle.power_w(k) if idle else 0.0), doubts)
            for k, stairs in enumerate(self._stairs)
        )
        gross = _gross(trace, domains)
        duration_s = math.fsum(
            piece.span.duration_s - (piece.progress.paused_s if piece.progress else 0.0) for piece in pieces
        )
        rest = idle.energy(trace, duration_s) if idle else None
        iterations = sum(piece.progress.total if piece.progress else 1 for piece in pieces)
        return Measurement(
            label=label,
            sensor=trace.sensor,
            total=gross,
            per_iteration=self._per_iteration(gross, pieces, iterations),
            idle=rest,
            net=difference(gross, rest, method="gross minus idle") if gross and rest else None,
            domains=domains,
            duration_s=duration_s,
            iterations=iterations,
            quality=_quality(domains),
            reasons=(
                *_reasons(domains, doubts),
                *trace.unread,
                *(idle.reasons if idle else ()),
                *_pauses(trace),
            ),
            exit_code=trace.exit_code,
            states=(*states[0], *states[1]),
            provenance=provenance_of(trace),
        )

    def _per_iteration(
        self, gross: Estimate | None, pieces: Sequence[Piece], iterations: int
    ) -> Estimate | None:
        """The cost of one iteration: the counter's share, and how much stretches of the run differed."""
        if gross is None or iterations < 2:
            return None
        each = gross.scaled(1 / iterations)
        spread = _between_batches(self._stairs, pieces, self._idle)
        return replace(each, own=each.own.quadrature(spread), method=f"{each.method}, mean of {iterations}")


def _between_batches(stairs: Sequence[Staircase], pieces: Sequence[Piece], idle: Idle | None) -> Spread:
    """How much stretches of the run differed.

    With delays in it they differ on purpose; what is left of that is the share of the window that the delays
    could not even out, a tick of it.
    """
    spread = Spread()
    for column, one in enumerate(stairs):
        power_w = idle.power_w(column) if idle else 0.0
        costs: list[float] = []
        for piece in pieces:
            if not one.series.domain.counted or piece.progress is None:
                continue
            found = batch_costs(one, piece.progress, power_w)
            if not piece.progress.pauses:
                costs += found
            elif found:
                uneven = (max(found) - min(found)) / 2 * (one.tick_s or 0.0) / piece.span.duration_s
                half = math.hypot(uneven, _LEFT * max(found))
                spread = spread.quadrature(Spread(half / 2, half / 2, half, half))
        if len(costs) >= _LEAST_BATCHES:
            half_50, half_90 = mean_half_widths(costs)
            spread = spread.quadrature(Spread(half_50, half_50, half_90, half_90))
    return spread


def _gross(trace: Trace, domains: Sequence[DomainEnergy]) -> Estimate | None:
    """The sum of the counted domains; None where one of them has no figure."""
    counted = [domain for domain in domains if domain.counted]
    energies = [domain.energy for domain in counted if domain.energy is not None]
    if not counted or len(energies) < len(counted):
        return None
    if len(energies) == 1:
        return energies[0]
    summed = total(energies, unit="J", method=f"sum of {', '.join(domain.name for domain in counted)}")
    return replace(summed, common_with=common_name(trace, [d for d in trace.domains if d.counted]))


def _quality(domains: Sequence[DomainEnergy]) -> Quality:
    counted: list[Quality] = [domain.quality for domain in domains if domain.counted]
    return worst(counted) if counted else "invalid"


def _reasons(domains: Sequence[DomainEnergy], doubts: Sequence[Concern]) -> tuple[str, ...]:
    """Every doubt about what is counted, each once."""
    own = [
        domain.reason if domain.reason.startswith(domain.name) else f"{domain.name}: {domain.reason}"
        for domain in domains
        if domain.counted and domain.reason and domain.reason not in {doubt.reason for doubt in doubts}
    ]
    return tuple(dict.fromkeys([*(doubt.reason for doubt in doubts), *own]))


def _pauses(trace: Trace) -> tuple[str, ...]:
    if not trace.delays_s:
        return ()
    mean = format_quantity(math.fsum(trace.delays_s) / len(trace.delays_s), "s", 2)
    return (
        f"{len(trace.delays_s)} delays of {mean} were put between iterations, which ran in step with the "
        "sensor; their idle energy is taken off",
    )


def provenance_of(trace: Trace) -> dict[str, Fact]:
    """How it was measured: the machine, the programs, and why this sensor."""
    chosen = "; ".join(sentence.rstrip(".") for sentence in trace.chosen)
    return {**trace.environment, "sensor_chosen": chosen} if chosen else dict(trace.environment)
