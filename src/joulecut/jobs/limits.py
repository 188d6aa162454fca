"""The lowest accuracy of a budget, held against what a network reached; costs are judged by the search."""

from __future__ import annotations

from joulecut.benchmarks.quality import wilson_interval
from joulecut.estimate import Estimate, Spread
from joulecut.pruning.records import LimitCheck, Met
from joulecut.units import format_percent

__all__ = ["accuracy_check", "accuracy_estimate"]


def accuracy_check(least: float, accuracy: float, samples: int) -> LimitCheck:
    """Whether a validation accuracy is high enough: its figure decides, as the limit is one on these samples.

    Args:
        least: the lowest accuracy allowed, 0 to 1.
        accuracy: share of the validation samples that are right, 0 to 1.
        samples: how many there are, at least 1.

    >>> accuracy_check(0.9, 0.88, 50).met
    'no'
    """
    figure = accuracy_estimate(accuracy, samples)
    met: Met = "yes" if accuracy >= least else "no"
    return LimitCheck("validation accuracy", f"at least {format_percent(least)}", figure, met)


def accuracy_estimate(accuracy: float, samples: int) -> Estimate:
    """A measured accuracy with the bounds of its score interval (Wilson 1927).

    >>> str(accuracy_estimate(0.9, 100))
    '0.900 [0.840 to 0.939] (measured)'
    """
    right = round(accuracy * samples)
    (low_50, high_50), (low_90, high_90) = (
        wilson_interval(right, samples, confidence=confidence) for confidence in (0.5, 0.9)
    )
    own = Spread(accuracy - low_50, high_50 - accuracy, accuracy - low_90, high_90 - accuracy)
    return Estimate(accuracy, "1", "measured", "share of samples, score interval", n=samples, own=own)
