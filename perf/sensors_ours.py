"""joulecut as one of the tools of perf.sensors; imported by the worker only where joulecut is the tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from joulecut import api
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.idle import PAUSE
from joulecut.profiler.measure import Meter, measure_repeated
from joulecut.profiler.records import Measurement
from joulecut.profiler.repeat import Patience
from joulecut.profiler.sensors.choose import Sources, open_sensor

Span = tuple[float, float]


class Ours:
    """joulecut's sensor on the job's machine, and its public calls."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.clock = SystemClock()
        root = Path(job["root"]) if job["on"] == "cpu" else None
        name = "rapl" if job["on"] == "cpu" else "nvml"
        self.sensor = open_sensor(name, self.clock, Sources(powercap=root)).sensor

    def block(self, work: Callable[[], None]) -> Measurement:
        """A plain block of code."""
        with api.measure("window", sensor=self.sensor, clock=self.clock) as window:
            work()
        return window.measurement

    def repeated(self, call: Callable[[], None], seconds: float) -> tuple[Measurement, list[Span]]:
        """A callable, repeated for a stated time; and the stretches of time that its joules are of.

        This is what ``api.measure`` does; it is called here for its trace, which tells when it paused.
        """
        patience = Patience(min_s=seconds, max_s=seconds, idle_s=0.0)
        trace = measure_repeated(call, "call", sensor=self.sensor, clock=self.clock, patience=patience)
        edges = [
            mark.at_s
            for mark in trace.marks
            if mark.kind in ("begin", "end") or (mark.kind.startswith("idle") and mark.name == PAUSE)
        ]
        return evaluate(trace), list(zip(edges[::2], edges[1::2], strict=True))

    def windows(self, count: int, timed: Callable[[Callable[[], object]], float]) -> list[float]:
        """Seconds that each of many windows with nothing in it costs."""
        with Meter(self.sensor, clock=self.clock) as meter:

            def one() -> None:
                with meter.window("window"):
                    pass

            return [timed(one) for _ in range(count)]


def said(measured: Measurement, truth_j: float, iterations: int = 1) -> list[Any]:
    """One row: true joules, joules, note, quality, bounds."""
    figure = measured.per_iteration if iterations > 1 else measured.total
    low, high = figure.bounds(0.9) if figure is not None else (None, None)
    shown = figure.value if figure is not None and measured.quality != "below resolution" else None
    return [truth_j / iterations, shown, "; ".join(measured.reasons), measured.quality, low, high]
