"""Taking a trace: readings, marks and states of one sensor, in the order of time.

What touches the machine while something is measured is here and in ``aligning``; what the readings mean is
not.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from joulecut.profiler.clock import Clock
from joulecut.profiler.doubts import MACHINE
from joulecut.profiler.records import NOT_READ, DeviceState, Domain, Fact, Mark, Read, Trace
from joulecut.profiler.sensors.joined import JoinedSensor
from joulecut.profiler.sensors.sensor import Sensor
from joulecut.profiler.ticks import QUICK_TICK_S

__all__ = ["POLL_S", "Recorder"]

POLL_S: Final = 0.005
"""Between polls of a slow counter. With edges in the middle of such a gap, windows of 0.6 s with 100 ms ticks
were 0.4 % off (rms); with polls every 10 ms, 1.1 to 1.4 %."""
_WRAP_SHARE: Final = 3.0
_MANY: Final = 50_000
_NEAR_S: Final = 1.0

MarkKind = Literal["begin", "end", "idle_begin", "idle_end", "iteration"]


class Recorder:
    """Writes down what one sensor says; safe to be read by a poller beside the program.

    Of readings with the same counts in a row only the first and the last are kept: they hold all that the
    others would tell.

    Args:
        sensor: an open sensor.
        clock: the clock that the sensor was opened with.
        chosen: why this sensor.
        unread: devices that are there and that it does not read, with the reason.
        environment: facts about the machine.
    """

    def __init__(
        self,
        sensor: Sensor,
        clock: Clock,
        *,
        chosen: Sequence[str] = (),
        unread: Sequence[str] = (),
        environment: Mapping[str, Fact] | None = None,
    ) -> None:
        self.clock = clock
        self.domains: tuple[Domain, ...] = sensor.domains
        self.ticks_s: tuple[float | None, ...] = (None,) * len(sensor.domains)
        self._sensor = sensor
        self._chosen = tuple(chosen)
        self._unread = tuple(unread)
        self._environment = dict(environment or {})
        self._reads: list[Read] = []
        self._marks: list[Mark] = []
        self._states: list[DeviceState] = []
        self._delays_s: list[float] = []
        self._lock = threading.Lock()
        self._limit = _MANY

    def again(self) -> Recorder:
        """An empty recorder of the same sensor, with the readings that show its ticks."""
        other = Recorder(
            self._sensor,
            self.clock,
            chosen=self._chosen,
            unread=self._unread,
            environment=self._environment,
        )
        other.ticks_s = self.ticks_s
        first_s = self._marks[0].at_s if self._marks else float("inf")
        other._reads = [read for read in self._reads if read.end_s <= first_s]
        return other

    def read(self) -> Read:
        """One reading, kept."""
        with self._lock:
            read = self._sensor.read()
            self._keep(read)
        return read

    def poll(self) -> None:
        """One reading of all domains, unless another is under way."""
        self._poll(self._sensor.read)

    def _poll(self, read: Callable[[], Read]) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._keep(read())
                if len(self._reads) > self._limit:
                    self._reads = _pruned(self._reads, self._marks, self.longest_gap_s)
                    self._limit = len(self._reads) + _MANY
            finally:
                self._lock.release()

    def _keep(self, read: Read) -> None:
        reads = self._reads
        if (
            len(reads) > 1
            and read.counts == reads[-1].counts == reads[-2].counts
            and read.stamps_s == reads[-1].stamps_s
        ):
            reads[-1] = read
        else:
            reads.append(read)

    def mark(self, kind: MarkKind, name: str = "", count: int = 1) -> float:
        """Something happens now; the time of it."""
        now_s = self.clock.now_s()
        self._marks.append(Mark(now_s, kind, name, count))
        return now_s

    def begin(self, name: str) -> float:
        """Begin a window: a reading, then the mark."""
        self.read()
        return self.mark("begin", name)

    def end(self, name: str) -> float:
        """End a window: the mark, then a reading."""
        now_s = self.mark("end", name)
        self.read()
        return now_s

    @contextmanager
    def pause(self, name: str) -> Iterator[float]:
        """A time between two iterations that is idle on purpose; gives when it began."""
        begin_s = self.mark("idle_begin", name)
        yield begin_s
        self._delays_s.append(self.mark("idle_end", name) - begin_s)

    @property
    def reads(self) -> tuple[Read, ...]:
        """The readings so far."""
        with self._lock:
            return tuple(self._reads)

    def look(self) -> None:
        """Write down what the devices say of themselves."""
        self._states.extend(self._sensor.states())
        slept_s = _suspended_s()
        if slept_s is not None:
            self._states.append(DeviceState(MACHINE, self.clock.now_s(), {"suspended_s": slept_s}))

    def columns(self, *, slow: bool) -> list[int]:
        """The counted counters whose tick is known, slow or quick."""
        return [
            column
            for column, (domain, tick_s) in enumerate(zip(self.domains, self.ticks_s, strict=True))
            if domain.counted and tick_s is not None and (tick_s > QUICK_TICK_S) == slow
        ]

    @property
    def longest_gap_s(self) -> float:
        """The longest time between readings in which no wrap-around hides, in seconds.

        A third of the least time that the range of a counter may last.
        """
        return min(
            (
                domain.counts * domain.quantum / (_WRAP_SHARE * domain.peak_w)
                for domain in self.domains
                if domain.kind == "counter" and domain.counts and domain.peak_w > 0
            ),
            default=float("inf"),
        )

    def _lagging(self) -> list[int]:
        """The columns that are polled for the sake of their values."""
        gauges = [column for column, domain in enumerate(self.domains) if domain.kind == "gauge"]
        return self.columns(slow=True) + gauges

    @contextmanager
    def polled(self, unread_s: float = float("inf")) -> Iterator[None]:
        """Poll as often as the sensor's domains need it, if at all, until the context closes.

        Slow counters and gauges are polled for the sake of their values, and of several sensors only those
        that have such; a quick counter only so that no wrap-around goes unseen. The poller is a thread; for
        wrap-arounds alone it sleeps for 20 s and more at a time, and there is none where the readings come
        often enough anyway.

        Args:
            unread_s: the longest time between the readings that are taken anyway; infinite where that is not
                known.
        """
        lagging, gap_s = self._lagging(), self.longest_gap_s
        if not lagging and unread_s <= gap_s:
            yield
            return
        poll = self._poller(lagging, gap_s) if lagging else self.poll
        with self.clock.every(min(POLL_S, gap_s) if lagging else gap_s, poll):
            yield

    def _poller(self, lagging: Sequence[int], gap_s: float) -> Callable[[], None]:
        """Reads what lags behind, and everything as often as wrap-arounds need it."""
        if not isinstance(self._sensor, JoinedSensor):
            return self.poll
        some = self._sensor.reader_of(lagging)
        whole_s = self.clock.now_s()

        def poll() -> None:
            nonlocal whole_s
            now_s = self.clock.now_s()
            if now_s - whole_s >= gap_s:
                whole_s = now_s
                self.poll()
            else:
                self._poll(some)

        return poll

    def trace(self, exit_code: int | None = None) -> Trace:
        """What was written down so far."""
        with self._lock:
            return Trace(
                sensor=self._sensor.name,
                domains=self.domains,
                reads=tuple(self._reads),
                marks=tuple(self._marks),
                states=tuple(self._states),
                chosen=self._chosen,
                environment=self._environment,
                delays_s=tuple(self._delays_s),
                exit_code=exit_code,
                unread=self._unread,
            )


def _pruned(reads: Sequence[Read], marks: Sequence[Mark], longest_gap_s: float) -> list[Read]:
    """Without most of the readings that lie more than a second from every mark and from now."""
    moments = [mark.at_s for mark in marks]
    step_s = min(_NEAR_S, longest_gap_s)
    now_s = reads[-1].end_s
    kept: list[Read] = []
    for read in reads:
        at = bisect_left(moments, read.begin_s)
        near = any(abs(read.begin_s - moment_s) <= _NEAR_S for moment_s in moments[max(at - 1, 0) : at + 1])
        recent = now_s - read.end_s <= _NEAR_S
        rare = bool(kept) and NOT_READ in kept[-1].faults and NOT_READ not in read.faults
        if near or recent or rare or not kept or read.begin_s - kept[-1].begin_s >= step_s:
            kept.append(read)
    return kept


def _suspended_s() -> float | None:
    """For how long the machine has slept since it was started: what its two clocks differ by."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC), 3)
