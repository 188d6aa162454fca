"""Masked least squares: the best weights that are zero where a mask says so, in closed form.

Each output of a layer has a problem of its own, over the inputs that its mask keeps. Outputs with the same
mask share one Cholesky factor, so a layer without zeros is solved as one problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.pruning.leastsquares import Gram

__all__ = ["MaskedProblem", "lower_factor", "masked_solve", "penalties"]

_JITTER, _TINY = 1e-9, 1e-12
_SHARES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Shares of the mean diagonal that are added where a factor fails without."""
_FACTOR_BYTES = 512 << 20
"""Most memory for the factors that are kept while right-hand sides change."""

Again = Callable[[Tensor, int, Tensor], Tensor]
"""New right-hand sides: from weights [columns, outputs] of outputs (indices) of a group to X'T / rows."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskedProblem:
    """Minimise |X W - T|^2 / rows + sum of ridge x (W - previous)^2 over W that is zero outside of a mask.

    Attributes:
        gram: second moments of X, [groups, columns, columns].
        right: X'T / rows, float64 [groups, columns, outputs].
        previous: weights to stay near, [groups, columns, outputs].
        keep: the mask, bool [groups, columns, outputs]; a constant column is always kept.
        ridge: pull towards ``previous``, relative to the mean diagonal.
    """

    gram: Gram
    right: Tensor
    previous: Tensor
    keep: Tensor
    ridge: float


def masked_solve(problem: MaskedProblem, again: Again | None = None, passes: int = 0) -> Tensor:
    """The best weights of a masked problem.

    Args:
        problem: what to solve.
        again: gives right-hand sides anew from the weights found, as where a ReLU lets only one side count.
        passes: how often.

    Returns:
        Weights, float64 [groups, columns, outputs]; exactly zero outside of the mask.

    >>> x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    >>> target = torch.tensor([[[1.0], [0.0], [3.0]]])  # alone, the first input would best be taken twice
    >>> moments = Gram(x.transpose(1, 2).double() @ x.double() / 3, constant=False)
    >>> right = x.transpose(1, 2).double() @ target.double() / 3
    >>> keep = torch.tensor([[[True], [False]]])
    >>> found = masked_solve(MaskedProblem(moments, right, torch.zeros(1, 2, 1), keep, 0.0))
    >>> [round(weight, 4) for weight in found.flatten().tolist()]
    [2.0, 0.0]
    """
    penalty = penalties(problem.gram, problem.ridge)
    left = problem.gram.xx + torch.diag_embed(penalty)
    pull = penalty[..., None] * problem.previous.double()
    found = torch.zeros_like(pull)
    for group, masks in _in_memory(problem.keep):
        factors = [lower_factor(left[group][at][:, at]) for at, _ in masks]
        outputs = torch.cat([part for _, part in masks])
        right = problem.right[group].clone()
        for number in range(passes + 1):
            for (at, part), factor in zip(masks, factors, strict=True):
                wanted = (right + pull[group])[at][:, part]
                found[group, at[:, None], part] = torch.cholesky_solve(wanted, factor)
            if again is not None and number < passes:
                right[:, outputs] = again(found[group][:, outputs], group, outputs)
    return found


def penalties(moments: Gram, ridge: float) -> Tensor:
    """The ridge by column, above zero for columns that are zero: float64 [groups, columns]."""
    level = moments.xx.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return moments.penalty(ridge) + level * _JITTER + _TINY


def lower_factor(matrix: Tensor) -> Tensor:
    """Cholesky factor of moments, [..., columns, columns], with as much on the diagonal as it takes.

    Sums in float32 can leave moments of columns that repeat each other slightly indefinite.

    Raises:
        LinAlgError: the moments are not finite.
    """
    level = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    factor: Tensor
    for share in (0.0, *_SHARES):
        factor, failed = torch.linalg.cholesky_ex(matrix + share * level * identity)
        if not bool(failed.any()):
            return factor
    factor = torch.linalg.cholesky(matrix)
    return factor


def _in_memory(keep: Tensor) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
    """Group and sets of kept columns and the outputs that keep them, as many as fit into memory together."""
    for group in range(keep.shape[0]):
        masks, which = torch.unique(keep[group].T, dim=0, return_inverse=True)
        held: list[tuple[Tensor, Tensor]] = []
        taken = 0
        for number, mask in enumerate(masks):
            at = torch.nonzero(mask).flatten()
            if held and taken + 8 * len(at) ** 2 > _FACTOR_BYTES:
                yield group, held
                held, taken = [], 0
            if len(at):
                held.append((at, torch.nonzero(which == number).flatten()))
                taken += 8 * len(at) ** 2
        if held:
            yield group, held
