"""Labels: which identity each element of a value belongs to.

A value of shape S carries a tuple of labels; each is an int64 tensor of the same number of dimensions,
broadcastable to S, of size 1 along every dimension where the identity does not change. Several labels
say that several families of channels run through one value (tokens and features, say).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Labels", "along", "channel_label", "narrowed", "reshaped_to", "varies"]

Labels = tuple[Tensor, ...]


def varies(label: Tensor) -> list[int]:
    """The dimensions along which a label changes.

    >>> varies(torch.arange(3).reshape(1, 3, 1))
    [1]
    """
    return [d for d, size in enumerate(label.shape) if size > 1]


def narrowed(label: Tensor) -> Tensor:
    """The same label with size 1 along every dimension where it is constant."""
    for d in varies(label):
        first = label.narrow(d, 0, 1)
        if bool((label == first).all()):
            label = first
    return label


def along(label: Tensor, dim: int) -> Tensor:
    """A label that varies along ``dim`` only, as a vector."""
    return label.movedim(dim, 0).reshape(label.shape[dim], -1)[:, 0]


def reshaped_to(label: Tensor, ndim: int) -> Tensor:
    """A label with leading dimensions of size 1, as broadcasting adds them."""
    return label.reshape((1,) * (ndim - label.ndim) + tuple(label.shape))


def channel_label(ids: Tensor, dim: int, ndim: int) -> Tensor:
    """A vector of identities laid along one dimension of a value."""
    shape: Sequence[int] = [len(ids) if d == dim % ndim else 1 for d in range(ndim)]
    return torch.as_tensor(ids).reshape(list(shape))
