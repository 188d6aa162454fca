"""When a counter stepped, from all its steps together: they come in one period.

Each step was caught between two readings. The periods and phases that put every step where it was caught are
bounded, the closer the more steps there are, even where the poller was held up and single steps are vague.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from joulecut.profiler.edges import Edge

__all__ = ["refined", "tick_bounds"]

_ENDS: Final = 24
_LEAST: Final = 4
_APART: Final = 20
"""Ticks between two edges, above which their number is not sure."""


def refined(edges: Sequence[Edge], tick_s: float) -> list[Edge]:
    """The edges at the times that one period puts them at; as they were where no period fits them all.

    Args:
        edges: those known to a quarter of a tick, in the order of time.
        tick_s: about how long a tick is.

    >>> caught = [Edge(k / 10 + k % 2 / 100, 0.02, float(k), k) for k in range(5)]
    >>> [round(edge.at_s, 3) for edge in refined(caught, 0.1)][:3]
    [0.005, 0.105, 0.205]
    """
    groups: list[list[Edge]] = []
    for edge in edges:
        if groups and edge.at_s - groups[-1][-1].at_s <= _APART * tick_s:
            groups[-1].append(edge)
        else:
            groups.append([edge])
    return [edge for group in groups for edge in _on_grid(group, tick_s)]


def _on_grid(edges: Sequence[Edge], tick_s: float) -> Sequence[Edge]:
    """One stretch of edges without long gaps."""
    numbers = _numbers(edges, tick_s)
    bounds = tick_bounds(edges, numbers) if len(edges) >= _LEAST else None
    if bounds is None:
        return edges
    period_s, half_s = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    phases = [(edge.at_s - n * period_s, edge.half_s) for edge, n in zip(edges, numbers, strict=True)]
    first_s = max(phase_s - within_s for phase_s, within_s in phases)
    last_s = min(phase_s + within_s for phase_s, within_s in phases)
    if first_s > last_s:
        return edges
    phase_s, off_s = (first_s + last_s) / 2, (last_s - first_s) / 2
    middle = numbers[-1] / 2
    return [
        replace(edge, at_s=phase_s + n * period_s, half_s=min(edge.half_s, off_s + abs(n - middle) * half_s))
        for edge, n in zip(edges, numbers, strict=True)
    ]


def _numbers(edges: Sequence[Edge], tick_s: float) -> list[int]:
    """How many ticks each edge comes after the first one."""
    numbers = [0]
    for before, after in pairwise(edges):
        numbers.append(numbers[-1] + max(1, round((after.at_s - before.at_s) / tick_s)))
    return numbers


def tick_bounds(edges: Sequence[Edge], numbers: Sequence[int]) -> tuple[float, float] | None:
    """The least and the most that a tick may last, in seconds.

    With edge ``i`` in ``[low_i, high_i]`` and ``n`` ticks from ``i`` to ``j``, a tick lasts at least
    ``(low_j - high_i) / n`` and at most ``(high_j - low_i) / n``; early edges are paired with late ones.

    Args:
        edges: two or more, in the order of time.
        numbers: how many ticks each comes after the first one, rising.

    Returns:
        None where no one period explains them all: the counter has none.

    >>> edges = [Edge(0.1, 0.01, 0.0, 0), Edge(0.205, 0.01, 0.0, 1), Edge(0.31, 0.01, 0.0, 2)]
    >>> least_s, most_s = tick_bounds(edges, [0, 1, 2])
    >>> round(least_s, 4), round(most_s, 4)
    (0.095, 0.115)
    """
    least_s, most_s = 0.0, float("inf")
    for i in range(min(_ENDS, len(edges) - 1)):
        for j in range(max(i + 1, len(edges) - _ENDS), len(edges)):
            between_s = edges[j].at_s - edges[i].at_s
            half_s = edges[i].half_s + edges[j].half_s
            ticks = numbers[j] - numbers[i]
            least_s = max(least_s, (between_s - half_s) / ticks)
            most_s = min(most_s, (between_s + half_s) / ticks)
    return (least_s, most_s) if least_s <= most_s else None
