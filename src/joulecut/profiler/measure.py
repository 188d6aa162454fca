"""Measuring a block of code, a function, or work that is repeated.

with measure("decode") as window:          # a window that begins on a tick, where the ticks are quick
    decode()
print(window.energy)

with Meter() as meter:                     # one sensor for many windows, each a few microseconds dear
    for batch in batches:
        with meter.window("batch") as window:
            step(batch)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar

from joulecut.errors import UsageError
from joulecut.estimate import Estimate
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import align, find_ticks, record_idle, settle
from joulecut.profiler.clock import Clock, SystemClock
from joulecut.profiler.environment import environment
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.gpu_queue import finish_gpu_work
from joulecut.profiler.records import Measurement, Trace
from joulecut.profiler.repeat import Patience, record_repeated
from joulecut.profiler.sensors.sensor import Sensor
from joulecut.profiler.slices import around

__all__ = ["Measured", "Measuring", "Meter", "Window", "measure_repeated", "recording"]

if TYPE_CHECKING:
    from joulecut.profiler.sensors.choose import Sources

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def recording(
    sensor: str | Sensor | Recorder, clock: Clock | None = None, sources: Sources | None = None
) -> Iterator[Recorder]:
    """Open a sensor by its name, or take an open one, and find its ticks; what was opened here is closed.

    Args:
        sensor: its name, an open one, or a recorder, of which the sensor and its ticks are taken.
        clock: that an open sensor was opened with; the machine's by default.
        sources: where a sensor that is named is looked for.

    Raises:
        SensorMissing, SensorDenied: no sensor of that name can be read.
    """
    if isinstance(sensor, Recorder):
        yield sensor.again()
        return
    clock = clock or SystemClock()
    with ExitStack() as stack:
        chosen: tuple[str, ...] = ()
        unread: tuple[str, ...] = ()
        if isinstance(sensor, str):
            from joulecut.profiler.sensors.choose import open_sensor

            choice = open_sensor(sensor, clock, sources)
            sensor, chosen, unread = choice.sensor, choice.chosen, choice.unread
            stack.callback(sensor.close)
        recorder = Recorder(sensor, clock, chosen=chosen, unread=unread, environment=environment())
        find_ticks(recorder)
        yield recorder


class Meter:
    """One sensor, kept open for many windows.

    Args:
        sensor: the name of a sensor, or an open one.
        clock: that an open sensor was opened with.
        idle_s: idle time that is measured before the first and after the last window; 0 for none.

    Raises:
        SensorMissing, SensorDenied: on entering, where no sensor can be read.
    """

    def __init__(
        self, sensor: str | Sensor | Recorder = "auto", *, clock: Clock | None = None, idle_s: float = 0.0
    ) -> None:
        self._sensor = sensor
        self._clock = clock
        self._idle_s = idle_s
        self._stack = ExitStack()
        self._recorder: Recorder | None = None
        self._open = False

    def __enter__(self) -> Self:
        if self._recorder is not None:
            raise UsageError("a meter can be used once.", hint="Make another one.")
        with ExitStack() as stack:
            self._recorder = stack.enter_context(recording(self._sensor, self._clock))
            record_idle(self._recorder, self._idle_s, "before")
            self._recorder.look()
            stack.enter_context(self._recorder.polled())
            self._stack = stack.pop_all()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with self._stack:
            settle(self.recorder)
            self.recorder.look()
            self._open = False
        if kind is None:
            record_idle(self.recorder, self._idle_s, "after")

    @property
    def recorder(self) -> Recorder:
        """What it writes to; there is one once it is open."""
        if self._recorder is None:
            raise UsageError("the meter is not open.", hint="Use it as `with Meter() as meter:`.")
        return self._recorder

    @property
    def is_open(self) -> bool:
        """Whether it can still be read."""
        return self._open

    def window(self, name: str) -> Window:
        """A window, for ``with``: two readings, two marks, no waiting."""
        return Window(self, name)

    def trace(self) -> Trace:
        """Everything so far; windows of one name count as one in it."""
        return self.recorder.trace()


class Window:
    """A stretch of time whose joules are asked for; made by ``Meter.window`` and ``measure``.

    Nothing is evaluated before a figure is asked for.
    """

    def __init__(self, meter: Meter, name: str) -> None:
        self._meter = meter
        self._name = name
        self._begin_s: float | None = None
        self._end_s: float | None = None
        self._trace: Trace | None = None
        self._measurement: Measurement | None = None

    def __enter__(self) -> Window:
        finish_gpu_work()
        self._begin_s = self._meter.recorder.begin(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        finish_gpu_work()
        self._end_s = self._meter.recorder.end(self._name)

    @property
    def trace(self) -> Trace:
        """The readings about this window alone; the same at every call.

        The first call waits for the counters' next step where the meter is still open: a tick or two.

        Raises:
            UsageError: the window has not ended.
        """
        if self._trace is None:
            if self._begin_s is None or self._end_s is None:
                raise UsageError(f"the window {self._name!r} has not ended.", hint="Leave its block first.")
            if self._meter.is_open:
                settle(self._meter.recorder)
            self._trace = around(self._meter.recorder, self._name, self._begin_s, self._end_s)
        return self._trace

    @property
    def measurement(self) -> Measurement:
        """Its joules, and all that is known of them."""
        if self._measurement is None:
            self._measurement = evaluate(self.trace, self._name)
        return self._measurement

    @property
    def energy(self) -> Estimate | None:
        """Its gross joules; None where they are invalid, for the reason in ``measurement``."""
        return self.measurement.total


class Measuring:
    """A block of code to be measured (``with``), or a function to be measured at every call (``@``).

    Args:
        label: what the window is called.
        sensor, clock, idle_s: as for ``Meter``.
    """

    def __init__(
        self, label: str, sensor: str | Sensor | Recorder, clock: Clock | None, idle_s: float
    ) -> None:
        self._label = label
        self._sensor = sensor
        self._clock = clock
        self._idle_s = idle_s
        self._stack = ExitStack()

    def __enter__(self) -> Window:
        with ExitStack() as stack:
            meter = stack.enter_context(Meter(self._sensor, clock=self._clock, idle_s=self._idle_s))
            align(meter.recorder)
            window = stack.enter_context(meter.window(self._label))
            self._stack = stack.pop_all()
        return window

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, at)

    def __call__(self, function: Callable[P, R]) -> Measured[P, R]:
        """The function, measured at every call."""
        return Measured(function, self._label or function.__name__, self._sensor, self._clock, self._idle_s)


class Measured(Generic[P, R]):
    """A function that is measured at every call; made by ``@measure(...)``.

    The sensor is opened at the first call and kept until ``close``.

    Attributes:
        measurements: one a call that returned, in order.
    """

    def __init__(
        self,
        function: Callable[P, R],
        label: str,
        sensor: str | Sensor | Recorder,
        clock: Clock | None,
        idle_s: float,
    ) -> None:
        functools.update_wrapper(self, function)
        self.measurements: list[Measurement] = []
        self._function = function
        self._label = label
        self._sensor = sensor
        self._clock = clock
        self._idle_s = idle_s
        self._stack = ExitStack()
        self._recorder: Recorder | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it in a window of its own."""
        if self._recorder is None:
            self._recorder = self._stack.enter_context(recording(self._sensor, self._clock))
        with Measuring(self._label, self._recorder, None, self._idle_s) as window:
            result = self._function(*args, **kwargs)
        self.measurements.append(window.measurement)
        return result

    def close(self) -> None:
        """Close the sensor; the next call opens it again."""
        self._stack.close()
        self._recorder = None


def measure_repeated(
    work: Callable[[], object],
    label: str,
    *,
    sensor: str | Sensor | Recorder = "auto",
    clock: Clock | None = None,
    patience: Patience,
) -> Trace:
    """Repeat work until one iteration is known closely enough (see ``Patience``); the trace of it.

    Raises:
        SensorMissing, SensorDenied: no sensor can be read.
    """
    with recording(sensor, clock) as recorder:
        recorder.look()
        record_repeated(recorder, work, label, patience)
        recorder.look()
        return recorder.trace()
