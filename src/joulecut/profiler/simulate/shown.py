"""What a simulated meter shows at a time: the joules of its loads through ticks, duty, noise and quantum."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import floor

from joulecut.profiler.simulate.meters import Fault, Meter
from joulecut.profiler.simulate.world import World

__all__ = ["Shown"]


class Shown:
    """The raw counts of one meter over time.

    Args:
        meter: how it shows joules.
        world: whose joules.
        faults: those of the sensor.
    """

    def __init__(self, meter: Meter, world: World, faults: Sequence[Fault]) -> None:
        name = meter.domain.name
        self._meter = meter
        self._world = world
        self._wander = random.Random(f"{world.seed}:{name}:ticks")
        self._noise = random.Random(f"{world.seed}:{name}:noise")
        drawn_s = self._wander.uniform(0.0, meter.tick_s)
        self._phase_s = drawn_s if meter.phase_s is None else meter.phase_s
        self._ticks_s: list[float] = []
        self._joules = [0.0]
        hits = [fault for fault in faults if fault.domain in ("", name)]
        self._stuck = [fault for fault in hits if fault.kind == "stuck"]
        self._resets_s = sorted(fault.at_s for fault in hits if fault.kind == "reset")

    def count(self, at_s: float) -> int:
        """What it shows at ``at_s``."""
        quantum = self._meter.domain.quantum
        for fault in self._stuck:
            if fault.active(at_s):
                at_s = fault.at_s
        if self._meter.domain.kind == "gauge":
            return round(self._power_w(at_s) / quantum)
        shown_j = self._counted_j(at_s)
        first = self._meter.first_count
        past = [reset_s for reset_s in self._resets_s if reset_s <= at_s]
        if past:
            shown_j, first = shown_j - self._counted_j(past[-1]), 0
        raw = first + floor(shown_j / quantum + 1e-9)
        counts = self._meter.domain.counts
        return raw % counts if counts else raw

    def _counted_j(self, at_s: float) -> float:
        if self._meter.tick_s == 0:
            return self._true_j(at_s) * (1 + self._meter.gain_error)
        return self._joules[self._tick(at_s) + 1]

    def _power_w(self, at_s: float) -> float:
        """Mean power of the gauge's window before its last tick; 0 before the first one."""
        if self._meter.tick_s > 0:
            tick = self._tick(at_s)
            if tick < 0:
                return 0.0
            if self._meter.window_s == 0:
                return (self._joules[tick + 1] - self._joules[tick]) / self._meter.tick_s
            at_s = self._ticks_s[tick]
        window_s = self._meter.window_s
        gain = 1 + self._meter.gain_error
        return gain * (self._true_j(at_s) - self._true_j(at_s - window_s)) / window_s

    def _tick(self, at_s: float) -> int:
        """The last tick at or before ``at_s``; -1 before the first one."""
        due = floor((at_s - self._phase_s) / self._meter.tick_s) + 1
        while len(self._ticks_s) <= due:
            self._add_tick()
        while due >= 0 and self._ticks_s[due] > at_s:
            due -= 1
        while len(self._joules) <= due + 1:
            self._count_tick()
        return max(due, -1)

    def _add_tick(self) -> None:
        wander_s = self._wander.uniform(-self._meter.jitter_s, self._meter.jitter_s)
        self._ticks_s.append(self._phase_s + len(self._ticks_s) * self._meter.tick_s + wander_s)

    def _count_tick(self) -> None:
        """Add the joules that the next tick brings."""
        tick = len(self._joules) - 1
        end_s = self._ticks_s[tick]
        begin_s = self._ticks_s[tick - 1] if tick else min(end_s, self._phase_s - self._meter.tick_s)
        looked_s = begin_s if self._meter.duty == 1 else end_s - self._meter.duty * (end_s - begin_s)
        seen_j = (self._true_j(end_s) - self._true_j(looked_s)) / self._meter.duty
        factor = (1 + self._meter.gain_error) * max(self._noise.gauss(1.0, self._meter.noise), 0.0)
        self._joules.append(self._joules[-1] + seen_j * factor)

    def _true_j(self, at_s: float) -> float:
        return sum(self._world.energy_j(load, 0.0, max(at_s, 0.0)) for load in self._meter.loads)
