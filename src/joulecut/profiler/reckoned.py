"""What one domain says about one span of time, before it becomes an ``Estimate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulecut.profiler.records import Quality

__all__ = ["UNIFORM_90", "Reckoned", "Span", "joined", "refused", "worst"]

_ORDER: Final[tuple[Quality, ...]] = ("good", "degraded", "below resolution", "invalid")

UNIFORM_90: Final = 0.9
"""Nine tenths of an interval in which every value is as likely hold 90 %."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds of the trace's clock."""

    begin_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Reckoned:
    """Joules of one domain in one span.

    Attributes:
        energy_j: the figure; 0 where invalid.
        below_j, above_j: distances to the bounds: at 90 %, or certain ones where below resolution.
        quality, reason: how much to believe.
        ticks: whole ticks in the span.
        resolution_j: joules of one tick.
        method: how it was found.
        begin_count, end_count: raw counts at the ends.
    """

    energy_j: float
    below_j: float
    above_j: float
    quality: Quality
    reason: str = ""
    ticks: int = 0
    resolution_j: float = 0.0
    method: str = ""
    begin_count: int | None = None
    end_count: int | None = None


def refused(reason: str, begin_count: int | None = None, end_count: int | None = None) -> Reckoned:
    """No figure, and why."""
    return Reckoned(0.0, 0.0, 0.0, "invalid", reason, begin_count=begin_count, end_count=end_count)


def worst(qualities: Sequence[Quality]) -> Quality:
    """The least of several qualities; good where there are none.

    >>> worst(["good", "invalid", "degraded"])
    'invalid'
    """
    return _ORDER[max(map(_ORDER.index, qualities), default=0)]


def joined(parts: Sequence[Reckoned]) -> Reckoned:
    """Several spans of one domain as one: joules add up, their uncertainty in quadrature."""
    if len(parts) == 1:
        return parts[0]
    quality = worst([part.quality for part in parts])
    return Reckoned(
        energy_j=math.fsum(part.energy_j for part in parts),
        below_j=math.hypot(*(part.below_j for part in parts)),
        above_j=math.hypot(*(part.above_j for part in parts)),
        quality=quality,
        reason=next((part.reason for part in parts if part.quality == quality), ""),
        ticks=sum(part.ticks for part in parts),
        resolution_j=max(part.resolution_j for part in parts),
        method=parts[0].method,
        begin_count=parts[0].begin_count,
        end_count=parts[-1].end_count,
    )
