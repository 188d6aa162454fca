"""Student's t, without scipy and numpy: what intervals of repeated measurements are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["mean_half_widths", "t_quantile"]


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution, by bisection on its closed-form distribution function.

    The finite series for whole degrees of freedom is Abramowitz and Stegun, Handbook of Mathematical
    Functions (1964), 26.7.3 and 26.7.4.

    Args:
        probability: between 0 and 1, both excluded.
        degrees: degrees of freedom, at least 1.

    Raises:
        ValueError: arguments out of their range.

    >>> round(t_quantile(0.975, 2), 6)
    4.302653
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no t quantile at {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if (1 + _central_t_mass(middle, degrees)) / 2 < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _central_t_mass(theta: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(theta))."""
    odd = degrees % 2 == 1
    cosine = math.cos(theta)
    term = cosine if odd else 1.0
    series = term if degrees > 1 else 0.0
    for power in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        series += term
    mass = math.sin(theta) * series
    return 2 / math.pi * (theta + mass) if odd else mass


def mean_half_widths(values: Sequence[float]) -> tuple[float, float]:
    """Half widths of the Student-t intervals of a mean, at 50 and at 90 %; needs two values.

    >>> half_50, half_90 = mean_half_widths([1.0, 3.0])
    >>> round(half_50, 6), round(half_90, 6)
    (1.0, 6.313752)
    """
    n = len(values)
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return t_quantile(0.75, n - 1) * error, t_quantile(0.95, n - 1) * error
