"""The part of a long recording that tells of one window."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import replace
from typing import Final

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.idle import PAUSE
from joulecut.profiler.records import Trace

__all__ = ["around"]

_MARGIN_TICKS: Final = 3
_MARGIN_S: Final = 0.02
_MOST_S: Final = 2.0
"""A counter that stands still for longer is stuck."""


def around(recorder: Recorder, name: str, begin_s: float, end_s: float) -> Trace:
    """How the sensor ticks (what was read before the first mark), the idle times, and one window.

    Readings are kept up to three ticks before and after each of them, and until every counter has moved:
    where one stood still about an end of the window, all of its rest is kept.

    Args:
        recorder: the recording.
        name: of the window.
        begin_s, end_s: the times of its marks.
    """
    trace = recorder.trace()
    idle = [mark for mark in trace.marks if mark.kind in ("idle_begin", "idle_end") and mark.name != PAUSE]
    inside = [
        mark
        for mark in trace.marks
        if begin_s <= mark.at_s <= end_s and mark.name == name and mark not in idle
    ]
    margin_s = _MARGIN_S + _MARGIN_TICKS * max((tick_s or 0.0 for tick_s in recorder.ticks_s), default=0.0)
    spans = [(-math.inf, trace.marks[0].at_s), (begin_s, end_s)]
    spans += [(first.at_s, last.at_s) for first, last in zip(idle[::2], idle[1::2], strict=False)]
    kept = [
        (_moved_s(trace, low, -1, low - margin_s), _moved_s(trace, high, 1, high + margin_s))
        for low, high in spans
    ]
    reads = tuple(
        read for read in trace.reads if any(low <= read.end_s and read.begin_s <= high for low, high in kept)
    )
    marks = tuple(sorted([*idle, *inside], key=lambda mark: mark.at_s))
    return replace(trace, reads=reads, marks=marks)


def _moved_s(trace: Trace, from_s: float, step: int, least_s: float) -> float:
    """The time of the first reading, forwards or backwards, at which every counted counter has moved.

    Args:
        trace: the readings.
        from_s: where to begin.
        step: 1 forwards, -1 backwards.
        least_s: what is given back at least.
    """
    reads = trace.reads
    at = bisect_left(reads, from_s, key=lambda read: read.begin_s) - (step < 0)
    waiting = {
        column for column, domain in enumerate(trace.domains) if domain.counted and domain.kind == "counter"
    }
    seen: dict[int, int] = {}
    moved_s = least_s
    while waiting and 0 <= at < len(reads) and abs(reads[at].begin_s - from_s) <= _MOST_S:
        moved_s = reads[at].end_s if step > 0 else reads[at].begin_s
        for column in tuple(waiting):
            count = reads[at].counts[column]
            if count is not None and seen.setdefault(column, count) != count:
                waiting.discard(column)
        at += step
    return max(moved_s, least_s) if step > 0 else min(moved_s, least_s)
