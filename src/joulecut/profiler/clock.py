"""Clocks: the machine's own, and the protocol that a simulated one follows too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as measuring code sees it, in seconds from any origin, never running backwards."""

    def now_s(self) -> float:
        """The time."""
        ...

    def sleep_s(self, duration_s: float, /) -> None:
        """Wait."""
        ...

    def every(self, period_s: float, call: Callable[[], None]) -> AbstractContextManager[None]:
        """Call something once a period while the context is open."""
        ...


class SystemClock:
    """The machine's monotonic clock; ``every`` is a thread.

    >>> clock = SystemClock()
    >>> clock.now_s() <= clock.now_s()
    True
    """

    now_s = staticmethod(time.perf_counter)
    sleep_s = staticmethod(time.sleep)

    @contextmanager
    def every(self, period_s: float, call: Callable[[], None]) -> Iterator[None]:
        """Call ``call`` in a thread of its own once a period, until the context closes."""
        stop = threading.Event()

        def loop() -> None:
            due = time.perf_counter() + period_s
            while not stop.wait(max(0.0, due - time.perf_counter())):
                call()
                due = max(due + period_s, time.perf_counter())

        thread = threading.Thread(target=loop, name="joulecut-poller", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
