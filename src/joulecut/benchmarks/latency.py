"""Timing of loaded networks: warm-up until it is over, then call by call in turn with the first network.

A machine that others use too drifts by tens of percent within seconds. Two networks timed one after the other
meet two machines; timed in quads a b b a they meet the same one, and what drifts cancels in log(b / a).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from joulecut.benchmarks.records import LatencyReport
from joulecut.benchmarks.statistics import quantile_estimate
from joulecut.errors import NothingMeasured

__all__ = [
    "Round",
    "Runnable",
    "WarmUp",
    "cpu_clock",
    "latency_report",
    "measure_round",
    "undisturbed",
    "warm_up",
]

CALLS_FOR_P90: Final = 64
CALLS_FOR_P99: Final = 662
"""Floors of MLPerf LoadGen's early stopping for its 90th and 99th percentile at 99 % confidence."""

_BLOCK_S: Final = 0.05
_BLOCKS: Final = 3
_AGREEMENT: Final = 1.05
_SLOW_START_CALLS: Final = 64
_SLOW_START_S: Final = 0.5
"""Blocks may agree within a slow start: neither this many calls nor this long is taken for settled."""


_Call = tuple[int, int]
"""Wall time and CPU time of a call, in ns."""


class Runnable(Protocol):
    """What can be timed: ``run()`` is one inference."""

    def run(self) -> None:
        """One inference."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How the warm-up of one session went: its length, a call's median at its end, whether it settled."""

    seconds: float
    call_s: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Round:
    """One round on fresh sessions.

    Attributes:
        wall_s: seconds per call, one array a network.
        cpu_s: CPU seconds of the same calls.
        wall_logs: log(b / a) by wall time of every quad, one array for each network but the first.
        cpu_logs: the same by CPU time.
        elapsed_s: wall time of the whole round.
        busy_s: CPU time of the whole round. Calls alone hide a crowded machine: the kernel looks at the clock
            when CPU time is read, so that short calls are preempted between their timings.
    """

    wall_s: tuple[NDArray[np.float64], ...]
    cpu_s: tuple[NDArray[np.float64], ...]
    wall_logs: tuple[NDArray[np.float64], ...]
    cpu_logs: tuple[NDArray[np.float64], ...]
    elapsed_s: float
    busy_s: float


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector off; its state is restored."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def cpu_clock(threads: int) -> Callable[[], int]:
    """A clock of CPU time in ns: the calling thread's where it does all the work, else the process's."""
    return time.thread_time_ns if threads == 1 else time.process_time_ns


def warm_up(network: Runnable, cap_s: float) -> WarmUp:
    """Run until the medians of three blocks in a row agree within 5 %, at most ``cap_s`` seconds.

    A block is 50 ms of calls, less where the cap leaves less. Nothing is settled before 64 calls or 0.5 s.
    """
    block_s = min(_BLOCK_S, cap_s / _BLOCKS)
    start = time.perf_counter()
    calls = 0
    medians: list[float] = []
    while True:
        block = _block(network, block_s)
        calls += len(block)
        medians.append(statistics.median(block))
        latest = medians[-_BLOCKS:]
        agree = len(latest) == _BLOCKS and max(latest) <= _AGREEMENT * min(latest)
        elapsed = time.perf_counter() - start
        settled = agree and (calls >= _SLOW_START_CALLS or elapsed >= _SLOW_START_S)
        if settled or elapsed >= cap_s:
            return WarmUp(elapsed, medians[-1], settled)


def _block(network: Runnable, seconds: float) -> list[float]:
    """Seconds of every call of a block; at least one call."""
    calls: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    while not calls or now < end:
        start = now
        network.run()
        now = time.perf_counter()
        calls.append(now - start)
    return calls


