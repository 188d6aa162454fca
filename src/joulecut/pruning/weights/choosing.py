"""Which weights go, by what least squares loses without them: one sweep over a layer's inputs.

With H the second moments of a layer's inputs and U the upper Cholesky factor of their inverse, setting weight
j to zero and re-solving the weights behind it costs (w_j / U_jj)^2, and shifts them by -w_j / U_jj x U_j
(Frantar & Alistarh, "SparseGPT", arXiv:2301.00774; for one weight Hassibi & Stork 1993). Inputs are swept tap
by tap, so that the groups of N:M and the columns of a block follow one another; the constant comes last. The
weights that stay are re-solved exactly afterwards (``solving``), so the sweep only chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from joulecut.hw_models.sparsity import WeightPattern
from joulecut.pruning.leastsquares import Gram
from joulecut.pruning.weights.masks import Amount, block_means, keep_mask
from joulecut.pruning.weights.solving import lower_factor, penalties

__all__ = ["LayerShape", "chosen", "weight_scores"]

_SWEEPS = 4
"""Sweeps until the limit below which weights go has settled: it moves little after two."""
_CHUNK = 128
"""Columns whose shifts are passed on together, as one matrix product."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """How the columns of a layer's problem are its weights: [groups x outputs, inputs, taps].

    Attributes:
        groups: problems of their own.
        outputs: outputs of a group.
        inputs: inputs of an output.
        taps: weights of an input; the columns are input-major, and a constant may follow them.
    """

    groups: int
    outputs: int
    inputs: int
    taps: int

    @property
    def columns(self) -> int:
        """Columns without the constant."""
        return self.inputs * self.taps

    def as_weights(self, packed: Tensor) -> Tensor:
        """[groups, columns (and a constant), outputs] as [groups x outputs, inputs, taps]."""
        rows = packed[:, : self.columns].transpose(1, 2)
        return rows.reshape(self.groups * self.outputs, self.inputs, self.taps)

    def as_columns(self, keep: Tensor, constant: bool) -> Tensor:
        """A mask of weights as one of columns, [groups, columns (and a constant), outputs]."""
        packed = keep.reshape(self.groups, self.outputs, self.columns).transpose(1, 2)
        return torch.nn.functional.pad(packed, (0, 0, 0, int(constant)), value=True)

    def order(self, constant: bool) -> Tensor:
        """Columns tap by tap, the constant last."""
        swept = torch.arange(self.columns).reshape(self.inputs, self.taps).T.flatten()
        return torch.cat([swept, torch.tensor([self.columns])]) if constant else swept

    def spans(self, width: int) -> tuple[tuple[int, int], ...]:
        """Inputs of a tap, so many at a time, as places in the order of the sweep."""
        starts = ((tap * self.inputs, at) for tap in range(self.taps) for at in range(0, self.inputs, width))
        return tuple((base + at, base + min(at + width, self.inputs)) for base, at in starts)

    def from_swept(self, scores: Tensor) -> Tensor:
        """[groups, outputs, columns in the order of the sweep] as [groups x outputs, inputs, taps]."""
        rows = scores[..., : self.columns].reshape(self.groups * self.outputs, self.taps, self.inputs)
        return rows.transpose(1, 2)


def chosen(
    moments: Gram,
    weights: Tensor,
    shape: LayerShape,
    pattern: WeightPattern,
    amount: Amount,
    *,
    ridge: float,
    importance: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Choose the weights that stay, and say what the others were worth.

    Args:
        moments: second moments of the inputs.
        weights: the best weights without a mask, [groups, columns, outputs].
        shape: what the columns are.
        pattern: where zeros may stand.
        amount: how many go: a share or a count, or nothing for N:M.
        ridge: of the inverse, relative to the mean diagonal.
        importance: what an error at each output costs, [groups x outputs]; 1 each by default.

    Returns:
        The mask, bool [groups x outputs, inputs, taps], and the predicted rise of the mean squared error,
        each output's times its importance.

    >>> from joulecut.hw_models.sparsity import parse_pattern
    >>> alike = torch.tensor([[[1.0, 0.99, 0.0, 0.0], [0.99, 1.0, 0.0, 0.0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    >>> weights = torch.tensor([[[3.0], [2.0], [1.0], [0.5]]])
    >>> mask, _ = chosen(
    ...     Gram(alike.double(), False), weights, LayerShape(1, 1, 4, 1), parse_pattern("2:4"), Amount(),
    ...     ridge=0.0,
    ... )
    >>> mask.flatten().tolist()  # the first makes up for the second, and the fourth is small
    [False, True, True, False]
    """
    scores = weight_scores(moments, weights, shape, pattern, amount, ridge=ridge, importance=importance)
    keep = keep_mask(scores, pattern, amount)
    return keep, float(scores[~keep].sum())


