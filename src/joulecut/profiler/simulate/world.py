"""A machine in simulated time: it is a ``Clock``, and knows the true joules of each of its loads."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from joulecut.profiler.simulate.timeline import Load, Timeline

__all__ = ["World"]


class World:
    """Simulated time and the loads that draw power in it.

    Time stands still between calls: only ``sleep_s``, ``work`` and the reads of sensors pass it. Callbacks
    of ``every`` run in between when they are due, as a thread of the machine would. The same seed and the
    same calls give the same joules.

    Args:
        loads: the parts that draw power; the first one is what ``work`` and ``energy_j`` mean by default.
        seed: of drift and of what the sensors add.

    >>> world = World(Load("gpu:0", idle_w=60.0))
    >>> world.work(0.5, power_w=300.0); world.sleep_s(0.5)
    >>> world.now_s(), world.energy_j("gpu:0", 0.0, 1.0)
    (1.0, 180.0)
    """

    def __init__(self, *loads: Load, seed: int = 0) -> None:
        if not loads or len({load.name for load in loads}) < len(loads):
            raise ValueError("a world needs loads, each with a name of its own")
        self.seed = seed
        self.loads = loads
        self._lines = {load.name: Timeline(load, seed) for load in loads}
        self._now_s = 0.0
        self._due: list[tuple[float, int, float, Callable[[], None]]] = []
        self._numbers = count()

    def now_s(self) -> float:
        """The time, in seconds from 0."""
        return self._now_s

    def sleep_s(self, duration_s: float) -> None:
        """Let time pass; the loads keep drawing what they draw."""
        end_s = self._now_s + max(duration_s, 0.0)
        while self._due and self._due[0][0] <= end_s:
            due_s, number, period_s, call = self._due[0]
            self._now_s = max(self._now_s, due_s)
            heapq.heapreplace(self._due, (due_s + period_s, number, period_s, call))
            call()
        self._now_s = max(self._now_s, end_s)

    def work(self, duration_s: float, power_w: float | Mapping[str, float]) -> None:
        """Work for a while, then be idle again.

        Args:
            duration_s: how long.
            power_w: what the first load draws meanwhile, or what each named load draws.
        """
        powers = power_w if isinstance(power_w, Mapping) else {self.loads[0].name: power_w}
        lines = {self._line(name): watts for name, watts in powers.items()}
        for line, watts in lines.items():
            line.set_power(self._now_s, watts)
        self.sleep_s(duration_s)
        for line in lines:
            line.set_power(self._now_s, None)

    @contextmanager
    def every(self, period_s: float, call: Callable[[], None]) -> Iterator[None]:
        """Call ``call`` once a period of simulated time while the context is open."""
        if period_s <= 0:
            raise ValueError(f"a period must be positive, not {period_s} s")
        number = next(self._numbers)
        heapq.heappush(self._due, (self._now_s + period_s, number, period_s, call))
        try:
            yield
        finally:
            self._due = [entry for entry in self._due if entry[1] != number]
            heapq.heapify(self._due)

    def energy_j(self, load: str, begin_s: float, end_s: float) -> float:
        """The true joules of a load in an interval of the past."""
        if not begin_s <= end_s <= self._now_s:
            raise ValueError(f"the time from {begin_s} s to {end_s} s is not in the past")
        line = self._line(load)
        return line.energy_j(end_s) - line.energy_j(begin_s)

    def warmth(self, load: str) -> float:
        """How warm a load is now: 0 cold, 1 as warm as it gets."""
        return self._line(load).warmth(self._now_s)

    def _line(self, load: str) -> Timeline:
        if load not in self._lines:
            raise ValueError(f"no load {load!r}; this world has {', '.join(self._lines)}")
        return self._lines[load]
