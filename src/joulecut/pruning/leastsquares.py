"""Ridge least squares on Gram matrices, in double precision, batched over groups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from joulecut.pruning.threads import one_thread

__all__ = ["Gram", "Problem", "Solver", "gram", "product", "solve"]

_CHUNK: Final = 4096
_FLOOR: Final = 1e-12
_ENOUGH: Final = 10
"""Rows for each column from which on the ridge does not matter."""
_FACTORS: Final = (1.0, 10.0, 100.0, 1e3, 1e4)
"""Of the ridges tried where rows are few."""
_FREE: Final = 1e-4
"""Of the penalty of a constant in the system of the rows, which none would make singular."""
_LARGE: Final = 10_000
"""Entries of a product from which on it is split among threads by rows and columns, never along its sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Second moments of the rows of a problem, means over rows.

    Attributes:
        xx: [groups, columns, columns], float64.
        constant: the last column is the constant 1 (never penalised).
    """

    xx: Tensor
    constant: bool

    def penalty(self, ridge: float) -> Tensor:
        """The ridge by column: ``ridge`` x mean diagonal, 0 for the constant; float64 [groups, columns]."""
        diagonal = self.xx.diagonal(dim1=-2, dim2=-1)
        inputs = diagonal[:, :-1] if self.constant else diagonal
        level = inputs.mean(-1, keepdim=True).clamp_min(_FLOOR)
        penalty = (ridge * level).expand_as(diagonal).clone()
        if self.constant:
            penalty[:, -1] = 0
        return penalty


def gram(x: Tensor, constant: bool) -> Gram:
    """Gram matrix of rows x: float [groups, rows, columns]; products in float32, sums in float64."""
    return Gram(product(x, x) / max(x.shape[1], 1), constant)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a' b summed over rows in chunks: float64 [groups, columns of a, columns of b].

    The same bits with any number of threads: only large products run on several, and those are not split
    along the rows.
    """
    total = torch.zeros(a.shape[0], a.shape[2], b.shape[2], dtype=torch.float64)
    small = a.shape[2] * b.shape[2] < _LARGE
    with one_thread() if small else nullcontext():
        for start in range(0, a.shape[1], _CHUNK):
            piece = slice(start, start + _CHUNK)
            total += (a[:, piece].transpose(1, 2) @ b[:, piece]).double()
    return total


def solve(xx: Gram, xt: Tensor, previous: Tensor, ridge: float) -> Tensor:
    """Minimise |X W - T|^2 / rows + sum of penalty x (W - previous)^2.

    The ridge pulls towards the weights before, not towards zero, which would shrink every output.

    Args:
        xx: Gram of the inputs.
        xt: X'T / rows, float64 [groups, columns, outputs].
        previous: weights before, [groups, columns, outputs].
        ridge: relative to the mean diagonal of the Gram.

    Returns:
        Weights, float64 [groups, columns, outputs].
    """
    return Solver(xx, previous, ridge)(xt)


class Solver:
    """``solve`` for several targets, with one factor.

    Args:
        xx: Gram of the inputs.
        previous: weights before, [groups, columns, outputs].
        ridge: relative to the mean diagonal of the Gram.
    """

    def __init__(self, xx: Gram, previous: Tensor, ridge: float) -> None:
        penalty = xx.penalty(ridge)
        jitter = 1e-6 * penalty.amax(-1, keepdim=True) / max(ridge, _FLOOR) + _FLOOR
        with one_thread():
            self._factor = torch.linalg.cholesky(xx.xx + torch.diag_embed(penalty + jitter))
        self._pull = (penalty + jitter)[..., None] * previous.double()

    def __call__(self, xt: Tensor) -> Tensor:
        """Weights for X'T / rows, float64 [groups, columns, outputs]."""
        with one_thread():
            return torch.cholesky_solve(xt + self._pull, self._factor)


