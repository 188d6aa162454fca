"""Ridge least squares on Gram matrices, in double precision, batched over groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Gram", "gram", "solve"]

_CHUNK = 4096
_FLOOR = 1e-12


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
    """a' b summed over rows in chunks: float64 [groups, columns of a, columns of b]."""
    total = torch.zeros(a.shape[0], a.shape[2], b.shape[2], dtype=torch.float64)
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
    penalty = xx.penalty(ridge)
    jitter = 1e-6 * penalty.amax(-1, keepdim=True) / max(ridge, _FLOOR) + _FLOOR
    left = xx.xx + torch.diag_embed(penalty + jitter)
    right = xt + (penalty + jitter)[..., None] * previous.double()
    return torch.cholesky_solve(right, torch.linalg.cholesky(left))
