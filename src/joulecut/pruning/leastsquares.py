"""Ridge least squares on Gram matrices, in double precision, batched over groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from joulecut.pruning.threads import one_thread

__all__ = ["Gram", "Problem", "Solver", "gram", "product", "solve", "squares"]

_CHUNK: Final = 4096
_FLOOR: Final = 1e-12
_ENOUGH: Final = 10
"""Rows for each column from which on the ridge does not matter."""
_FACTORS: Final = (1.0, 10.0, 100.0, 1e3, 1e4)
"""Of the ridges tried where rows are few."""
_BLOCK: Final = 512
"""Columns of a block of a symmetric product."""
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
    return Gram(squares(x) / max(x.shape[1], 1), constant)


def squares(x: Tensor) -> Tensor:
    """x' x, as ``product(x, x)`` gives it, with half of the blocks of columns mirrored: in half the time.

    Returns:
        float64 [groups, columns, columns].
    """
    _, _, columns = x.shape
    if columns <= _BLOCK:
        return product(x, x)
    total = torch.empty(x.shape[0], columns, columns, dtype=torch.float64)
    for start in range(0, columns, _BLOCK):
        stop = start + _BLOCK
        total[:, start:, start:stop] = product(x[..., start:], x[..., start:stop])
        total[:, start:stop, stop:] = total[:, stop:, start:stop].transpose(1, 2)
    return total


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

        W = W0 + X' (X X' + p)^-1 (T - X W0)

    with p the penalty x rows (Saunders, Gammerman & Vovk 1998, "Ridge regression learning algorithm in dual
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
            self._solver = self._chosen(scaled)
        return self._solver(scaled)

    def _chosen(self, scaled: Tensor) -> _Solves:
        """With the ridge as given where columns have ten rows each, else the best on held-out samples."""
        _, rows, columns = self.x.shape
        if rows >= _ENOUGH * columns or int(self.sample[0]) == int(self.sample[-1]):
            return _system(self.scaled, self.previous, self.constant).with_ridge(self.ridge)
        first = int(self.sample[0]) + (int(self.sample[-1]) - int(self.sample[0]) + 1) * 3 // 4
        cut = int((self.sample < max(first, int(self.sample[0]) + 1)).sum())
        train, held_out = self.scaled[:, :cut], self.scaled[:, cut:]
        system = _system(train, self.previous, self.constant)
        ridge = self._least(system.on(scaled[:, :cut]), held_out, scaled[:, cut:])
        return system.with_rows(self.scaled, held_out).with_ridge(ridge)

    def _least(self, by_ridge: Callable[[float], Tensor], x: Tensor, target: Tensor) -> float:
        """The ridge with the least error on held-out rows: larger ones are tried until it rises."""
        best, least = self.ridge, math.inf
        for ridge in (self.ridge * factor for factor in _FACTORS):
            error = x @ by_ridge(ridge).float() - target
            with one_thread():
                size = float(error.double().square().sum())
            if size >= least:
                break
            best, least = ridge, size
        return best


_Solves = Callable[[Tensor], Tensor]


def _system(x: Tensor, previous: Tensor, constant: bool) -> _ByRows | _ByColumns:
    """The smaller of the two systems."""
    if x.shape[1] < x.shape[2] and x.shape[0] == 1:
        return _ByRows(x, previous, constant)
    return _ByColumns(x, previous, gram(x, constant))


@dataclass(frozen=True, slots=True, eq=False)
class _ByColumns:
    """The normal equations of the columns."""

    x: Tensor
    previous: Tensor
    gram: Gram

    def with_rows(self, x: Tensor, added: Tensor) -> _ByColumns:
        """With all rows x, of which some were added to those here."""
        share = added.shape[1] / x.shape[1]
        xx = (1 - share) * self.gram.xx + squares(added) / x.shape[1]
        return _ByColumns(x, self.previous, Gram(xx, self.gram.constant))

    def with_ridge(self, ridge: float) -> _Solves:
        """From targets to weights."""
        solver = Solver(self.gram, self.previous, ridge)
        return lambda target: solver(self._moments(target))

    def on(self, target: Tensor) -> Callable[[float], Tensor]:
        """From ridges to weights."""
        moments = self._moments(target)
        return lambda ridge: Solver(self.gram, self.previous, ridge)(moments)

    def _moments(self, target: Tensor) -> Tensor:
        return product(self.x, target) / max(self.x.shape[1], 1)


class _ByRows:
    """The system of the rows, fewer than the columns; a constant, which nothing pulls, is projected out."""

    def __init__(self, x: Tensor, previous: Tensor, constant: bool) -> None:
        self._constant = x[0, :, -1:] if constant else x[0, :, :0]
        self._x = x[0, :, :-1] if constant else x[0]
        self._all, self._previous = previous, previous[0, :-1] if constant else previous[0]
        with one_thread():
            self._moments = self._constant.T.double() @ self._x.double()
        self._centred = self._x - self._along(self._x)
        self._kernel = squares(self._centred.T[None])[0]
        with one_thread():
            self._level = float(self._x.square().double().mean(0).mean())

    def with_rows(self, x: Tensor, _added: Tensor) -> _ByRows | _ByColumns:
        """With all rows x: anew, as the constant is projected out of all of them."""
        return _system(x, self._all, bool(self._constant.shape[1]))

    def on(self, target: Tensor) -> Callable[[float], Tensor]:
        """From ridges to weights."""
        return lambda ridge: self.with_ridge(ridge)(target)

    def with_ridge(self, ridge: float) -> _Solves:
        """From targets to weights."""
        rows = len(self._x)
        penalty = rows * ((ridge + 1e-6) * max(self._level, _FLOOR) + _FLOOR)
        with one_thread():
            factor = torch.linalg.cholesky(self._kernel / penalty + torch.eye(rows, dtype=torch.float64))

        def solved(target: Tensor) -> Tensor:
            error = target[0] - self._x @ self._previous.float()
            with one_thread():
                dual = torch.cholesky_solve((error - self._along(error)).double(), factor)
            weights = self._previous.double() + (self._centred.T @ dual.float()).double() / penalty
            return torch.cat([weights, self._bias(target[0], weights)])[None]

        return solved

    def _bias(self, target: Tensor, weights: Tensor) -> Tensor:
        """The best weights of the constant beside these of the inputs; none without a constant."""
        with one_thread():
            left = self._constant.T.double() @ target.double() - self._moments @ weights
            return left / self._constant.double().square().sum().clamp_min(_FLOOR)

    def _along(self, values: Tensor) -> Tensor:
        """The part of values, by column, that the constant explains."""
        if not self._constant.shape[1]:
            return torch.zeros(())
        return self._constant @ (self._constant.T @ values / self._constant.square().sum())
