"""What a load draws over time, and the exact joules of any interval of it."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

__all__ = ["Load", "Timeline"]

_CELLS_PER_TAU: Final = 50
"""Drift is a staircase that is this much finer than its correlation time, so that joules are exact sums."""


@dataclass(frozen=True, slots=True)
class Load:
    """A part of the machine that draws power.

    Attributes:
        name: ``cpu``, ``gpu:0`` ...
        idle_w: what it draws when no work runs.
        drift: standard deviation of a slow relative wander of its power (an Ornstein-Uhlenbeck process).
        drift_tau_s: correlation time of the drift.
        thermal: how much less it draws when cold, relative; it warms while it works and cools while idle.
        thermal_tau_s: time constant of warming and cooling.
    """

    name: str
    idle_w: float
    drift: float = 0.0
    drift_tau_s: float = 3.0
    thermal: float = 0.0
    thermal_tau_s: float = 40.0

    def __post_init__(self) -> None:
        if not (self.idle_w >= 0 and 0 <= self.drift < 0.2 and 0 <= self.thermal < 1):
            raise ValueError("a load needs idle_w >= 0, 0 <= drift < 0.2 and 0 <= thermal < 1")
        if not (self.drift_tau_s > 0 and self.thermal_tau_s > 0):
            raise ValueError("the time constants of a load must be positive")


@dataclass(frozen=True, slots=True)
class _Segment:
    """From ``start_s`` on: ``watts`` when warm, and a warmth (0 cold, 1 warm) that relaxes to ``target``."""

    start_s: float
    energy_j: float
    watts: float
    warmth: float
    target: float


class Timeline:
    """The power of one load from time 0 on; it is set as time goes by and asked for any time gone by.

    >>> line = Timeline(Load("cpu", idle_w=10.0), seed=0)
    >>> line.set_power(2.0, 50.0)
    >>> line.energy_j(3.0)
    70.0
    """

    def __init__(self, load: Load, seed: int) -> None:
        self.load = load
        self._random = random.Random(f"{seed}:{load.name}:drift")
        self._wander = self._random.gauss(0.0, load.drift)
        self._cell_s = load.drift_tau_s / _CELLS_PER_TAU if load.drift else math.inf
        self._cell_end_s = self._cell_s
        self._nominal_w = load.idle_w
        self._segments = [_Segment(0.0, 0.0, load.idle_w * (1 + self._wander), 0.0, 0.0)]
        self._starts = [0.0]

    def set_power(self, at_s: float, power_w: float | None) -> None:
        """From ``at_s`` on the load works at ``power_w``, or is idle (None)."""
        self._extend(at_s)
        self._nominal_w = self.load.idle_w if power_w is None else power_w
        self._append(at_s, 0.0 if power_w is None else 1.0)

    def energy_j(self, at_s: float) -> float:
        """Joules from time 0 to ``at_s``; 0 before time 0."""
        segment, elapsed_s = self._find(at_s)
        return segment.energy_j + self._within(segment, elapsed_s)

    def warmth(self, at_s: float) -> float:
        """0 cold, 1 warm."""
        segment, elapsed_s = self._find(at_s)
        return self._relaxed(segment, elapsed_s)

    def _find(self, at_s: float) -> tuple[_Segment, float]:
        self._extend(at_s)
        segment = self._segments[max(bisect_right(self._starts, at_s) - 1, 0)]
        return segment, max(at_s - segment.start_s, 0.0)

    def _extend(self, at_s: float) -> None:
        """Drift goes on to a time that is past, cell by cell."""
        while self._cell_end_s <= at_s:
            keep = math.exp(-1 / _CELLS_PER_TAU)
            fresh = self._random.gauss(0.0, self.load.drift)
            self._wander = keep * self._wander + math.sqrt(1 - keep * keep) * fresh
            self._append(self._cell_end_s, self._segments[-1].target)
            self._cell_end_s += self._cell_s

    def _append(self, at_s: float, target: float) -> None:
        last = self._segments[-1]
        elapsed_s = at_s - last.start_s
        energy_j = last.energy_j + self._within(last, elapsed_s)
        watts = self._nominal_w * (1 + self._wander)
        self._segments.append(_Segment(at_s, energy_j, watts, self._relaxed(last, elapsed_s), target))
        self._starts.append(at_s)

    def _within(self, segment: _Segment, elapsed_s: float) -> float:
        """The integral of watts * (1 - thermal * (1 - warmth)), with warmth relaxing exponentially."""
        thermal, tau = self.load.thermal, self.load.thermal_tau_s
        level = 1 - thermal * (1 - segment.target)
        bend = thermal * (segment.warmth - segment.target) * tau * -math.expm1(-elapsed_s / tau)
        return segment.watts * (elapsed_s * level + bend)

    def _relaxed(self, segment: _Segment, elapsed_s: float) -> float:
        gone = math.exp(-elapsed_s / self.load.thermal_tau_s)
        return segment.target + (segment.warmth - segment.target) * gone
