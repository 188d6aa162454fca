"""What the choice of zeros needs to know of layers: moments of their inputs, importance of their outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from joulecut.pruning.execution import parts_of
from joulecut.pruning.leastsquares import Gram, gram
from joulecut.pruning.network import Network, Values
from joulecut.pruning.sensitivity import output_gradients
from joulecut.pruning.solvable import SolvableLayer, sampled_columns

__all__ = ["input_moments", "output_importance"]


def input_moments(
    network: Network,
    inputs: Tensor,
    layers: Mapping[str, SolvableLayer],
    rows: int,
    known: Values | None = None,
) -> dict[str, Gram]:
    """Second moments of the inputs of some layers, by node.

    Args:
        network: at any widths.
        inputs: calibration samples.
        layers: the layers, by node.
        rows: most rows of a Gram.
        known: values of a run on these samples; what is missing is computed.
    """
    wanted = frozenset(layer.source for layer in layers.values())
    values = known if known is not None and wanted <= known.keys() else network.observe(inputs, wanted)[1]
    nodes = {node.name: node for node in network.coupling.module.graph.nodes}
    found = {}
    for node, layer in layers.items():
        x = sampled_columns(layer, parts_of(values[layer.source]), nodes[node].meta["val"].shape[2:], rows)
        found[node] = gram(x, bool(layer.bias))
    return found


def output_importance(
    network: Network, inputs: Tensor, layers: Mapping[str, SolvableLayer], seed: int
) -> dict[str, Tensor]:
    """What a squared error at each output costs: half of it times this is the rise of the loss in nats.

    Squares of the loss gradient, with labels drawn from the predictions, summed over positions and averaged
    over samples (the diagonal of K-FAC's output factor; Martens & Grosse, "K-FAC", arXiv:1503.05671).

    Args:
        network: gives logits.
        inputs: calibration samples.
        layers: the layers, by node.
        seed: of the drawn labels.

    Returns:
        float64 [outputs] by node; nodes that no gradient reaches are missing.
    """
    total: dict[str, Tensor] = {}

    def take(name: str, gradient: Tensor) -> None:
        by_channel = gradient.movedim(1, -1) if layers[name].taps else gradient
        squares = by_channel.reshape(-1, by_channel.shape[-1]).double().square().sum(0)
        total[name] = total.get(name, torch.zeros(())) + squares

    output_gradients(network, inputs, frozenset(layers), 1, seed, take)
    return {name: squares / len(inputs) for name, squares in total.items()}