def measure_round(
    networks: Sequence[Runnable], seconds: float, *, clock: Callable[[], int], prime: bool
) -> Round:
    """Time the first network alone, or in quads with each of the others in turn: a b b a, then b a a b.

    Who begins changes, as the first call of a quad comes after this loop's own work.

    Args:
        networks: loaded and warmed up; at least one.
        seconds: how long; each network is timed at least once, whatever this says.
        clock: CPU time in ns.
        prime: run each network once, untimed, before each timed call: networks that do not fit into the
            cache together would else be timed while they fetch their weights.
    """

    def timed(network: Runnable) -> tuple[int, int]:
        if prime:
            network.run()
        cpu = clock()
        start = time.perf_counter_ns()
        network.run()
        end = time.perf_counter_ns()
        return end - start, clock() - cpu

    first, others = networks[0], networks[1:]
    alone: list[_Call] = []
    quads: list[list[tuple[_Call, ...]]] = [[] for _ in others]
    start, busy = time.perf_counter(), clock()
    with undisturbed():
        while True:
            if not others:
                alone.append(timed(first))
            for other, taken in zip(others, quads, strict=True):
                if len(taken) % 2:
                    b1, a1, a2, b2 = timed(other), timed(first), timed(first), timed(other)
                else:
                    a1, b1, b2, a2 = timed(first), timed(other), timed(other), timed(first)
                taken.append((a1, b1, b2, a2))
            if time.perf_counter() - start >= seconds:
                break
    return _round(alone, quads, time.perf_counter() - start, (clock() - busy) / 1e9)


def _round(
    alone: list[_Call], quads: list[list[tuple[_Call, ...]]], elapsed_s: float, busy_s: float
) -> Round:
    pairs = [np.maximum(np.array(taken, float), 1.0) / 1e9 for taken in quads]  # (quad, a b b a, wall or CPU)
    if not pairs:
        calls = [np.maximum(np.array(alone, float), 1.0) / 1e9]
    else:
        calls = [np.concatenate([p[:, ::3] for p in pairs]).reshape(-1, 2)]
        calls += [p[:, 1:3].reshape(-1, 2) for p in pairs]
    logs = [_quad_logs(p) for p in pairs]
    return Round(
        wall_s=tuple(c[:, 0] for c in calls),
        cpu_s=tuple(c[:, 1] for c in calls),
        wall_logs=tuple(log[:, 0] for log in logs),
        cpu_logs=tuple(log[:, 1] for log in logs),
        elapsed_s=elapsed_s,
        busy_s=busy_s,
    )


def _quad_logs(quads: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(b / a) of geometric means: one spike moves it less than it moves a sum."""
    logs = np.log(quads)
    return np.asarray((logs[:, 1] + logs[:, 2] - logs[:, 0] - logs[:, 3]) / 2)


def latency_report(
    file: str,
    rounds: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    contended: bool,
    settings: dict[str, str],
) -> LatencyReport:
    """Quantiles of all calls of one network.

    Args:
        file: the .onnx file.
        rounds: wall seconds and CPU seconds per call, one pair of arrays a session.
        contended: whether the machine was busy.
        settings: what to record with it.

    Raises:
        NothingMeasured: too few calls for a median with its interval.
    """
    wall = [w for w, _ in rounds]
    calls = sum(map(len, wall))
    median = quantile_estimate(wall, 0.5, "wall time") if calls else None
    cpu = quantile_estimate([c for _, c in rounds], 0.5, "CPU time") if calls else None
    if median is None or cpu is None:
        raise NothingMeasured(
            f"{calls} timed calls of {file} are too few to say anything.", hint="Allow more seconds."
        )
    return LatencyReport(
        file=file,
        calls=calls,
        p50_s=median,
        p90_s=quantile_estimate(wall, 0.9, "wall time") if calls >= CALLS_FOR_P90 else None,
        p99_s=quantile_estimate(wall, 0.99, "wall time") if calls >= CALLS_FOR_P99 else None,
        cpu_s=cpu,
        energy=None,
        contended=contended,
        settings=settings,
    )
