"""Tables of perf.sensors: true joules, what each tool said, and the bars."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perf.sensors_cases import Case


@dataclass(frozen=True)
class Verdict:
    """One bar: what it says, with the figure, and whether it is met."""

    says: str
    met: bool


def print_case(case: Case, answers: dict[str, dict[str, Any]]) -> list[Verdict]:
    """Print one case; the bars that it is about."""
    rows = answers["joulecut"].get("rows", [])
    truth = statistics.median(row[0] for row in rows) if rows else math.nan
    print(f"\n{case.name}: true {truth:.3g} J a {'call' if case.repeat_s else 'window'}, {len(rows)} of them")
    for tool, answer in answers.items():
        print(f"  {tool:<12} {_line(answer)}")
    return _verdicts(case, answers["joulecut"])


def _line(answer: dict[str, Any]) -> str:
    if "refused" in answer:
        return f"no figure: {answer['refused']}"
    rows = answer["rows"]
    given = [row for row in rows if row[1] is not None]
    errors = _errors(rows)
    silent = len(rows) - len(given)
    notes = dict.fromkeys(row[2] for row in rows if row[2])
    parts = [f"{silent} of {len(rows)} without a figure"] if silent else []
    if given:
        middle = statistics.median(row[1] for row in given)
        worst = max(errors, key=abs)
        parts.insert(0, f"{middle:9.4g} J  median {statistics.median(errors):+8.2%}  worst {worst:+9.2%}")
    qualities = dict.fromkeys(row[3] for row in rows if len(row) > 3)
    words = [*parts, *(", ".join(qualities),) * bool(qualities), *list(notes)[:2]]
    return "  ".join(words)[:230]


def _errors(rows: Sequence[Sequence[Any]]) -> list[float]:
    """Relative errors of the windows with a figure."""
    return [row[1] / row[0] - 1 for row in rows if row[1] is not None]


def _verdicts(case: Case, answer: dict[str, Any]) -> list[Verdict]:
    if "refused" in answer:
        return [Verdict(f"{case.name}: joulecut gave no answer ({answer['refused']})", False)]
    rows = answer["rows"]
    good = [row for row in rows if row[3] == "good"]
    wrong = [row for row in good if not row[4] <= row[0] <= row[5]]
    found = [Verdict(f"{case.name}: {len(wrong)} wrong of {len(good)} figures called good", not wrong)]
    bounded = [row for row in rows if row[3] == "below resolution"]
    if bounded:
        outside = sum(not row[4] <= row[0] <= row[5] for row in bounded)
        found.append(
            Verdict(f"{case.name}: {outside} of {len(bounded)} true values outside their bounds", not outside)
        )
    if case.bar:
        error = quantile_95([abs(error) for error in _errors(rows)] or [math.inf])
        found.append(
            Verdict(
                f"{case.name}: 95 % of {len(rows)} errors within {error:.2%}, bar {case.bar:.1%}",
                error <= case.bar,
            )
        )
    return found


def quantile_95(values: Sequence[float]) -> float:
    """The smallest value that 95 % do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]
