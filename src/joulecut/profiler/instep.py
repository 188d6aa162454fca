"""Iterations that run in step with a sensor which looks at a part of each tick only.

NVML's counters of A100 and H100 look at 25 ms of each 100 ms (Yang, Adamek and Armour, "Part-time Power
Measurements", SC24, arXiv:2312.02741): an iteration of 100 ms would be seen at the same quarter every time.
A few delays, which move the iterations through the tick, bring every part before the sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import gcd
from typing import Final

__all__ = ["DELAYS", "Rhythm", "delays_after", "rhythm"]

DELAYS: Final = 8
_MOST: Final = 16
_MOST_PRODUCT: Final = 32
_DRIFT: Final = 3.0
"""Where the iterations run through the tick this often in a window by themselves, every part is seen alike:
three times left 0.3 % of an error of 43 %."""
_NEARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What iterations and ticks have in common: ``of_tick`` iterations take about ``of_work`` ticks.

    Attributes:
        of_work: harmonic of the work's power that the sensor mistakes for a constant.
        of_tick: harmonic of the sensor's looking that it coincides with.
        turns: how often their phase shall go round in a window, in which direction; never 0.
    """

    of_work: int
    of_tick: int
    turns: int

    def delay_s(self, done: int, passed_s: float, number: int, tick_s: float) -> float:
        """The delay that brings the phase to where it belongs.

        Args:
            done: iterations since the begin of the window.
            passed_s: time since then, delays included.
            number: which delay this is, from 1 to ``DELAYS``.
            tick_s: of the sensor, as exactly as it is known by now.

        Returns:
            Seconds; less than a tick.

        >>> Rhythm(1, 1, turns=-1).delay_s(done=10, passed_s=1.0, number=2, tick_s=0.1)
        0.025
        """
        phase = self.of_work * done - self.of_tick * passed_s / tick_s
        ahead = (phase - self.turns * number / DELAYS) % 1.0
        return 0.0 if ahead > _NEARLY else ahead * tick_s / self.of_tick


def rhythm(iteration_s: float, tick_s: float, window_s: float) -> Rhythm | None:
    """The rhythm in which iterations run with a sensor; None where they do not.

    In step is what coincides in low harmonics and drifts apart by less than three rounds in the window (less
    for higher harmonics of the work, which are weaker).

    >>> rhythm(0.1, 0.1, 10.0)
    Rhythm(of_work=1, of_tick=1, turns=-1)
    >>> rhythm(0.037, 0.1, 10.0) is None
    True
    """
    for of_work in range(1, _MOST + 1):
        for of_tick in range(1, min(_MOST, _MOST_PRODUCT // of_work) + 1):
            drift = (of_work / iteration_s - of_tick / tick_s) * window_s
            if gcd(of_tick, of_work) == 1 and abs(drift) * of_work < _DRIFT:
                return Rhythm(of_work, of_tick, _turns(drift))
    return None


def _turns(drift: float) -> int:
    """The nearest whole number of rounds that delays can bring about, as they only turn the phase back."""
    return math.floor(drift) if not 0.0 <= drift < 1.0 else -1


def delays_after(window_s: float, tick_s: float, iteration_s: float) -> tuple[tuple[int, ...], int]:
    """After how many iterations the delays come: half a stretch, seven whole ones, half a stretch.

    The stretches hold the same number of iterations, so that every part of a tick is seen alike. The first
    and the last one are half a tick longer, as that is lost on average to the counter's first and last edge.

    Args:
        window_s: about how long the window shall last.
        tick_s: of the sensor.
        iteration_s: of the work.

    Returns:
        The numbers of iterations done before each delay, and at the end of the window.

    >>> delays_after(4.1, 0.1, 0.05)
    ((6, 16, 26, 36, 46, 56, 66, 76), 82)
    """
    each = max(1, round((window_s - tick_s) / DELAYS / iteration_s))
    lost = tick_s / iteration_s
    first = max(1, round((each + lost) / 2))
    return tuple(first + each * k for k in range(DELAYS)), round(DELAYS * each + lost)
