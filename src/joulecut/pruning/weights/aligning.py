"""N:M zeros that stay N:M: inputs that go shift the groups of those behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from joulecut.hw_models.sparsity import WeightPattern
from joulecut.pruning.network import Network
from joulecut.pruning.solvable import SolvableLayer
from joulecut.pruning.weights.masks import Amount, as_matrix, keep_mask, zero_share

__all__ = ["grouped_pattern", "realigned"]


def grouped_pattern(weight: Tensor, patterns: Sequence[WeightPattern]) -> WeightPattern | None:
    """The first N:M pattern that the zeros of a weight are of; None where there is none.

    >>> from joulecut.hw_models.sparsity import parse_pattern
    >>> weight = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0]])
    >>> grouped_pattern(weight, [parse_pattern("1:4"), parse_pattern("2:4")])
    WeightPattern(kind='nm', size=(2, 4))
    """
    keep = as_matrix(weight) != 0
    found = (p for p in patterns if p.kind == "nm" and zero_share(keep, p))
    return next(found, None)


def realigned(
    network: Network, before: Network, layers: Mapping[str, SolvableLayer], patterns: Sequence[WeightPattern]
) -> Network:
    """A cut network whose layers have the N:M zeros again that they had before the cut.

    In each group the largest weights stay; a refit makes up for the others.

    Args:
        network: after a cut.
        before: before it.
        layers: solvable layers of both.
        patterns: those that count.
    """
    changed = {}
    for layer in layers.values():
        weight, old = network.weights[layer.weight], before.weights[layer.weight]
        pattern = grouped_pattern(old, patterns) if weight is not old and patterns else None
        if pattern is not None and grouped_pattern(weight, patterns) != pattern:
            keep = keep_mask(as_matrix(weight).square(), pattern, Amount())
            changed[layer.weight] = torch.empty_like(weight).copy_(weight * keep.reshape(weight.shape))
    return network.with_weights(changed) if changed else network
