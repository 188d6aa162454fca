"""Work that is repeated until the joules of one iteration are known closely enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from joulecut.errors import UsageError
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import align, record_idle, settle, tick_now_s
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.gpu_queue import finish_gpu_work
from joulecut.profiler.idle import PAUSE
from joulecut.profiler.instep import Rhythm, delays_after, rhythm

__all__ = ["Patience", "record_repeated"]

Work = Callable[[], object]

_WARM_TICKS: Final = 3
_WARM_SLOW_S: Final = 1.0
"""Slow counters lag behind the load: what follows a change of load within this time is not counted."""
_WARM_QUICK_S: Final = 0.1
_MARK_S: Final = 0.001
_READS: Final = 10
_STEP_TICKS: Final = 50
"""Least length of a window with delays: 2.6 % was left in 20 ticks and 1.3 % in 50, in simulation."""
_IDLE_TICKS: Final = 5
_IDLE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long work is repeated.

    Attributes:
        min_s: the least time that is measured.
        max_s: the most; at least one iteration is measured however long it takes.
        half_width: relative half width of the 90 % interval of one iteration at which it is enough, without
            the sensor's declared error.
        idle_s: idle time that is measured before and after; 0 for none.
    """

    min_s: float = 2.0
    max_s: float = 30.0
    half_width: float = 0.02
    idle_s: float = 3.0

    def __post_init__(self) -> None:
        if not (0 < self.min_s <= self.max_s < float("inf")):
            raise UsageError(
                f"cannot measure for {self.min_s} to {self.max_s} s.", hint="Give 0 < min_s <= max_s."
            )
        if not (self.half_width > 0 and 0 <= self.idle_s < float("inf")):
            raise UsageError("half_width must be positive, and idle_s 0 or more.")


def record_repeated(recorder: Recorder, work: Work, label: str, patience: Patience) -> None:
    """Repeat work in windows of one name until its interval is narrow, and record that.

    Args:
        recorder: one whose ticks were found.
        work: what is repeated.
        label: the name of the windows.
        patience: how long.
    """
    record_idle(recorder, patience.idle_s, "before")
    spent_s = 0.0
    delayed = False
    warm_s = 0.0 if recorder.columns(slow=True) else _warm_up(recorder, work, again=False)
    with recorder.polled(patience.max_s / _READS + 2 * warm_s):
        while True:
            iteration_s = warm_s or _warm_up(recorder, work, again=spent_s > 0)
            warm_s = 0.0
            window_s = patience.min_s if spent_s == 0 else min(spent_s, patience.max_s - spent_s)
            step = _in_step(recorder, iteration_s, window_s)
            if step:
                window_s = max(window_s, min(_STEP_TICKS * step.tick_s, patience.max_s - spent_s))
            delayed = delayed or step is not None
            align(recorder)
            spent_s += _window(recorder, work, label, window_s, iteration_s, step)
            settle(recorder)
            if spent_s + patience.min_s / 2 > patience.max_s or _narrow(recorder, label, patience):
                break
    tick_s = max((tick or 0.0 for tick in recorder.ticks_s), default=0.0)
    needed_s = max(_IDLE_TICKS * tick_s, _IDLE_S) if delayed else 0.0
    record_idle(recorder, max(patience.idle_s, needed_s), "after")


def _warm_up(recorder: Recorder, work: Work, *, again: bool) -> float:
    """Run what is not counted; the seconds that one iteration takes."""
    slow = [recorder.ticks_s[column] or 0.0 for column in recorder.columns(slow=True)]
    ticks_s = _WARM_TICKS * max(slow, default=0.0)
    warm_s = ticks_s if again else max(ticks_s, _WARM_SLOW_S if slow else _WARM_QUICK_S)
    begin_s = now_s = recorder.clock.now_s()
    done = 0
    long_s: list[float] = []
    while done == 0 or now_s - begin_s < warm_s:
        before_s = now_s
        work()
        finish_gpu_work()
        done += 1
        now_s = recorder.clock.now_s()
        if now_s - before_s >= _MARK_S:
            long_s.append(now_s - before_s)
    if len(long_s) > done / 2:  # the median, of which a program that was held up now and then takes nothing
        return sorted(long_s)[len(long_s) // 2]
    return max((now_s - begin_s) / done, 1e-9)


@dataclass(frozen=True, slots=True)
class _Step:
    """Iterations that run in step with a column of the sensor."""

    column: int
    rhythm: Rhythm
    tick_s: float

    def delay(self, recorder: Recorder, done: int, passed_s: float, number: int) -> None:
        """Delay the next iteration."""
        with recorder.pause(PAUSE) as begin_s:
            delay_s = self.rhythm.delay_s(done, passed_s, number, tick_now_s(recorder, self.column))
            recorder.clock.sleep_s(max(delay_s - (recorder.clock.now_s() - begin_s), 0.0))


def _in_step(recorder: Recorder, iteration_s: float, window_s: float) -> _Step | None:
    """Whether the iterations run in step with one of the slow counters."""
    for column in recorder.columns(slow=True):
        tick_s = tick_now_s(recorder, column)
        found = rhythm(iteration_s, tick_s, window_s) if window_s > 2 * tick_s else None
        if found:
            return _Step(column, found, tick_s)
    return None


def _window(
    recorder: Recorder, work: Work, label: str, window_s: float, iteration_s: float, step: _Step | None
) -> float:
    """One window of iterations; its length in seconds."""
    calls = max(1, round(_MARK_S / iteration_s))
    delays, total = delays_after(window_s, step.tick_s, iteration_s) if step else ((), math.inf)
    longest_s = window_s + iteration_s + step.tick_s if step else window_s
    reads_s = [window_s * k / _READS for k in range(1, _READS)] if recorder.columns(slow=False) else []
    done = number = 0
    begin_s = recorder.begin(label)
    while True:
        for _ in range(calls):
            work()
        finish_gpu_work()
        done += calls
        passed_s = recorder.mark("iteration", label, calls) - begin_s
        if passed_s >= longest_s or done >= total:
            break
        if reads_s and passed_s >= reads_s[0]:
            reads_s = [at_s for at_s in reads_s if at_s > passed_s]
            recorder.read()
        if step and number < len(delays) and done >= delays[number]:
            number += 1
            step.delay(recorder, done, passed_s, number)
    return recorder.end(label) - begin_s


def _narrow(recorder: Recorder, label: str, patience: Patience) -> bool:
    """Whether one iteration is known closely enough, or never will be."""
    measured = evaluate(recorder.trace(), label)
    each = measured.per_iteration
    if each is None:
        return measured.quality == "invalid"
    return max(each.own.below_90, each.own.above_90) <= patience.half_width * abs(each.value)
