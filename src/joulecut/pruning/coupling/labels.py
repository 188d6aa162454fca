"""Labels: which identity each element of a value belongs to.

A value of shape S carries a tuple of labels; each is an int64 tensor of the same number of dimensions,
broadcastable to S, of size 1 along every dimension where the identity does not change. Several labels
say that several families of channels run through one value (tokens and features, say).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["Labels", "along", "channel_label", "narrowed", "varies"]

Labels = tuple[Tensor, ...]


def varies(label: Tensor) -> list[int]:
    """The dimensions along which a label changes.

    >>> import torch
    >>> varies(torch.arange(3).reshape(1, 3, 1))
    [1]
    """
    return [d for d, size in enumerate(label.shape) if size > 1]


def narrowed(label: Tensor) -> Tensor:
    """The same label with size 1 along every dimension where it is constant."""
    for d in sorted(varies(label), key=lambda d: label.stride(d)):
        first = label.narrow(d, 0, 1)
        if label.stride(d) == 0 or bool((label == first).all()):
            label = first
    return label


def along(label: Tensor, dim: int) -> Tensor:
    """A label that varies along ``dim`` only, as a vector."""
    return label.movedim(dim, 0).reshape(label.shape[dim], -1)[:, 0]


def channel_label(ids: Tensor, dim: int, ndim: int) -> Tensor:
    """A vector of identities laid along one dimension of a value."""
    return ids.reshape([len(ids) if d == dim % ndim else 1 for d in range(ndim)])
