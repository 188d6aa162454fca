"""Measured rows on their way into a calibration: complete, positive, and not at odds with one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from joulecut.errors import UsageError
from joulecut.units import format_quantity
from joulecut.workload.layer import Workload

__all__ = ["MAX_ROWS", "Measured", "RawRow", "measured_rows"]

RawRow = tuple[Workload, float | None, float | None]
"""A network, its joules and its seconds of one inference; either may be None."""
MAX_ROWS: Final = 16
_FAR: Final = 10.0
"""Powers of one board that are further apart than this are a slip of units, not two networks."""
_LESS: Final = 4.0
"""A network that does no less work than another cannot take less than a quarter of its joules. The published
rows of one board, some of them measured while it was busy, are up to 2.4 apart that way."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row that can be fitted to."""

    workload: Workload
    energy_j: float
    latency_s: float | None


def measured_rows(rows: Sequence[RawRow], power_w: float | None = None) -> tuple[Measured, ...]:
    """Check rows, and turn latencies into joules by the one power that is known.

    Args:
        rows: 1 to 16 networks with joules, seconds or both.
        power_w: mean power while a network runs, where no row holds both joules and seconds.

    Raises:
        UsageError: too few or too many rows; a row without a figure, with one that is not positive, or
            without layers; the same network twice; rows that contradict one another; latencies without a
            power.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise UsageError(f"a calibration takes 1 to {MAX_ROWS} rows, not {len(rows)}.")
    if power_w is not None:
        _positive(power_w, "the power reading", "W")
    for number, (workload, energy_j, latency_s) in enumerate(rows, start=1):
        where = f"row {number} ({workload.name})"
        if not workload.layers:
            raise UsageError(f"{where} has no layers.", hint="Check that the network was read whole.")
        if energy_j is None and latency_s is None:
            raise UsageError(f"{where} has neither joules nor seconds.", hint="Measure one of them.")
        if energy_j is not None:
            _positive(energy_j, f"the energy of {where}", "J")
        if latency_s is not None:
            _positive(latency_s, f"the latency of {where}", "s")
    _no_duplicates(rows)
    known_w = power_w if power_w is not None else _power(rows)
    found = tuple(
        Measured(workload, _joules(workload, energy_j, latency_s, known_w), latency_s)
        for workload, energy_j, latency_s in rows
    )
    _no_contradictions(found)
    return found


def _positive(value: float, what: str, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{what} is {value} {unit}, which is not a positive number.")


def _no_duplicates(rows: Sequence[RawRow]) -> None:
    for (i, a), (j, b) in combinations(enumerate(rows, start=1), 2):
        if a[0].layers != b[0].layers or a[0].batch != b[0].batch:
            continue
        if a[1:] == b[1:]:
            raise UsageError(f"rows {i} and {j} are the same ({a[0].name}).", hint="Give each run once.")
        raise UsageError(
            f"rows {i} and {j} contradict each other: one network ({a[0].name}) with two results.",
            hint="Average repeated runs first.",
        )


def _power(rows: Sequence[RawRow]) -> float | None:
    """Geometric mean of joules over seconds, of the rows that hold both."""
    logs = [math.log(energy / latency) for _, energy, latency in rows if energy and latency]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def _joules(
    workload: Workload, energy_j: float | None, latency_s: float | None, power_w: float | None
) -> float:
    if energy_j is not None:
        return energy_j
    if power_w is None or latency_s is None:
        raise UsageError(
            f"{workload.name} has a latency only, and no power turns it into joules.",
            hint="Give power_w, or measure the energy of one network.",
        )
    return power_w * latency_s


def _no_contradictions(rows: Sequence[Measured]) -> None:
    timed = [(row, row.energy_j / row.latency_s) for row in rows if row.latency_s is not None]
    if timed:
        (low, low_w), (high, high_w) = min(timed, key=_second), max(timed, key=_second)
        if high_w > _FAR * low_w:
            raise UsageError(
                f"the rows contradict each other: {low.workload.name} runs at {format_quantity(low_w, 'W')}, "
                f"{high.workload.name} at {format_quantity(high_w, 'W')}.",
                hint="Joules and seconds are meant; check the units.",
            )
    for a, b in combinations(rows, 2):
        for less, more in ((a, b), (b, a)):
            if _no_less_work(more.workload, less.workload) and more.energy_j * _LESS < less.energy_j:
                raise UsageError(
                    f"the rows contradict each other: {more.workload.name} does no less of anything than "
                    f"{less.workload.name} and takes less than a quarter of its energy.",
                    hint="Measure both again.",
                )


def _second(pair: tuple[Measured, float]) -> float:
    return pair[1]


def _no_less_work(a: Workload, b: Workload) -> bool:
    """Whether a holds at least as much of every quantity as b."""
    return all(x >= y for x, y in zip(_quantities(a), _quantities(b), strict=True))


def _quantities(workload: Workload) -> tuple[int, int, int, int, int]:
    layers = workload.layers
    return (
        sum(layer.macs for layer in layers if layer.kind != "depthwise"),
        sum(layer.macs for layer in layers if layer.kind == "depthwise"),
        sum(layer.weight_bytes * layer.calls for layer in layers),
        sum(layer.in_bytes + layer.out_bytes for layer in layers),
        sum(layer.calls for layer in layers),
    )
