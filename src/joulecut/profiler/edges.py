"""``Edge``: one step of a counter, caught between two readings."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Edge"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of a counter.

    Attributes:
        at_s: the middle of when it was caught: from the begin of the last reading before it to the
            end of the first one after it.
        half_s: half that time.
        value_j: joules after the step.
        index: of the first reading after the step, in its series.
    """

    at_s: float
    half_s: float
    value_j: float
    index: int
