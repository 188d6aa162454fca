"""Each domain of a trace in a window: its joules, how much to believe of them, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulecut.estimate import Estimate, Spread
from joulecut.profiler.counters import block_energy
from joulecut.profiler.gauges import integrated_energy
from joulecut.profiler.iterations import Progress, progress_of, steady_energy
from joulecut.profiler.phases import even_power
from joulecut.profiler.provenance import Concern
from joulecut.profiler.reckoned import Reckoned, Span, joined
from joulecut.profiler.records import Domain, DomainEnergy, Trace
from joulecut.profiler.ticks import Staircase, staircase
from joulecut.profiler.wraps import unwrap

__all__ = [
    "Piece",
    "common_name",
    "domain_energy",
    "gain_spread",
    "own_spread",
    "pieces_of",
    "reckon",
    "stairs_of",
]

_UNIFORM_50: Final = 5 / 9
"""Half width at 50 % of a uniform distribution, over that at 90 %."""
_NORMAL_50: Final = 0.41
"""The same of a normal distribution: 0.6745 / 1.6449, its quantiles at 75 and 95 %."""


_WIDEST: Final = 0.25
"""Share of an iteration that may go unseen; with more, the power there is a guess."""
_CLOSED: Final = 0.15
"""Gap between neighbouring phases up to which the figure by phase is taken where delays were made: eight of
them lie an eighth apart. Over wider gaps its sum is coarser than the steady power, which the delays have
evened already: 1.2 % at p95 against 0.3 %, 30 ms iterations on ticks of 100 ms for 2 s, in simulation."""
_ENOUGH_TICKS: Final = 16
"""Two for each delay: with fewer, most of them hold a delay, and the phases are not known."""
_BENT: Final = 0.05
"""How far a figure may be from the one by phase before the work must have run in step with the sensor. Where
a sensor sees all of each tick the two were up to 1.5 % apart, one iteration in eight up to 16 ms late."""
_UNEVEN: Final = (
    "the iterations ran in step with the sensor, by times that varied, and were not delayed for it"
)
_UNSEEN: Final = (
    "the iterations ran in step with the sensor, and a part of them never came before it, as some were late"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of a window, with the iterations that ran in it (None: it ran once)."""

    span: Span
    progress: Progress | None


def stairs_of(trace: Trace) -> tuple[Staircase, ...]:
    """The columns of a trace; a gauge has no steps."""
    series = (unwrap(domain, column, trace.reads) for column, domain in enumerate(trace.domains))
    return tuple(
        staircase(one) if one.domain.kind == "counter" else Staircase(one, (), None, (), 0.0)
        for one in series
    )


def pieces_of(trace: Trace, label: str) -> tuple[Piece, ...]:
    """The stretches between ``begin`` and ``end`` of that name."""
    pieces: list[Piece] = []
    begin_s: float | None = None
    for mark in trace.marks:
        if mark.name != label:
            continue
        if mark.kind == "begin":
            begin_s = mark.at_s
        elif mark.kind == "end" and begin_s is not None:
            span = Span(begin_s, mark.at_s)
            pieces.append(Piece(span, progress_of(trace.marks, span)))
            begin_s = None
    return tuple(pieces)


def reckon(stairs: Staircase, pieces: Sequence[Piece], idle_w: float = 0.0) -> Reckoned:
    """The joules of one domain in a window, without the pauses in it."""
    return joined([_piece_energy(stairs, piece, idle_w) for piece in pieces])


def _piece_energy(stairs: Staircase, piece: Piece, idle_w: float) -> Reckoned:
    gauge = stairs.series.domain.kind == "gauge"
    block = integrated_energy(stairs.series, piece.span) if gauge else block_energy(stairs, piece.span)
    if piece.progress is None or block.quality == "invalid":
        return block
    steady = None if gauge else steady_energy(stairs, piece.progress, idle_w)
    if steady is not None:
        return _evened(stairs, piece.progress, steady)
    return replace(block, energy_j=block.energy_j - idle_w * piece.progress.paused_s)


def _evened(stairs: Staircase, progress: Progress, steady: Reckoned) -> Reckoned:
    """With every part of an iteration counted alike, where the work ran in step with the sensor.

    How far the two figures are apart is in the interval: the first misses what the sensor did not look at,
    the second takes all iterations to be alike, the late ones too.
    """
    even = even_power(stairs, progress)
    if even is None or even[1] > _WIDEST:
        unseen = progress.pauses and steady.ticks >= _ENOUGH_TICKS
        return replace(steady, quality="degraded", reason=_UNSEEN) if unseen else steady
    even_j = even[0] * (progress.span.duration_s - progress.paused_s)
    half_j = math.hypot(steady.above_j, even_j - steady.energy_j)
    wider = replace(steady, below_j=half_j, above_j=half_j)
    bent = abs(even_j - steady.energy_j) > _BENT * abs(even_j)
    closed = bool(progress.pauses) and even[1] <= _CLOSED
    if not closed and not bent:
        return wider
    evened = replace(wider, energy_j=even_j, method=f"{steady.method}, by phase")
    return evened if progress.pauses else replace(evened, quality="degraded", reason=_UNEVEN)


def domain_energy(
    trace: Trace, stairs: Staircase, reckoned: Reckoned, concerns: Sequence[Concern]
) -> DomainEnergy:
    """What is reported of one domain: the figure, unless a concern makes it invalid."""
    domain = stairs.series.domain
    mine = [concern for concern in concerns if concern.device in (domain.device, "")]
    quality, reason = reckoned.quality, reckoned.reason
    for concern in mine:
        if quality == "good" or (concern.quality == "invalid" and quality != "invalid"):
            quality, reason = concern.quality, concern.reason
    return DomainEnergy(
        name=domain.name,
        source=domain.source,
        counted=domain.counted,
        boundary=domain.boundary,
        energy=None if quality == "invalid" else _estimate(trace, domain, reckoned),
        quality=quality,
        reason=reason,
        tick_s=stairs.tick_s,
        ticks=reckoned.ticks,
        resolution_j=reckoned.resolution_j,
        begin_count=reckoned.begin_count,
        end_count=reckoned.end_count,
    )


def _estimate(trace: Trace, domain: Domain, reckoned: Reckoned) -> Estimate:
    return Estimate(
        value=reckoned.energy_j,
        unit="J",
        origin="measured",
        method=f"{domain.source}: {reckoned.method}",
        n=max(reckoned.ticks, 1),
        common=gain_spread(domain, reckoned.energy_j),
        own=own_spread(reckoned),
        common_with=common_name(trace, (domain,)),
    )


def own_spread(reckoned: Reckoned) -> Spread:
    """Ticks and quantum: where in a tick the window began and ended."""
    below, above = reckoned.below_j, reckoned.above_j
    return Spread(_UNIFORM_50 * below, _UNIFORM_50 * above, below, above)


def gain_spread(domain: Domain, value: float) -> Spread:
    """The declared error of the sensor, which is common to all its figures."""
    half = abs(value) * domain.gain
    return Spread(_NORMAL_50 * half, _NORMAL_50 * half, half, half)


def common_name(trace: Trace, domains: Sequence[Domain]) -> str:
    """What the gain of a sum is common to: these counters of this machine."""
    host = trace.environment.get("host", "")
    names = "+".join(domain.name for domain in domains)
    return f"{trace.sensor} {names}{f' of {host}' if host else ''}"
