"""The last layer solved towards the original's own soft outputs, or, where that is asked for, towards labels.

The divergence from given class probabilities is convex in the last layer's weights. Its Hessian is
bounded by that of least squares (Böhning 1992, Annals of the Institute of Statistical Mathematics 44): for
every W, H <= 1/2 X'X on each class. Steps with the bound's inverse fall monotonically and share one factor.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from joulecut.pruning.leastsquares import gram
from joulecut.pruning.network import Network
from joulecut.pruning.solvable import SolvableLayer, solvable_layers

__all__ = ["label_readout", "readout_layer", "soft_readout"]

_STEPS: Final = 200
_ENOUGH: Final = 1e-6
_PULL: Final = 1e-4
"""Towards the weights before, in nats per squared weight: 1e-4 measured best of 1e-4 to 1e-2."""


def readout_layer(network: Network) -> SolvableLayer | None:
    """The linear layer that writes the network's only output, if it is one that can be solved."""
    output = next(node for node in network.coupling.module.graph.nodes if node.op == "output")
    reads = output.all_input_nodes
    layer = solvable_layers(network.coupling.module).get(reads[0].name) if len(reads) == 1 else None
    return layer if layer is not None and not layer.taps and reads[0].meta["val"].ndim == 2 else None


def soft_readout(network: Network, inputs: Tensor, reference: Tensor) -> Network:
    """The network with its last layer solved towards some logits.

    Args:
        network: gives logits through a linear layer; returned as it is otherwise.
        inputs: samples.
        reference: the original's logits on them, [samples, classes].
    """
    return _towards(network, inputs, reference.softmax(-1))


def label_readout(network: Network, inputs: Tensor, labels: Tensor) -> Network:
    """The same towards labels: the only weights of a cut network that are ever fitted to any.

    Args:
        network: gives logits through a linear layer; returned as it is otherwise.
        inputs: samples.
        labels: their classes, int64 [samples].
    """
    layer = readout_layer(network)
    if layer is None:
        return network
    wanted = torch.nn.functional.one_hot(labels, len(network.weights[layer.weight]))
    return _towards(network, inputs, wanted.float())


def _towards(network: Network, inputs: Tensor, wanted: Tensor) -> Network:
    layer = readout_layer(network)
    if layer is None:
        return network
    with torch.no_grad():
        _, values = network.run(inputs, keep=frozenset([layer.source]))
    features = values[layer.source]
    start = network.weights[layer.weight]
    if layer.bias:
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        start = torch.cat([start, network.weights[layer.bias][:, None]], 1)
    solved = _descend(features, wanted, start)
    if not layer.bias:
        return network.with_weights({layer.weight: solved.contiguous()})
    weight, bias = solved[:, :-1].contiguous(), solved[:, -1].contiguous()
    return network.with_weights({layer.weight: weight, layer.bias: bias})


def _descend(x: Tensor, wanted: Tensor, start: Tensor) -> Tensor:
    """Minimise mean cross-entropy to ``wanted`` + pull x |W - start|^2 over W [classes, columns]."""
    bound = 0.5 * gram(x[None], constant=False).xx[0]
    bound += 2 * _PULL * torch.eye(len(bound), dtype=bound.dtype)
    factor = torch.linalg.cholesky(
        bound + 1e-9 * bound.diagonal().mean() * torch.eye(len(bound), dtype=bound.dtype)
    )
    weights = start.double()
    x64, first = x.double(), start.double()
    for _ in range(_STEPS):
        error = (x64 @ weights.T).softmax(-1) - wanted
        slope = error.T @ x64 / len(x) + 2 * _PULL * (weights - first)
        step = torch.cholesky_solve(slope.T, factor).T
        weights = weights - step
        if float(step.abs().max()) < _ENOUGH * float(weights.abs().max()):
            break
    return weights.float()
