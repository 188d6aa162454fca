"""Reductions, norms and softmax over living positions only.

Masks are bool, True where alive, of as many dimensions as the value or broadcastable to it.

Each agrees with torch's own operation where the dead positions are first taken out of the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["attention", "group_norm", "layer_norm", "mean", "partly_dead", "rms_norm", "softmax", "variance"]


def partly_dead(mask: Tensor, dims: Sequence[int]) -> bool:
    """Whether a slice along ``dims`` has dead and living positions: only then an operation over it changes.

    >>> partly_dead(torch.tensor([[True, False], [True, True]]), [1])
    True
    >>> partly_dead(torch.tensor([[False, False], [True, True]]), [1])
    False
    """
    some = mask
    every = mask
    for d in dims:
        some, every = some.any(d, keepdim=True), every.all(d, keepdim=True)
    return bool((some & ~every).any())


def mean(x: Tensor, mask: Tensor, dims: Sequence[int]) -> Tensor:
    """Mean over ``dims``, which stay with size 1.

    >>> mean(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]]), [1])
    tensor([[1.5000]])
    """
    dims = tuple(dims)
    alive = mask.expand(x.shape)
    return torch.where(alive, x, 0).sum(dims, keepdim=True) / alive.sum(dims, keepdim=True).clamp(min=1)


def variance(x: Tensor, mask: Tensor, dims: Sequence[int], correction: float) -> Tensor:
    """Variance over ``dims``, which stay with size 1.

    >>> variance(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]), [1], 0)
    tensor([[1.]])
    """
    dims = tuple(dims)
    alive = mask.expand(x.shape)
    squares = torch.where(alive, (x - mean(x, mask, dims)) ** 2, 0).sum(dims, keepdim=True)
    return squares / (alive.sum(dims, keepdim=True) - correction).clamp(min=0)


def softmax(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over ``dim`` in which dead positions have no share; slices that are all dead stay finite.

    >>> softmax(torch.zeros(1, 3), torch.tensor([[True, True, False]]), 1)
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    alive = mask | ~mask.any(dim, keepdim=True)
    return torch.where(alive, x, -math.inf).softmax(dim)


def layer_norm(x: Tensor, mask: Tensor, dims: Sequence[int], weight: Any, bias: Any, eps: float) -> Tensor:
    """Layer norm over ``dims``; weight and bias broadcast to ``x``."""
    middle, spread = mean(x, mask, dims), variance(x, mask, dims, 0)
    return _affine((x - middle) / torch.sqrt(spread + eps), weight, bias)


def rms_norm(x: Tensor, mask: Tensor, dims: Sequence[int], weight: Any, eps: float) -> Tensor:
    """Root-mean-square norm over ``dims``."""
    return _affine(x / torch.sqrt(mean(x**2, mask, dims) + eps), weight, None)


def group_norm(x: Tensor, mask: Tensor, groups: int, weight: Any, bias: Any, eps: float) -> Tensor:
    """Group norm of [N, C, ...]: every group of channels together with its positions."""
    shape = (x.shape[0], groups, -1)
    alive = mask.expand(x.shape).reshape(shape)
    normed = layer_norm(x.reshape(shape), alive, [2], None, None, eps).reshape(x.shape)
    per_channel = (1, -1) + (1,) * (x.ndim - 2)
    return _affine(normed, *(None if p is None else p.reshape(per_channel) for p in (weight, bias)))


def _affine(x: Tensor, weight: Any, bias: Any) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, keys: Tensor, scale: float) -> Tensor:
    """Scaled dot-product attention that only looks at living keys.

    Args:
        q: [..., L, E].
        k: [..., S, E], zero at dead features.
        v: [..., S, V], zero at dead positions.
        bias: added to the scores, or bool where a key may be seen.
        keys: bool [..., S], the living keys.
        scale: of the scores.
    """
    scores = q @ k.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores.masked_fill(~bias, -math.inf) if bias.dtype == torch.bool else scores + bias
    return softmax(scores, keys.unsqueeze(-2).expand(scores.shape), -1) @ v
