"""Fit of positive coefficients to totals: ridge in log space towards the shape of a prior.

    log value = log(sum of quantity x coefficient), coefficient = exp(scale of the group + shape of the term)

Totals do not tell how a network's joules divide among collinear terms (activation bytes against depthwise
MACs), so each term's shape is held to its prior with a spread of ``SHAPE_SD``, while the scale is left to the
data. Every coefficient stays positive, and a term that no row speaks about keeps its place beside the others.
The loss is quadratic up to about ``ROBUST`` and linear beyond (soft L1), so that one row that was measured
while the machine was busy does not carry the fit away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fit", "fit"]

SHAPE_SD: Final = 0.5
"""Standard deviation of a coefficient's logarithm around the prior's shape: a factor of 1.6. Boards left out
of the published rows are predicted alike with anything from 0.35 to 1.0 (python -m perf.energy_models)."""
SCALE_SD: Final = 3.0
"""The same of a group's scale: a factor of 20, which the first row overrules."""
NOISE: Final = 0.05
"""Relative error of a measurement that the form of the model could explain."""
ROBUST: Final = 0.1
_STEPS: Final = 60
_SETTLED: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients of a fit.

    Attributes:
        shape: coefficient of each term (k), common to the groups.
        scales: factor of each group (g).
        residuals: measured over modelled value, as a logarithm, of each row (n).
    """

    shape: NDArray[np.float64]
    scales: NDArray[np.float64]
    residuals: NDArray[np.float64]


def fit(
    quantities: NDArray[np.float64],
    values: NDArray[np.float64],
    prior: NDArray[np.float64],
    groups: NDArray[np.intp] | None = None,
    *,
    shape_sd: float = SHAPE_SD,
) -> Fit:
    """Fit coefficients to totals.

    Args:
        quantities: how much of each term each row holds (n, k), none negative, no row without any.
        values: total of each row (n), positive.
        prior: coefficient of each term (k) that the shape is held to, positive.
        groups: number of the group that each row belongs to (n), all one group by default.
        shape_sd: standard deviation of a coefficient's logarithm around its prior.

    >>> import numpy as np
    >>> found = fit(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([6.0, 3.0]), np.array([2.0, 1.0]))
    >>> bool(np.allclose(found.shape * found.scales[0], [6.0, 3.0], rtol=1e-3))
    True
    """
    import numpy as np

    members = np.zeros(len(values), dtype=np.intp) if groups is None else groups
    terms, count = len(prior), int(members.max()) + 1
    start = np.log(prior)
    belongs = np.eye(count)[members]
    measured = np.log(values)
    shape = start.copy()
    scales = np.array(
        [np.median((measured - np.log(quantities @ prior))[members == group]) for group in range(count)]
    )
    centre = scales.copy()
    hold = 1 / np.concatenate([np.full(terms, shape_sd**2), np.full(count, SCALE_SD**2)])
    for _ in range(_STEPS):
        parts = quantities * np.exp(shape)
        totals = parts.sum(axis=1)
        residuals = measured - np.log(totals) - scales[members]
        weights = 1 / np.sqrt(1 + (residuals / ROBUST) ** 2) / NOISE**2
        slope = np.hstack([parts / totals[:, None], belongs])
        pull = hold * np.concatenate([start - shape, centre - scales])
        curvature = slope.T @ (slope * weights[:, None]) + np.diag(hold)
        step = np.clip(np.linalg.solve(curvature, slope.T @ (weights * residuals) + pull), -1.0, 1.0)
        shape = shape + step[:terms]
        scales = scales + step[terms:]
        if np.abs(step).max() < _SETTLED:
            break
    modelled = np.log(quantities @ np.exp(shape)) + scales[members]
    return Fit(np.exp(shape), np.exp(scales), measured - modelled)
