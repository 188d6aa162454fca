"""Data of the drawn figures, as plain values: every text is formatted here, none in the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from joulecut.benchmarks.records import Comparison, PairRatio
from joulecut.estimate import Estimate
from joulecut.hw_models.profile import FilterEnergy
from joulecut.pruning.explaining import move
from joulecut.pruning.records import PruneRecord, PruneStep
from joulecut.reports.text import number, printable, quantity, remaining, shorten, spread

__all__ = ["forest", "search_path", "staircases", "ticks"]


def ticks(low: float, high: float, unit: str, count: int = 5) -> list[tuple[float, str]]:
    """Round values from ``low`` to ``high`` with their texts, at most ``count`` + 1 of them.

    Steps are 1, 2 or 5 times a power of ten. ``unit`` is as in ``text.quantity``, or "loss" for a
    plain number.

    >>> ticks(0.0, 1.0, "1")
    [(0.0, '0 %'), (0.2, '20 %'), (0.4, '40 %'), (0.6, '60 %'), (0.8, '80 %'), (1.0, '100 %')]
    """
    if not high > low:
        return [(low, _tick(low, unit, 0))]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - 1e-9)), 10 * power)
    decimals = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [(_short(at * step), _tick(at * step, unit, decimals)) for at in range(first, last + 1)]


def _tick(at: float, unit: str, decimals: int) -> str:
    if unit == "1":
        return f"{100 * at + 0.0:.{decimals}f} %"
    return number(at) if unit == "loss" else quantity(at, unit)


def _short(amount: float) -> float:
    return float(f"{amount:.6g}")


def staircases(
    filters: tuple[FilterEnergy, ...], kept: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Joules freed against filters removed, one small figure a group.

    ``at`` is the number of filters that the run removed, or None.
    """
    return [
        {
            "n": printable(stairs.path) or "(root)",
            "f": stairs.filters,
            "r": list(stairs.removed),
            "j": [_short(freed.value) for freed in stairs.freed],
            "lo": [_short(freed.bounds()[0]) for freed in stairs.freed],
            "hi": [_short(freed.bounds()[1]) for freed in stairs.freed],
            "t": [spread(freed) for freed in stairs.freed],
            "at": _removed(kept.get(stairs.path)),
        }
        for stairs in filters
        if stairs.freed
    ]


def _removed(widths: tuple[int, int] | None) -> int | None:
    return None if widths is None else widths[1] - widths[0]


def search_path(record: PruneRecord) -> dict[str, Any]:
    """Energy against accuracy (calibration loss where no accuracy is known) along the steps.

    The energy is a share of the original where the budget is one, and joules where it is in joules;
    each point carries the bounds at the confidence of the budget, on whose upper end it is met. Without a
    limit on the joules of an inference there is no line to reach.
    """
    by_share = record.budget.share is not None
    unit = "1" if by_share else "J"
    budget = None
    if record.budget.per == "inference":
        budget = record.budget.share if by_share else record.budget.energy_j
    by_accuracy = sum(step.accuracy is not None for step in record.steps) > 1
    points = [_point(step, record, by_accuracy) for step in record.steps]
    points = [point for point in points if point["y"] is not None]
    lines = _accuracy_lines(record) if by_accuracy else []
    start = 1.0 if by_share else record.before.total.value
    goal = [] if budget is None else [budget]
    xs = [start, *goal, *(bound for point in points for bound in (point["lo"], point["hi"]))]
    ys = [point["y"] for point in points] + [line["y"] for line in lines]
    low, high = min(ys, default=0.0), max(ys, default=1.0)
    pad = 0.06 * (high - low) or 0.01
    left, right = min(xs), max(xs)
    margin = 0.04 * (right - left)
    return {
        "x": [_short(left - margin), _short(right + margin)],
        "y": [_short(low - pad), _short(high + pad)],
        "xt": ticks(left, right, unit, 6),
        "yt": ticks(low, high, "1" if by_accuracy else "loss", 5),
        "xl": "energy left of the original" if by_share else "energy of one inference",
        "yl": "validation accuracy" if by_accuracy else "calibration loss",
        "budget": None if budget is None else {"x": _short(budget), "t": f"budget {quantity(budget, unit)}"},
        "lines": lines,
        "points": points,
    }


def _accuracy_lines(record: PruneRecord) -> list[dict[str, Any]]:
    marks = [(stage, accuracy) for stage, accuracy in record.rows[:1]]
    if record.budget.min_accuracy is not None:
        marks.append(("least allowed", record.budget.min_accuracy))
    return [
        {"y": _short(accuracy), "t": f"{printable(stage)}, {quantity(accuracy, '1')}"}
        for stage, accuracy in marks
    ]


def _point(step: PruneStep, record: PruneRecord, by_accuracy: bool) -> dict[str, Any]:
    by_share = record.budget.share is not None
    left = remaining(record.before.total, step.total) if by_share else step.total
    middle = step.share if left is None else left.value
    low, high = (middle, middle) if left is None else left.bounds(record.budget.confidence)
    grade = step.accuracy if by_accuracy else step.calibration_loss
    unit = "1" if by_accuracy else "loss"
    shown = "" if grade is None else _tick(grade, unit, 1)
    moved = shorten(printable(move(step)), 80)
    return {
        "x": _short(middle),
        "lo": _short(low),
        "hi": _short(high),
        "y": None if grade is None else _short(grade),
        "t": f"step {step.index}: {moved}, {quantity(middle, '1' if by_share else 'J')}, {shown}",
    }


def forest(comparison: Comparison) -> dict[str, Any]:
    """Paired ratios as points with their interval, beside the line of "same"."""
    rows = [row for pair in comparison.pairs for row in _ratio_rows(pair)]
    margin = max((pair.margin for pair in comparison.pairs), default=0.0)
    low = min([1 - 2 * margin, *(row["lo"] for row in rows)])
    high = max([1 + 2 * margin, *(row["hi"] for row in rows)])
    return {"x": [_short(low), _short(high)], "xt": ticks(low, high, "1"), "margin": margin, "rows": rows}


def _ratio_rows(pair: PairRatio) -> list[dict[str, Any]]:
    parts = (("wall time", pair.ratio, not pair.contended), ("CPU time", pair.cpu_ratio, pair.contended))
    return [_ratio_row(pair, label, estimate, decides) for label, estimate, decides in parts]


def _ratio_row(pair: PairRatio, label: str, estimate: Estimate, decides: bool) -> dict[str, Any]:
    low, high = estimate.bounds(0.9)
    return {
        "n": f"{printable(pair.b)} / {printable(pair.a)}",
        "by": label,
        "v": _short(estimate.value),
        "lo": _short(low),
        "hi": _short(high),
        "t": spread(estimate),
        "verdict": pair.verdict if decides else "",
    }
