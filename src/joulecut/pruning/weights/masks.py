"""Which weights of a layer stay: masks of a pattern, chosen by scores.

A weight is seen as [outputs, inputs, taps], whatever its operation; a mask of the same shape is True where a
weight stays. N:M groups and blocks run along the inputs of one tap, which is how kernels that skip zeros read
a weight (as a matrix with the input channels innermost). A last group or block that is not full counts as if
zeros filled it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from joulecut.errors import UsageError
from joulecut.hw_models.sparsity import WeightPattern

__all__ = ["Amount", "as_matrix", "block_means", "keep_mask", "shared_counts", "zero_share"]


@dataclass(frozen=True, slots=True)
class Amount:
    """How many weights go; exactly one of the three is given, and none of them for N:M.

    Attributes:
        threshold: all of a smaller magnitude (a block's is the root mean square of its weights).
        share: that share of the weights, 0 to 1, the least first.
        count: so many of the weights, the least first.
    """

    threshold: float | None = None
    share: float | None = None
    count: int | None = None

    def check(self, pattern: WeightPattern) -> None:
        """Refuse an amount that says nothing or too much.

        Raises:
            UsageError: with what to give instead.
        """
        given = [value for value in (self.threshold, self.share, self.count) if value is not None]
        if pattern.kind == "nm":
            if given:
                raise UsageError(
                    f"the pattern {pattern} says itself how many weights go:",
                    hint="leave threshold, share and count out.",
                )
            return
        if len(given) != 1:
            raise UsageError(
                f"{pattern} zeros need one amount:", hint="give a threshold, a share or a count."
            )
        if self.share is not None and not 0 < self.share < 1:
            raise UsageError(f"a share of weights lies between 0 and 1, not {self.share}.")
        if self.count is not None and self.count < 1:
            raise UsageError(f"a count of weights is 1 or more, not {self.count}.")
        if self.threshold is not None and not self.threshold > 0:
            raise UsageError(f"a threshold of magnitudes lies above 0, not at {self.threshold}.")

    def wanted(self, weights: int) -> int:
        """How many of so many weights go, where a share or a count says so."""
        return (
            min(self.count, weights) if self.count is not None else int((self.share or 0.0) * weights + 1e-9)
        )


def as_matrix(weight: Tensor) -> Tensor:
    """A weight as [outputs, inputs, taps].

    >>> as_matrix(torch.zeros(8, 4, 3, 3)).shape
    torch.Size([8, 4, 9])
    """
    return weight.reshape(weight.shape[0], weight.shape[1], -1)


def keep_mask(scores: Tensor, pattern: WeightPattern, amount: Amount) -> Tensor:
    """Which weights stay.

    Args:
        scores: what each weight is worth, [outputs, inputs, taps], 0 or more; squares of magnitudes where a
            threshold is given.
        pattern: where zeros may stand.
        amount: how many go.

    Returns:
        Bool, of the shape of the scores. Where scores are equal, the first weights stay under N:M and go
        otherwise.

    >>> from joulecut.hw_models.sparsity import parse_pattern
    >>> scores = torch.tensor([[3.0, 1.0, 2.0, 4.0]])[..., None]
    >>> keep_mask(scores, parse_pattern("2:4"), Amount())[0, :, 0].tolist()
    [True, False, False, True]
    """
    if pattern.kind == "nm":
        return _nm(scores, *pattern.size)
    means = block_means(scores, pattern)
    if amount.threshold is not None:
        stays = means >= amount.threshold**2
    else:
        sizes = _pooled(torch.ones_like(scores), pattern.size)
        stays = _without_least(means, sizes, amount.wanted(scores.numel()))
    return _spread(stays, scores.shape, pattern.size)


def shared_counts(scores: Mapping[str, Tensor], pattern: WeightPattern, amount: Amount) -> dict[str, int]:
    """How many weights each of several layers gives up so that together the least go.

    Args:
        scores: by layer, comparable across layers, [outputs, inputs, taps] each.
        pattern: any weight, or blocks; whole blocks go.
        amount: a share or a count of the weights of all layers together.

    >>> from joulecut.hw_models.sparsity import UNSTRUCTURED
    >>> layers = {"a": torch.tensor([[[1.0], [2.0]]]), "b": torch.tensor([[[3.0], [0.5], [1.5]]])}
    >>> shared_counts(layers, UNSTRUCTURED, Amount(count=3))
    {'a': 1, 'b': 2}
    """
    means = {name: block_means(each, pattern).flatten() for name, each in scores.items()}
    sizes = {name: _pooled(torch.ones_like(each), pattern.size).flatten() for name, each in scores.items()}
    together, of_each = torch.cat(list(means.values())), torch.cat(list(sizes.values()))
    wanted = amount.wanted(sum(each.numel() for each in scores.values()))
    stays = _without_least(together, of_each, wanted)
    parts = torch.split(~stays, [len(each) for each in means.values()])
    return {name: int(sizes[name][gone].sum()) for name, gone in zip(means, parts, strict=True)}


def block_means(scores: Tensor, pattern: WeightPattern) -> Tensor:
    """Mean scores of the blocks of a pattern, [rows, columns, taps]; of single weights where it has none."""
    return _pooled(scores, pattern.size) / _pooled(torch.ones_like(scores), pattern.size)


def zero_share(keep: Tensor, pattern: WeightPattern) -> float | None:
    """The share of weights that a mask's zeros of a pattern take; None where the mask is not of the pattern.

    For blocks only whole ones count; ``unstructured`` counts every zero.

    >>> from joulecut.hw_models.sparsity import parse_pattern
    >>> keep = torch.tensor([[True, False, False, True]])[..., None]
    >>> zero_share(keep, parse_pattern("2:4")), zero_share(keep, parse_pattern("1:4"))
    (0.5, None)
    """
    if pattern.kind == "nm":
        n, m = pattern.size
        if bool((_groups(keep.float(), m, 0.0).sum(-1) > n).any()):
            return None
        return 1 - float(keep.float().mean())
    stays = block_means(keep.float(), pattern) > 0
    return 1 - float(_spread(stays, keep.shape, pattern.size).float().mean())


def _groups(values: Tensor, size: int, fill: float) -> Tensor:
    """[outputs, inputs, taps] as [outputs, taps, groups, size]."""
    rows = values.transpose(1, 2)
    padded = functional.pad(rows, (0, -rows.shape[-1] % size), value=fill)
    return padded.reshape(*rows.shape[:2], -1, size)


def _nm(scores: Tensor, n: int, m: int) -> Tensor:
    """The n best of every m inputs; a group that is not full is filled up with scores below any other."""
    grouped = _groups(scores, m, -1.0)
    order = torch.argsort(grouped, dim=-1, descending=True, stable=True)
    keep = torch.zeros(grouped.shape, dtype=torch.bool).scatter(-1, order[..., :n], True)
    return keep.reshape(*keep.shape[:2], -1)[..., : scores.shape[1]].transpose(1, 2)


def _pooled(values: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = size
    out, inputs, taps = values.shape
    padded = functional.pad(values, (0, 0, 0, -inputs % columns, 0, -out % rows))
    return padded.reshape(-(-out // rows), rows, -(-inputs // columns), columns, taps).sum((1, 3))


def _spread(blocks: Tensor, shape: torch.Size, size: tuple[int, int]) -> Tensor:
    """Values by block as values by weight."""
    wide = blocks.repeat_interleave(size[0], 0).repeat_interleave(size[1], 1)
    return wide[: shape[0], : shape[1]]


def _without_least(scores: Tensor, sizes: Tensor, wanted: int) -> Tensor:
    """All blocks but the least, which hold at most so many weights together."""
    order = torch.argsort(scores.flatten(), stable=True)
    gone = order[sizes.flatten()[order].cumsum(0) <= wanted]
    stays = torch.ones(scores.numel(), dtype=torch.bool)
    stays[gone] = False
    return stays.reshape(scores.shape)
