"""What the zeros that a weight really has are worth on a device, whatever pattern they were made by."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from joulecut.hw_models.sparsity import UNSTRUCTURED, SparsePrice, WeightPattern, Zeros, sparse_price
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.solvable import SolvableLayer
from joulecut.pruning.weights.masks import as_matrix, zero_share
from joulecut.workload.layer import LayerWork

__all__ = ["declared_patterns", "saved_j", "weight_price", "zeros_of"]


def declared_patterns(device: DeviceSpec) -> tuple[WeightPattern, ...]:
    """The patterns of zeros that the device's file declares anything for, in its order.

    >>> from joulecut.hw_models.catalogue import device
    >>> declared_patterns(device("reference/edge/float32"))
    ()
    """
    found: dict[WeightPattern, None] = {}
    for entry in device.sparsity:
        if entry.kind == "nm":
            found[WeightPattern("nm", (entry.n, entry.m))] = None
        elif entry.kind == "block":
            found[WeightPattern("block", (entry.rows, entry.columns))] = None
        elif entry.operand == "weight":
            found[UNSTRUCTURED] = None
    return tuple(found)


def weight_price(
    device: DeviceSpec, work: LayerWork, weight: Tensor, asked: WeightPattern = UNSTRUCTURED
) -> tuple[Zeros, SparsePrice]:
    """The price of a layer with the zeros that its weight has, by the pattern that saves the most.

    Args:
        device: what it runs on.
        work: the layer's work, as if dense.
        weight: its weight.
        asked: the pattern that the zeros were made by: where nothing is saved, its reason is told.
    """
    keep = as_matrix(weight) != 0
    found = []
    for pattern in dict.fromkeys((asked, *declared_patterns(device), UNSTRUCTURED)):
        share = zero_share(keep, pattern)
        if share is not None:
            zeros = Zeros(pattern, share)
            found.append((zeros, sparse_price(device, work, zeros)))
    return max(found, key=lambda item: item[1].saved_j)


def zeros_of(
    network: Network, layers: Mapping[str, SolvableLayer], pricer: Pricer
) -> dict[str, tuple[Zeros, SparsePrice]]:
    """The zeros of each solvable layer of a network, and what they are worth, by the layer's path.

    Args:
        network: at any widths.
        layers: its solvable layers.
        pricer: of the network.
    """
    widths = network.widths
    return {
        priced.work.path: weight_price(
            pricer.device, priced.at(widths), network.weights[layers[priced.node].weight]
        )
        for priced in pricer.layers
        if priced.node in layers and priced.node not in network.gone
    }


def saved_j(network: Network, layers: Mapping[str, SolvableLayer], pricer: Pricer) -> float:
    """Joules that the zero weights of a network save in one inference, beside what its widths say.

    A network costs ``pricer.total_j(widths) - saved_j(network, layers, pricer)``.

    Args:
        network: at any widths.
        layers: its solvable layers.
        pricer: of the network.
    """
    if not declared_patterns(pricer.device):
        return 0.0
    return sum(price.saved_j for _, price in zeros_of(network, layers, pricer).values())
