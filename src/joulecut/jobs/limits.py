"""Every limit of a budget held against what a network reached, each by itself."""

from __future__ import annotations

from collections.abc import Iterator

from joulecut.benchmarks.quality import wilson_interval
from joulecut.estimate import Estimate, Spread, ratio
from joulecut.pruning.budget import judge_figure
from joulecut.pruning.records import Budget, LimitCheck, Met
from joulecut.units import format_percent, format_quantity

__all__ = ["accuracy_estimate", "limit_checks"]


def limit_checks(
    budget: Budget,
    before: Estimate,
    after: Estimate,
    *,
    latency: Estimate | None = None,
    memory: Estimate | None = None,
    accuracy: Estimate | None = None,
) -> tuple[LimitCheck, ...]:
    """What was reached of each limit, and whether that meets it.

    Args:
        budget: the limits.
        before: joules of the original, per inference or training step as the budget says.
        after: joules of the result.
        latency: seconds of one inference of it.
        memory: its peak bytes.
        accuracy: its validation accuracy (``accuracy_estimate``).

    Costs are met on their upper bound, at the budget's confidence; the lowest accuracy on the figure itself,
    for it is a limit on these samples. A limit on a figure that is not known is ``unsure``.

    >>> joules = Estimate(2.0, "J", "assumed", "demo")
    >>> [check.met for check in limit_checks(Budget(energy_j=1.0, latency_s=0.1), joules, joules)]
    ['no', 'unsure']
    """
    return tuple(_checks(budget, before, after, latency, memory, accuracy))


def _checks(
    budget: Budget,
    before: Estimate,
    after: Estimate,
    latency: Estimate | None,
    memory: Estimate | None,
    accuracy: Estimate | None,
) -> Iterator[LimitCheck]:
    sure = budget.confidence
    energy = "energy"
    if budget.per == "training step":
        energy = f"energy of a training step of {budget.step_samples}"
    if budget.share is not None:
        asked = f"at most {format_percent(budget.share)} of the original"
        yield _check(energy, asked, ratio(after, before), budget.share, sure)
    if budget.energy_j is not None:
        asked = f"at most {format_quantity(budget.energy_j, 'J')}"
        yield _check(energy, asked, after, budget.energy_j, sure)
    if budget.latency_s is not None:
        asked = f"at most {format_quantity(budget.latency_s, 's')}"
        yield _check("latency", asked, latency, budget.latency_s, sure)
    if budget.memory_bytes is not None:
        asked = f"at most {format_quantity(budget.memory_bytes, 'B')}"
        yield _check("memory peak", asked, memory, budget.memory_bytes, sure)
    if budget.min_accuracy is not None:
        met: Met = "unsure"
        if accuracy is not None:
            met = "yes" if accuracy.value >= budget.min_accuracy else "no"
        asked = f"at least {format_percent(budget.min_accuracy)}"
        yield LimitCheck("validation accuracy", asked, accuracy, met)


def _check(what: str, asked: str, figure: Estimate | None, limit: float, confidence: float) -> LimitCheck:
    met: Met = "unsure" if figure is None else judge_figure(figure, limit, confidence)
    return LimitCheck(what, asked, figure, met)


def accuracy_estimate(accuracy: float, samples: int) -> Estimate:
    """A measured accuracy with the bounds of its score interval (Wilson 1927).

    Args:
        accuracy: share of the samples that are right, 0 to 1.
        samples: how many there are, at least 1.

    >>> str(accuracy_estimate(0.9, 100))
    '0.900 [0.840 to 0.939] (measured)'
    """
    right = round(accuracy * samples)
    (low_50, high_50), (low_90, high_90) = (
        wilson_interval(right, samples, confidence=confidence) for confidence in (0.5, 0.9)
    )
    own = Spread(accuracy - low_50, high_50 - accuracy, accuracy - low_90, high_90 - accuracy)
    return Estimate(accuracy, "1", "measured", "share of samples, score interval", n=samples, own=own)
