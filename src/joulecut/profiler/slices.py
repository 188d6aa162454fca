"""The part of a long recording that tells of one window."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.idle import PAUSE
from joulecut.profiler.records import Trace

__all__ = ["around"]

_MARGIN_TICKS: Final = 3
_MARGIN_S: Final = 0.02


def around(recorder: Recorder, name: str, begin_s: float, end_s: float) -> Trace:
    """How the sensor ticks (what was read before the first mark), the idle times, and one window.

    Readings are kept up to three ticks before and after each of them.

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
    spans = [(-math.inf, trace.marks[0].at_s), (begin_s, end_s)]
    spans += [(first.at_s, last.at_s) for first, last in zip(idle[::2], idle[1::2], strict=False)]
    margin_s = _MARGIN_S + _MARGIN_TICKS * max((tick_s or 0.0 for tick_s in recorder.ticks_s), default=0.0)
    reads = tuple(
        read
        for read in trace.reads
        if any(low - margin_s <= read.end_s and read.begin_s <= high + margin_s for low, high in spans)
    )
    marks = tuple(sorted([*idle, *inside], key=lambda mark: mark.at_s))
    return replace(trace, reads=reads, marks=marks)