class Problem:
    """One layer's least squares: rows X and a pull to weights, solved for several targets.

    With fewer rows than columns the equivalent system of the rows is solved,

        W = W0 + D^-1 X' (X D^-1 X' + rows)^-1 (T - X W0)

    with D the penalties x rows (Saunders, Gammerman & Vovk 1998, "Ridge regression learning algorithm in dual
    variables", ICML): exact, and a layer of 25,000 inputs takes no more than its rows. Where rows are few the
    ridge is chosen on samples held out, not rows: positions of one image are not independent.

    Args:
        x: rows, float [groups, rows, columns], the last column 1 where ``constant``.
        scale: square roots of the rows' weights, float [rows, 1].
        previous: weights before, [groups, columns, outputs].
        ridge: relative to the mean diagonal of the Gram; the least of those tried where rows are few.
        constant: the last column is the constant 1.
        sample: which sample each row is of, int64 [rows], sorted.
    """

    def __init__(
        self, x: Tensor, scale: Tensor, previous: Tensor, ridge: float, constant: bool, sample: Tensor
    ) -> None:
        self.x, self.scaled, self.scale = x, x * scale, scale
        self.previous, self.ridge, self.constant, self.sample = previous, ridge, constant, sample
        self._solver: _Solves | None = None

    def solve(self, target: Tensor) -> Tensor:
        """Weights for targets, float [groups, rows, outputs]: float64 [groups, columns, outputs]."""
        scaled = target * self.scale
        if self._solver is None:
            self._solver = self._with(self._chosen(scaled), slice(None))
        return self._solver(scaled)

    def _with(self, ridge: float, rows: slice) -> _Solves:
        x = self.scaled[:, rows]
        if x.shape[1] < x.shape[2] and x.shape[0] == 1:
            return _ByRows(x, self.previous, ridge, self.constant)
        return _ByColumns(x, self.previous, ridge, self.constant)

    def _chosen(self, scaled: Tensor) -> float:
        """The ridge: as given with ten rows for each column, else the best on the last quarter of samples."""
        _, rows, columns = self.x.shape
        if rows >= _ENOUGH * columns or int(self.sample[0]) == int(self.sample[-1]):
            return self.ridge
        first = int(self.sample[0]) + (int(self.sample[-1]) - int(self.sample[0]) + 1) * 3 // 4
        cut = int((self.sample < max(first, int(self.sample[0]) + 1)).sum())
        train, held_out = slice(0, cut), slice(cut, rows)
        errors = []
        for factor in _FACTORS:
            w = self._with(self.ridge * factor, train)(scaled[:, train])
            error = self.scaled[:, held_out] @ w.float() - scaled[:, held_out]
            with one_thread():
                errors.append(float(error.double().square().sum()))
        return self.ridge * _FACTORS[min(range(len(errors)), key=lambda i: errors[i])]


_Solves = Callable[[Tensor], Tensor]


class _ByColumns:
    """The normal equations of the columns."""

    def __init__(self, x: Tensor, previous: Tensor, ridge: float, constant: bool) -> None:
        self._x = x
        self._solver = Solver(gram(x, constant), previous, ridge)

    def __call__(self, target: Tensor) -> Tensor:
        return self._solver(product(self._x, target) / max(self._x.shape[1], 1))


class _ByRows:
    """The system of the rows, fewer than the columns; a constant is all but free to move."""

    def __init__(self, x: Tensor, previous: Tensor, ridge: float, constant: bool) -> None:
        self._x, self._previous = x[0], previous[0].double()
        rows = len(self._x)
        with one_thread():
            diagonal = self._x.double().square().mean(0)
        penalty = (ridge * (diagonal[:-1] if constant else diagonal).mean().clamp_min(_FLOOR)).expand_as(
            diagonal
        )
        penalty = penalty * (1 + 1e-6 / max(ridge, _FLOOR)) + _FLOOR
        if constant:
            penalty = torch.cat([penalty[:-1], penalty[-1:] * _FREE])
        self._shrunk = (self._x / (penalty * rows).sqrt()).float()
        self._back = (penalty * rows).rsqrt()
        kernel = product(self._shrunk.T[None], self._shrunk.T[None])[0]
        with one_thread():
            self._factor = torch.linalg.cholesky(kernel + torch.eye(rows, dtype=torch.float64))

    def __call__(self, target: Tensor) -> Tensor:
        error = target[0].double() - (self._x @ self._previous.float()).double()
        with one_thread():
            dual = torch.cholesky_solve(error, self._factor)
        step = (self._shrunk.T @ dual.float()).double() * self._back[:, None]
        return (self._previous + step)[None]
