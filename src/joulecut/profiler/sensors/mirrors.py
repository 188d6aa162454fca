"""Counters that show one register twice.

Threadripper and EPYC processors of the first generations list a zone for each die, and every one of them
shows the same register of the socket: adding them gives a multiple of the true joules. Two counters of one
register read alike at every look, but for a step that falls between the two reads; two registers never do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from joulecut.profiler.clock import Clock

__all__ = ["differ_by", "look"]

_LOOKS: Final = 8
_MOST_LOOKS: Final = 128
_GAP_S: Final = 0.004
"""Between two looks: several steps of a RAPL register, which moves about once a millisecond."""
_STRAYS: Final = 1
_LEAST_VALUES: Final = 3


def look(
    read: Callable[[], Sequence[int | None]], moving: Sequence[int], clock: Clock
) -> list[tuple[int | None, ...]]:
    """The counts of every column at eight looks, or at more until those that move have moved.

    Args:
        read: gives the counts of all columns.
        moving: columns that are sure to move, as packages are never without power. They are waited for, half
            a second at most: counters that stood still at every look tell nothing.
        clock: whose time passes between the looks.
    """
    rows: list[Sequence[int | None]] = []
    while len(rows) < _LOOKS or (len(rows) < _MOST_LOOKS and _resting(rows, moving)):
        clock.sleep_s(_GAP_S)
        rows.append(read())
    return list(zip(*rows, strict=True))


def _resting(rows: Sequence[Sequence[int | None]], moving: Sequence[int]) -> bool:
    return any(len({row[column] for row in rows}) < _LEAST_VALUES for column in moving)


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
