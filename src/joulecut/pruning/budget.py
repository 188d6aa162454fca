"""Budgets: read from text, and held against an estimate with its interval."""

from __future__ import annotations

import math

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, ratio
from joulecut.pruning.records import Budget, Met
from joulecut.units import parse_quantity

__all__ = ["allowed_j", "check", "judge_budget", "parse_budget"]

_SMALLEST_J = 1e-18
_LARGEST_J = 1e9


def parse_budget(text: str, *, min_accuracy: float | None = None, confidence: float = 0.9) -> Budget:
    """Read ``"12 mJ"`` or ``"50%"``.

    Raises:
        UsageError: no budget, zero, negative, not finite, another unit, or out of any sensible range.

    >>> parse_budget("50%").share
    0.5
    >>> parse_budget("12mJ").energy_j
    0.012
    """
    stripped = text.strip()
    if stripped.endswith("%"):
        return check(Budget(share=_share(stripped), min_accuracy=min_accuracy, confidence=confidence))
    return check(
        Budget(energy_j=parse_quantity(stripped, "J"), min_accuracy=min_accuracy, confidence=confidence)
    )


def _share(text: str) -> float:
    try:
        return float(text[:-1]) / 100
    except ValueError:
        raise UsageError(f"{text[:80]!r} is not a share:", hint="write a percentage, as '50%'.") from None


def check(budget: Budget) -> Budget:
    """The budget itself, if it makes sense.

    Raises:
        UsageError: as ``parse_budget``.
    """
    example = "write joules per inference, as '12mJ', or a share of the original, as '50%'."
    if (budget.energy_j is None) == (budget.share is None):
        raise UsageError("a budget is either joules or a share of the original:", hint=example)
    amount = budget.energy_j if budget.energy_j is not None else budget.share
    if amount is None or not math.isfinite(amount) or amount <= 0:
        raise UsageError(f"a budget must be above 0, not {amount}:", hint=example)
    if budget.share is not None and budget.share >= 1:
        raise UsageError(
            f"a budget of {100 * budget.share:g} % of the original asks for no saving:", hint=example
        )
    if budget.energy_j is not None and not _SMALLEST_J <= budget.energy_j <= _LARGEST_J:
        raise UsageError(f"a budget of {budget.energy_j:g} J is no energy of an inference:", hint=example)
    if budget.min_accuracy is not None and not 0 <= budget.min_accuracy <= 1:
        raise UsageError(f"the lowest accuracy lies between 0 and 1, not at {budget.min_accuracy:g}.")
    if budget.confidence not in (0.5, 0.9):
        raise UsageError(f"bounds are known at a confidence of 0.5 and 0.9, not {budget.confidence:g}.")
    return budget


def _bounded(budget: Budget, before: Estimate, after: Estimate) -> tuple[Estimate, float]:
    """The figure that the budget limits, and the limit."""
    if budget.share is not None:
        return ratio(after, before), budget.share
    assert budget.energy_j is not None
    return after, budget.energy_j


def judge_budget(budget: Budget, before: Estimate, after: Estimate) -> Met:
    """Whether a budget is met at its confidence: the upper bound must be under it.

    ``no`` when even the lower bound is above, ``unsure`` in between. For a share the bounds are those of the
    ratio, where what is common to the device cancels.
    """
    figure, limit = _bounded(budget, before, after)
    low, high = figure.bounds(budget.confidence)
    if high <= limit:
        return "yes"
    return "no" if low > limit else "unsure"


def allowed_j(budget: Budget, before: Estimate, after: Estimate) -> float:
    """The largest modelled energy whose upper bound meets the budget, given how wide the bounds are now.

    >>> before = Estimate(2.0, "J", "assumed", "demo")
    >>> allowed_j(parse_budget("50%"), before, before)
    1.0
    """
    figure, limit = _bounded(budget, before, after)
    high = figure.bounds(budget.confidence)[1]
    return after.value * limit / high
