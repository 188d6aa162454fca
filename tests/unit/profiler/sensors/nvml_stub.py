"""Drives the stand-in for NVIDIA's library: schedules, and a clock that moves without waiting."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from joulecut.profiler.sensors.nvml import NvmlSensor, open_nvml

PLAIN = "gpu\nwatts 100\n"


class StubClock:
    """The time that the stub lives in; only sleeping moves it on, and calls what is due meanwhile."""

    def __init__(self, library: Path) -> None:
        self._polls: list[tuple[float, float, Callable[[], None]]] = []  # due, period, call
        self._time = ctypes.c_double.in_dll(ctypes.CDLL(str(library)), "nvml_stub_time")
        self._time.value = 0.0

    def now_s(self) -> float:
        return self._time.value

    def sleep_s(self, duration_s: float) -> None:
        end_s = self._time.value + duration_s
        while self._polls and min(self._polls, key=lambda poll: poll[0])[0] <= end_s:
            due_s, period_s, call = poll = min(self._polls, key=lambda poll: poll[0])
            self._time.value = due_s
            call()
            self._polls[self._polls.index(poll)] = (due_s + period_s, period_s, call)
        self._time.value = end_s

    def set_s(self, time_s: float) -> None:
        self._time.value = time_s

    @contextmanager
    def every(self, period_s: float, call: Callable[[], None]) -> Iterator[None]:
        self._polls.append((self._time.value + period_s, period_s, call))
        try:
            yield
        finally:
            self._polls = [poll for poll in self._polls if poll[2] is not call]


class Stub:
    """A library, its clock, and how to open it with a schedule."""

    def __init__(self, library: Path, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.library, self._folder, self._environment = library, folder, environment
        self.clock = StubClock(library)
        self._joules = ctypes.CDLL(str(library)).nvmlStubJoules
        self._joules.argtypes = (ctypes.c_uint, ctypes.c_double, ctypes.c_double)
        self._joules.restype = ctypes.c_double
        self._opened: list[NvmlSensor] = []

    def play(self, schedule: str) -> None:
        path = self._folder / f"schedule{len(list(self._folder.iterdir()))}.txt"
        path.write_text(schedule)
        self._environment.setenv("NVML_STUB_SCHEDULE", str(path))

    def open(self, schedule: str, visible: str | None = None) -> NvmlSensor:
        self.play(schedule)
        sensor = open_nvml(self.clock, library=self.library, visible=visible)
        self._opened.append(sensor)
        return sensor

    def joules(self, begin_s: float, end_s: float) -> float:
        """What the first GPU truly spent between two times of its schedule."""
        return float(self._joules(0, begin_s, end_s))

    def close(self) -> None:
        for sensor in self._opened:
            sensor.close()
        self.clock.set_s(-1.0)
