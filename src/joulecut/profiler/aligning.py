"""Finding the ticks of counters, and waiting for them at the ends of a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.records import Read
from joulecut.profiler.ticks import Staircase, staircase
from joulecut.profiler.wraps import unwrap

__all__ = ["align", "find_ticks", "record_idle", "settle", "tick_now_s"]

_FIND_S: Final = 2.5
_DENSE_S: Final = 0.064
"""Reading as fast as possible for this long shows ticks of up to 10 ms; then once a millisecond."""
_FIRST_CHECK_S: Final = 0.016
_CHECK_S: Final = 0.1
_ENOUGH_STEPS: Final = 6
_NAP_S: Final = 0.001
_SPIN_NAP_S: Final = 1e-5
_GAUGE_S: Final = 0.15
"""A gauge shows what was drawn up to a period later; the longest period known is 0.1 s."""
_PATIENCE_TICKS: Final = 12
_PATIENCE_S: Final = 0.6
"""A step is waited for until the counter counts as stuck, which takes ten ticks and half a second."""


def find_ticks(recorder: Recorder) -> None:
    """Read until every counted counter has made six steps, at most 2.5 s, and keep the readings.

    The periods are in ``recorder.ticks_s`` then; None for a counter that did not step often enough.
    """
    begin_s = recorder.clock.now_s()
    check_s = begin_s + _FIRST_CHECK_S
    reads: list[Read] = []
    while True:
        read = _next_read(recorder, _NAP_S if recorder.clock.now_s() > begin_s + _DENSE_S else 0.0)
        if len(reads) > 1 and read.counts == reads[-1].counts == reads[-2].counts:
            reads[-1] = read
        else:
            reads.append(read)
        if read.end_s < check_s:
            continue
        check_s = min(begin_s + 2 * (check_s - begin_s), read.end_s + _CHECK_S)
        stairs = _staircases(recorder, reads)
        if read.end_s >= begin_s + _FIND_S or all(map(_settled, stairs)):
            break
    recorder.ticks_s = tuple(one.tick_s for one in stairs)


def tick_now_s(recorder: Recorder, column: int) -> float:
    """The tick of one counter by all that was read so far, in seconds: the longer, the more exact."""
    series = unwrap(recorder.domains[column], column, recorder.reads)
    return staircase(series).tick_s or recorder.ticks_s[column] or 0.0


def _staircases(recorder: Recorder, reads: Sequence[Read]) -> list[Staircase]:
    series = [unwrap(domain, column, reads) for column, domain in enumerate(recorder.domains)]
    return [
        staircase(one) if one.domain.kind == "counter" else Staircase(one, (), None, (), 0.0)
        for one in series
    ]


def _settled(stairs: Staircase) -> bool:
    domain = stairs.series.domain
    if domain.kind == "gauge" or not domain.counted:
        return True
    return stairs.tick_s is not None and len(stairs.edges) >= _ENOUGH_STEPS


def _next_read(recorder: Recorder, nap_s: float) -> Read:
    """A reading after a nap; where reading takes no time by the clock, time is let pass nevertheless."""
    before_s = recorder.clock.now_s()
    read = recorder.read()
    if nap_s or recorder.clock.now_s() <= before_s:
        recorder.clock.sleep_s(nap_s or _SPIN_NAP_S)
    return read


def align(recorder: Recorder) -> None:
    """Wait for the next step of the quick counters, so that what begins now begins on a tick."""
    _await_steps(recorder, recorder.columns(slow=False), 0.0)


def settle(recorder: Recorder) -> None:
    """Read on until every counted counter has stepped once more, so that what ended now is bounded, and
    until gauges show it."""
    _await_steps(recorder, recorder.columns(slow=False), 0.0)
    _await_steps(recorder, recorder.columns(slow=True), _NAP_S)
    gauges = [column for column, domain in enumerate(recorder.domains) if domain.kind == "gauge"]
    end_s = recorder.clock.now_s() + _GAUGE_S
    while gauges and _next_read(recorder, _NAP_S).end_s < end_s:
        pass


def _await_steps(recorder: Recorder, columns: Sequence[int], nap_s: float) -> None:
    """Read until each of the columns has changed, or has had the time for many steps and did not."""
    if not columns:
        return
    first = recorder.read()
    slowest_s = max(recorder.ticks_s[column] or 0.0 for column in columns)
    patience_s = max(_PATIENCE_TICKS * slowest_s, _PATIENCE_S)
    waiting = set(columns)
    while waiting:
        read = _next_read(recorder, nap_s)
        waiting = {column for column in waiting if read.counts[column] == first.counts[column]}
        if read.end_s >= first.end_s + patience_s:
            break


def record_idle(recorder: Recorder, duration_s: float, name: str) -> None:
    """Do nothing for a while, between two readings on ticks; nothing at all for 0 s."""
    if duration_s <= 0:
        return
    with recorder.polled(duration_s):
        align(recorder)
        recorder.read()
        recorder.mark("idle_begin", name)
        recorder.clock.sleep_s(duration_s)
        recorder.mark("idle_end", name)
        recorder.read()
        settle(recorder)
