"""A benchmark under way: rounds on fresh sessions, and when they are enough."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from joulecut.benchmarks import machine
from joulecut.benchmarks.latency import Round, WarmUp, cpu_clock, latency_report, measure_round, warm_up
from joulecut.benchmarks.records import Comparison, LatencyReport, PairRatio
from joulecut.benchmarks.session import Settings, open_session
from joulecut.benchmarks.statistics import quantile_estimate, ratio_estimate
from joulecut.benchmarks.verdicts import verdict
from joulecut.estimate import Estimate

__all__ = ["Run"]

_Clock = Literal["wall time", "CPU time"]

_WARM_UP_CAP_S: Final = 2.0
_WARM_UP_SHARE: Final = 0.4
_ROUNDS: Final = 4
"""Rounds to plan for; an even number, as who is loaded first changes from round to round."""
_ROUND_S: Final = 0.5
_QUADS_A_ROUND: Final = 8
_BUSY_RATIO: Final = 1.2
_STOLEN: Final = 0.02


@dataclass(slots=True)
class Run:
    """A benchmark under way: what was asked for, and the rounds so far.

    Its end is a ``Comparison``; see ``joulecut.benchmarks.compare.benchmark``.
    """

    files: list[str]
    settings: Settings
    margin: float
    max_seconds: float
    rounds: list[Round] = field(default_factory=list)
    warm_ups: list[list[WarmUp]] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)
    ticks: tuple[int, ...] = field(default_factory=machine.tick_counts)

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def done(self) -> bool:
        """Whether the time is up or everything is known within a quarter of the margin."""
        if self.elapsed_s() >= self.max_seconds:
            return True
        if len(self.rounds) < _ROUNDS or len(self.rounds) % 2:
            return False
        return all(_half_width(estimate) <= self.margin / 4 for estimate in self._decisive())

    def _decisive(self) -> list[Estimate]:
        if len(self.files) == 1:
            median = quantile_estimate([r.wall_s[0] for r in self.rounds], 0.5, "wall time")
            return [median] if median else []
        which: _Clock = "CPU time" if self.contended() else "wall time"
        return [self._ratio(index, which) for index in range(len(self.files) - 1)]

    def _ratio(self, index: int, which: _Clock) -> Estimate:
        logs = [(r.cpu_logs if which == "CPU time" else r.wall_logs)[index] for r in self.rounds]
        return ratio_estimate(logs, which)

    def waiting(self) -> float | None:
        """Wall time over CPU time of all rounds; None where several threads share the work."""
        if self.settings.threads > 1:
            return None
        return sum(r.elapsed_s for r in self.rounds) / max(sum(r.busy_s for r in self.rounds), 1e-9)

    def stolen(self) -> float:
        """Share of CPU time that the hypervisor gave to others since the start."""
        return machine.stolen_share(self.ticks, machine.tick_counts())

    def contended(self) -> bool:
        """We waited for the processor for a fifth of our CPU time, or the hypervisor took more than 2 %."""
        return (self.waiting() or 1.0) > _BUSY_RATIO or self.stolen() > _STOLEN

    def add_round(self) -> None:
        """Load every file afresh, warm up, and time for a while."""
        cap = min(_WARM_UP_CAP_S, _WARM_UP_SHARE * self.max_seconds / (_ROUNDS * len(self.files)))
        order = range(len(self.files))[:: -1 if len(self.rounds) % 2 else 1]  # first in memory by turns
        opened = {index: open_session(self.files[index], self.settings) for index in order}
        sessions = [opened[index] for index in range(len(self.files))]
        warm_ups = [warm_up(session, cap) for session in sessions]
        self.warm_ups.append(warm_ups)
        seconds = min(self._wanted_s(warm_ups), self._left_s())
        clock = cpu_clock(self.settings.threads)
        self.rounds.append(measure_round(sessions, seconds, clock=clock, prime=self.prime()))

    def prime(self) -> bool:
        """Whether the files do not fit into the second-level cache together."""
        cache = machine.second_level_cache_bytes()
        return cache is not None and sum(Path(file).stat().st_size for file in self.files) > cache

    def _wanted_s(self, warm_ups: list[WarmUp]) -> float:
        pairs = max(len(self.files) - 1, 1)
        quads = sum(2 * (warm_ups[0].call_s + other.call_s) for other in warm_ups[1:])
        return max(_ROUND_S * pairs, _QUADS_A_ROUND * quads * (2 if self.prime() else 1))

    def _left_s(self) -> float:
        """Seconds of this round: each of the planned ones may use up to its share of the time."""
        share = min((len(self.rounds) + 1) / _ROUNDS, 1.0)
        return share * self.max_seconds - self.elapsed_s()

    def comparison(self) -> Comparison:
        """What is known so far.

        Raises:
            NothingMeasured: too few calls for a median with its interval.
        """
        contended = bool(self.rounds) and self.contended()
        models = tuple(self._report(index, contended) for index in range(len(self.files)))
        pairs = tuple(self._pair(index, contended) for index in range(len(self.files) - 1))
        waiting = self.waiting()
        provenance = machine.facts() | {
            "sessions": str(len(self.rounds)),
            "duration_s": f"{self.elapsed_s():.2f}",
            "wall_over_cpu": "unknown" if waiting is None else f"{waiting:.3f}",
            "stolen": f"{self.stolen():.4f}",
            "margin": f"{self.margin:g}",
        }
        return Comparison(models, pairs, provenance)

    def _report(self, index: int, contended: bool) -> LatencyReport:
        warm_ups = [w[index] for w in self.warm_ups]
        settings = self.settings.as_text() | {
            "batch": "1 where free",
            "primed": "yes" if self.prime() else "no",
            "warm_up_s": " ".join(f"{w.seconds:.2f}" for w in warm_ups),
            "warm_up": "settled" if all(w.settled for w in warm_ups) else "cut off at its limit",
        }
        calls = [(r.wall_s[index], r.cpu_s[index]) for r in self.rounds]
        return latency_report(self.files[index], calls, contended=contended, settings=settings)

    def _pair(self, index: int, contended: bool) -> PairRatio:
        wall, cpu = self._ratio(index, "wall time"), self._ratio(index, "CPU time")
        count = len(self.rounds)
        return PairRatio(
            a=self.files[0],
            b=self.files[index + 1],
            ratio=wall,
            cpu_ratio=cpu,
            verdict=verdict(wall, cpu, margin=self.margin, contended=contended, sessions=count),
            margin=self.margin,
            contended=contended,
            sessions=count,
        )


def _half_width(estimate: Estimate) -> float:
    low, high = estimate.bounds(0.9)
    return (high - low) / 2 / estimate.value