def weight_scores(
    moments: Gram,
    weights: Tensor,
    shape: LayerShape,
    pattern: WeightPattern,
    amount: Amount,
    *,
    ridge: float,
    importance: Tensor | None = None,
) -> Tensor:
    """What each weight costs when it goes after those before it, float64 [groups x outputs, inputs, taps]."""
    order = shape.order(moments.constant)
    rows = weights.double()[:, order].transpose(1, 2)
    per_output = torch.ones(shape.groups * shape.outputs) if importance is None else importance
    factor = per_output.double().reshape(shape.groups, shape.outputs, 1)
    width = pattern.size[1]
    sweep = _Sweep(rows, _upper(moments, order, ridge), factor, shape.spans(width))
    if pattern.kind == "nm":
        return shape.from_swept(sweep.run(lambda scores: _all_but_best(scores, pattern.size[0])))
    scores = shape.from_swept(sweep.run(_none))
    for _ in range(_SWEEPS):
        keep = keep_mask(scores, pattern, amount)
        if bool(keep.all()):
            break
        limit = float(block_means(scores, pattern)[block_means((~keep).double(), pattern) > 0].max())
        scores = shape.from_swept(sweep.run(partial(_at_most, limit=limit, rows=pattern.size[0])))
    return scores


def _none(scores: Tensor) -> Tensor:
    """No weight goes."""
    return torch.zeros_like(scores, dtype=torch.bool)


def _all_but_best(scores: Tensor, count: int) -> Tensor:
    """Which of each output's scores are not among its best; the first of equals is."""
    order = torch.argsort(scores, dim=-1, descending=True, stable=True)
    return torch.ones(scores.shape, dtype=torch.bool).scatter(-1, order[..., :count], False)


def _at_most(scores: Tensor, limit: float, rows: int) -> Tensor:
    """Which blocks of so many outputs have a mean score up to a limit, by weight."""
    flat = scores.reshape(-1, scores.shape[-1], 1)
    means = block_means(flat, WeightPattern("block", (rows, scores.shape[-1])))
    wide = (means <= limit).reshape(-1, 1).repeat_interleave(rows, 0)[: len(flat)]
    return wide.expand(flat.shape[:2]).reshape(scores.shape)


def _upper(moments: Gram, order: Tensor, ridge: float) -> Tensor:
    """Upper Cholesky factor of the inverse of the ridged moments in the order of the sweep."""
    swept = (moments.xx + torch.diag_embed(penalties(moments, ridge)))[:, order][:, :, order]
    inverse = torch.cholesky_inverse(lower_factor(swept))
    return lower_factor(inverse).mT


@dataclass(frozen=True, slots=True, eq=False)
class _Sweep:
    """The weights of a layer on their way through one sweep.

    Attributes:
        rows: weights in the order of the sweep, float64 [groups, outputs, columns].
        upper: see ``_upper``, [groups, columns, columns].
        factor: importance of each output, [groups, outputs, 1].
        spans: columns that are decided on together.
    """

    rows: Tensor
    upper: Tensor
    factor: Tensor
    spans: tuple[tuple[int, int], ...]

    def run(self, gone: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores of all weights in the order of the sweep, where ``gone`` says which go by theirs."""
        weights, scores = self.rows.clone(), torch.zeros_like(self.rows)
        diagonal = self.upper.diagonal(dim1=-2, dim2=-1)[:, None]
        for chunk in self._chunks():
            first, last = chunk[0][0], chunk[-1][1]
            errors = torch.zeros_like(weights[..., first:last])
            for start, stop in chunk:
                relative = weights[..., start:stop] / diagonal[..., start:stop]
                scores[..., start:stop] = relative.square() * self.factor
                goes = gone(scores[..., start:stop])
                for j in range(start, stop):
                    error = (weights[..., j] / diagonal[..., j]).where(goes[..., j - start], 0.0)
                    errors[..., j - first] = error
                    weights[..., j:last] -= error[..., None] * self.upper[:, None, j, j:last]
            weights[..., last:] -= errors @ self.upper[:, first:last, last:]
        return scores

    def _chunks(self) -> Iterator[list[tuple[int, int]]]:
        """Spans of about as many columns as pass their shifts on together."""
        chunk: list[tuple[int, int]] = []
        for span in self.spans:
            chunk.append(span)
            if span[1] - chunk[0][0] >= _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
