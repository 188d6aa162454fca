"""What a paired ratio says: a verdict on the second network, and whether it may replace the first."""

from __future__ import annotations

from typing import Final, Literal

from joulecut.benchmarks.records import PairRatio, Verdict
from joulecut.estimate import Estimate

__all__ = ["MIN_SESSIONS", "Gate", "gate", "verdict"]

Gate = Literal["pass", "fail", "inconclusive"]

MIN_SESSIONS: Final = 3
"""Fresh pairs of sessions behind a verdict: eight sessions of one file differed by 0.8 to 1.7 %."""


def verdict(
    ratio: Estimate, cpu_ratio: Estimate, *, margin: float, contended: bool, sessions: int
) -> Verdict:
    """What the 90 % interval of b / a says about b; on a contended machine that of the CPU time.

    - ``same``: the interval lies within 1 - margin to 1 + margin.
    - ``faster``: the interval lies below 1 and the ratio itself below 1 - margin.
    - ``slower``: the interval lies above 1 and the ratio itself above 1 + margin.
    - ``inconclusive``: anything else, and whatever rests on fewer than three pairs of sessions.

    A difference must be both shown and large enough to matter: with enough calls even two sessions of one
    file differ by 0.1 %, and a wide interval alone misses 1 once in ten times.
    """
    decisive = cpu_ratio if contended else ratio
    low, high = decisive.bounds(0.9)
    if sessions < MIN_SESSIONS:
        return "inconclusive"
    if 1 - margin <= low and high <= 1 + margin:
        return "same"
    if high < 1 and decisive.value < 1 - margin:
        return "faster"
    if low > 1 and decisive.value > 1 + margin:
        return "slower"
    return "inconclusive"


def gate(pair: PairRatio) -> Gate:
    """Whether b may replace a: ``pass`` where it is surely not slower by more than the margin.

    ``fail`` where it surely is, else ``inconclusive``; fewer than three pairs of sessions decide nothing.
    """
    low, high = (pair.cpu_ratio if pair.contended else pair.ratio).bounds(0.9)
    if pair.sessions < MIN_SESSIONS:
        return "inconclusive"
    if high < 1 + pair.margin:
        return "pass"
    return "fail" if low > 1 + pair.margin else "inconclusive"
