"""Budgets: read from text, and held against estimates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable

from joulecut.errors import UsageError
from joulecut.estimate import Estimate
from joulecut.pruning.records import Budget, Met, Per
from joulecut.units import parse_quantity

__all__ = ["all_of", "check", "judge_figure", "parse_budget"]

_SMALLEST_J = 1e-18
_LARGEST_J = 1e9
_SMALLEST_S = 1e-9
_LARGEST_S = 1e6
_LARGEST_B = 1e15
_EXAMPLE = "write joules per inference, as '12mJ', or a share of the original, as '50%'."


def parse_budget(
    text: str | None,
    *,
    min_accuracy: float | None = None,
    confidence: float = 0.9,
    latency: str | None = None,
    memory: str | None = None,
    per: Per = "inference",
    step_samples: int = 1,
) -> Budget:
    """Read ``"12 mJ"`` or ``"50%"``, and the limits beside it: ``"5 ms"``, ``"256 kB"``.

    Args:
        text: joules or a share of the original's; None for a budget of time or memory alone.
        min_accuracy: lowest validation accuracy allowed, 0 to 1.
        confidence: of the bounds that meet it, 0.5 or 0.9.
        latency: time of one inference.
        memory: peak memory of one inference.
        per: what the joules are counted over.
        step_samples: samples in a training step.

    Raises:
        UsageError: no budget, zero, negative, not finite, another unit, or out of any sensible range.

    >>> parse_budget("50%").share
    0.5
    >>> parse_budget("12mJ", latency="5 ms").latency_s
    0.005
    """
    energy = None if text is None else text.strip()
    relative = energy is not None and energy.endswith("%")
    return check(
        Budget(
            energy_j=parse_quantity(energy, "J") if energy is not None and not relative else None,
            share=_share(energy) if energy is not None and relative else None,
            min_accuracy=min_accuracy,
            confidence=confidence,
            latency_s=None if latency is None else parse_quantity(latency, "s"),
            memory_bytes=None if memory is None else parse_quantity(memory, "B"),
            per=per,
            step_samples=step_samples,
        )
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
    _check_energy(budget)
    _check_between(budget.latency_s, "s", _SMALLEST_S, _LARGEST_S, "time of an inference", "'5 ms'")
    _check_between(budget.memory_bytes, "B", 1.0, _LARGEST_B, "memory of an inference", "'256 kB'")
    if budget.per == "training step" and budget.energy_j is None and budget.share is None:
        raise UsageError("a budget per training step is one of joules:", hint=_EXAMPLE)
    if budget.step_samples < 1:
        raise UsageError(f"a training step has 1 sample or more, not {budget.step_samples}.")
    if budget.min_accuracy is not None and not 0 <= budget.min_accuracy <= 1:
        raise UsageError(f"the lowest accuracy lies between 0 and 1, not at {budget.min_accuracy:g}.")
    if budget.confidence not in (0.5, 0.9):
        raise UsageError(f"bounds are known at a confidence of 0.5 and 0.9, not {budget.confidence:g}.")
    return budget


def _check_energy(budget: Budget) -> None:
    if budget.energy_j is not None and budget.share is not None:
        raise UsageError("a budget is either joules or a share of the original:", hint=_EXAMPLE)
    amount = budget.energy_j if budget.energy_j is not None else budget.share
    if amount is None:
        if budget.latency_s is None and budget.memory_bytes is None:
            raise UsageError("a budget limits joules, time or memory, and this one nothing:", hint=_EXAMPLE)
        return
    if not math.isfinite(amount) or amount <= 0:
        raise UsageError(f"a budget must be above 0, not {amount}:", hint=_EXAMPLE)
    if budget.share is not None and budget.share >= 1:
        raise UsageError(
            f"a budget of {100 * budget.share:g} % of the original asks for no saving:", hint=_EXAMPLE
        )
    if budget.energy_j is not None and not _SMALLEST_J <= budget.energy_j <= _LARGEST_J:
        raise UsageError(f"a budget of {budget.energy_j:g} J is no energy of an inference:", hint=_EXAMPLE)


def _check_between(amount: float | None, unit: str, low: float, high: float, what: str, example: str) -> None:
    if amount is not None and not low <= amount <= high:
        raise UsageError(f"{amount:g} {unit} is no {what}:", hint=f"write a limit as {example}.")


def judge_figure(figure: Estimate, limit: float, confidence: float) -> Met:
    """Whether a figure is within a limit at a confidence: its upper bound must be.

    ``no`` when even the lower bound is above, ``unsure`` in between.

    >>> judge_figure(Estimate(1.0, "s", "modelled", "demo"), 2.0, 0.9)
    'yes'
    """
    low, high = figure.bounds(confidence)
    if high <= limit:
        return "yes"
    return "no" if low > limit else "unsure"


def all_of(verdicts: Iterable[Met]) -> Met:
    """Several limits as one: yes if all are met, no if one surely is not, else unsure.

    >>> all_of(["yes", "unsure"]), all_of(["unsure", "no"]), all_of([])
    ('unsure', 'no', 'yes')
    """
    found = set(verdicts)
    if "no" in found:
        return "no"
    return "unsure" if "unsure" in found else "yes"
