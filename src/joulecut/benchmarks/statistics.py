"""Intervals for timings, without scipy: order statistics, ratios over sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from joulecut.estimate import Estimate, Spread
from joulecut.profiler.statistics import t_quantile

__all__ = ["BATCHES", "order_statistic_ranks", "quantile_estimate", "ratio_estimate", "t_quantile"]

BATCHES = 20
"""Batch medians behind a ratio, over all its sessions: calls are autocorrelated, their batches hardly."""

_CONFIDENCES = (0.5, 0.9)


def order_statistic_ranks(n: int, q: float, confidence: float) -> tuple[int, int] | None:
    """Ranks (from 1) of the two sorted values between which the q quantile lies with that confidence.

    The number of values below the quantile is binomial(n, q), whatever the distribution (David and Nagaraja,
    Order Statistics, 3rd ed., 2003, section 7.1). Each tail holds at most (1 - confidence) / 2.

    Returns:
        The ranks, or None where ``n`` values cannot give that confidence.

    >>> order_statistic_ranks(10, 0.5, 0.9)
    (2, 9)
    """
    tail = (1 - confidence) / 2
    below = above = None
    cumulative = 0.0
    for successes, mass in _binomial(n, q):
        if cumulative <= tail:
            below = successes
        cumulative += mass
        if cumulative >= 1 - tail:
            above = successes + 1
            break
    return (below, above) if below and above and above <= n else None


def _binomial(n: int, q: float) -> list[tuple[int, float]]:
    """Counts and their probabilities within 12 standard deviations of the mean."""
    reach = 12 * math.sqrt(n * q * (1 - q)) + 2
    first, last = max(0, math.floor(n * q - reach)), min(n, math.ceil(n * q + reach))
    choose = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    mass = math.exp(choose + first * math.log(q) + (n - first) * math.log1p(-q))
    masses = [(first, mass)]
    for k in range(first, last):
        mass *= (n - k) / (k + 1) * q / (1 - q)
        masses.append((k + 1, mass))
    return masses


def quantile_estimate(sessions: Sequence[NDArray[np.float64]], q: float, what: str) -> Estimate | None:
    """A quantile of the calls of all sessions, in seconds.

    Its interval is that of the order statistics, which takes calls as independent, widened (in quadrature, in
    the log) by the t interval of the sessions' own quantiles: calls of one session share its luck.

    Args:
        sessions: seconds per call, all positive, one array a session.
        q: the quantile, 0 to 1.
        what: what was timed, for the method's name.

    Returns:
        The estimate, or None where there are too few calls for a 90 % interval.
    """
    values = np.sort(np.concatenate(sessions))
    value = float(np.quantile(values, q))
    between = _session_error([math.log(float(np.quantile(s, q))) for s in sessions if len(s)])
    distances: list[float] = []
    for confidence in _CONFIDENCES:
        ranks = order_statistic_ranks(len(values), q, confidence)
        if ranks is None:
            return None
        low, high = (math.log(float(values[rank - 1]) / value) for rank in ranks)
        shared = _half_width(*between, confidence) if between else 0.0
        distances += [
            value * -math.expm1(-math.hypot(min(low, 0.0), shared)),
            value * math.expm1(math.hypot(max(high, 0.0), shared)),
        ]
    method = f"{what}, p{100 * q:g} of {len(sessions)} sessions"
    return Estimate(value, "s", "measured", method, n=len(values), own=Spread(*distances))


def ratio_estimate(sessions: Sequence[NDArray[np.float64]], what: str) -> Estimate:
    """The ratio behind paired log-ratios, with a Student-t interval.

    Each session's log-ratios are cut into runs, about 20 in all; a run counts by its median. The variance is
    that within sessions (medians about their session's mean) or that of the session means, whichever is
    larger: the session means already hold the part within.

    Args:
        sessions: one array of log(b / a) a session, in the order of measurement; none empty.
        what: what was timed, for the method's name.

    Raises:
        ValueError: a single log-ratio has no spread.
    """
    per_session = math.ceil(BATCHES / len(sessions))
    medians = [
        np.array([np.median(run) for run in np.array_split(s, min(per_session, len(s)))]) for s in sessions
    ]
    means = [float(m.mean()) for m in medians]
    error, degrees = _combined_error(medians, means)
    value = math.exp(sum(means) / len(means))
    halves = [_half_width(error, degrees, confidence) for confidence in _CONFIDENCES]
    distances = [side for half in halves for side in (value * -math.expm1(-half), value * math.expm1(half))]
    n = sum(len(s) for s in sessions)
    method = f"paired {what}, {sum(map(len, medians))} batch medians of {len(sessions)} sessions"
    return Estimate(value, "1", "measured", method, n=n, own=Spread(*distances))


def _combined_error(medians: Sequence[NDArray[np.float64]], means: Sequence[float]) -> tuple[float, int]:
    """Standard error of the mean of session means and its degrees of freedom."""
    n = sum(map(len, medians))
    inner_degrees = n - len(medians)
    between = _session_error(means)
    within = None
    if inner_degrees:
        squares = sum(float(np.sum((m - m.mean()) ** 2)) for m in medians)
        within = (math.sqrt(squares / inner_degrees / n), inner_degrees)
    known = [error for error in (within, between) if error is not None]
    if not known:
        raise ValueError("one log-ratio has no spread")
    return max(known)


def _session_error(values: Sequence[float]) -> tuple[float, int] | None:
    """Standard error of the mean of the sessions' values and its degrees of freedom."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values) - 1


def _half_width(error: float, degrees: int, confidence: float) -> float:
    return t_quantile((1 + confidence) / 2, degrees) * error
