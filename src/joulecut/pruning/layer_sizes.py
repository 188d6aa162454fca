"""Sizes that torch's own layers keep as attributes, set to those of a cut network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import fx, nn

from joulecut.workload.trace import argument, operation

__all__ = ["keeps_sizes", "layer_sizes"]

Sizes = Iterator[tuple[str, Any]]
"""Attributes of a layer with the values that they must have."""

_Of = Callable[[Any, fx.Node, tuple[int, ...]], Sizes]

_GROUPS_AT: Final = 6
"""Position of ``groups`` among the arguments of every convolution, transposed or not."""


def keeps_sizes(layer: nn.Module, node: fx.Node) -> bool:
    """Whether an operation's sizes are attributes of a layer of torch, which ``layer_sizes`` knows."""
    return _reader(layer, node) is not None


def layer_sizes(layer: nn.Module, node: fx.Node, shape: tuple[int, ...]) -> dict[str, Any]:
    """The sizes that a layer whose parameters have been cut must keep.

    Args:
        layer: a module, its parameters already cut.
        node: an operation of the module in the cut graph.
        shape: of the operation's value in the cut graph.

    Returns:
        The sizes by attribute; none where ``keeps_sizes`` says no.

    >>> from joulecut.workload.trace import trace
    >>> layer = nn.Linear(8, 2)
    >>> node = next(n for n in trace(layer, torch.zeros(1, 8)).module.graph.nodes if "linear" in n.name)
    >>> layer.weight = nn.Parameter(torch.zeros(2, 3))
    >>> layer_sizes(layer, node, (1, 2))
    {'in_features': 3, 'out_features': 2}
    """
    reader = _reader(layer, node)
    return {} if reader is None else dict(reader(layer, node, shape))


def _reader(layer: nn.Module, node: fx.Node) -> _Of | None:
    for kind, (shown_by, sizes) in _LAYERS.items():
        if isinstance(layer, kind) and shown_by.fullmatch(operation(node)):
            return sizes
    return None


def _linear(layer: Any, _node: fx.Node, _shape: tuple[int, ...]) -> Sizes:
    yield "in_features", layer.weight.shape[1]
    yield "out_features", layer.weight.shape[0]


def _convolution(layer: Any, node: fx.Node, _shape: tuple[int, ...]) -> Sizes:
    groups = int(argument(node, _GROUPS_AT, "groups", 1))
    reads, writes = layer.weight.shape[1] * groups, layer.weight.shape[0]
    if layer.transposed:
        reads, writes = layer.weight.shape[0], layer.weight.shape[1] * groups
    yield from (("in_channels", reads), ("out_channels", writes), ("groups", groups))


def _channel_norm(_layer: Any, _node: fx.Node, shape: tuple[int, ...]) -> Sizes:
    yield "num_features", shape[1]


def _group_norm(_layer: Any, node: fx.Node, shape: tuple[int, ...]) -> Sizes:
    yield from (("num_groups", argument(node, 1, "num_groups", 1)), ("num_channels", shape[1]))


def _shape_norm(layer: Any, _node: fx.Node, shape: tuple[int, ...]) -> Sizes:
    yield "normalized_shape", shape[len(shape) - len(layer.normalized_shape) :]


def _embedding(layer: Any, _node: fx.Node, _shape: tuple[int, ...]) -> Sizes:
    yield from (("num_embeddings", layer.weight.shape[0]), ("embedding_dim", layer.weight.shape[1]))


def _recurrent(layer: Any, _node: fx.Node, _shape: tuple[int, ...]) -> Sizes:
    yield from (("input_size", layer.weight_ih_l0.shape[1]), ("hidden_size", layer.weight_hh_l0.shape[1]))


def _slopes(layer: Any, _node: fx.Node, _shape: tuple[int, ...]) -> Sizes:
    yield "num_parameters", layer.weight.numel()


def _unflattened(layer: Any, _node: fx.Node, shape: tuple[int, ...]) -> Sizes:
    count = len(layer.unflattened_size)
    yield "unflattened_size", shape[layer.dim : layer.dim + count]


_LAYERS: Final[dict[type[nn.Module], tuple[re.Pattern[str], _Of]]] = {
    nn.Linear: (re.compile("linear"), _linear),
    torch.nn.modules.conv._ConvNd: (re.compile("conv.*"), _convolution),
    torch.nn.modules.batchnorm._NormBase: (re.compile(".*(batch|instance)_norm.*"), _channel_norm),
    nn.GroupNorm: (re.compile("group_norm"), _group_norm),
    nn.LayerNorm: (re.compile("layer_norm"), _shape_norm),
    nn.RMSNorm: (re.compile("rms_norm"), _shape_norm),
    nn.Embedding: (re.compile("embedding"), _embedding),
    nn.RNNBase: (re.compile("lstm|gru|rnn_.*"), _recurrent),
    nn.PReLU: (re.compile("prelu"), _slopes),
    nn.Unflatten: (re.compile("unflatten|view|reshape"), _unflattened),
}
"""By kind of layer: which of its operations shows the sizes, and how they are read from it."""
