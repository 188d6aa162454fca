"""Counters that show one register twice.

Threadripper and EPYC processors of the first generations list a zone for each die, and every one of them
shows the same register of the socket: adding them gives a multiple of the true joules. Two counters of one
register read alike at every look, but for a step that falls between the two reads; two registers never do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["GAP_S", "LOOKS", "differ_by"]

LOOKS: Final = 8
GAP_S: Final = 0.004
"""Between two looks: several steps of a RAPL register, which moves about once a millisecond."""
_STRAYS: Final = 1
_LEAST_VALUES: Final = 3


def differ_by(first: Sequence[int | None], second: Sequence[int | None]) -> int | None:
    """The constant by which two counters differ, or None if they are two registers or did not move.

    Args:
        first: counts of one counter, a few milliseconds apart.
        second: counts of the other one at the same looks.

    >>> differ_by([10, 20, 30, 40], [10, 20, 30, 40]), differ_by([10, 20, 30, 40], [11, 23, 31, 44])
    (0, None)
    """
    pairs = [
        (one, other)
        for one, other in zip(first, second, strict=True)
        if one is not None and other is not None
    ]
    moved = len({one for one, _ in pairs})
    if moved < _LEAST_VALUES:
        return None
    difference, often = Counter(other - one for one, other in pairs).most_common(1)[0]
    return difference if often >= len(first) - _STRAYS else None
