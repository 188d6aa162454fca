"""Peak memory of one inference: the activations that are alive at the same time, and the weights.

Operations run one after the other, in the order of the graph. While one runs, what it reads, what it writes
and whatever a later one still reads are in memory:

    peak = max over operations of (sum of the bytes of the values alive there) + bytes of the weights

the working set of Liberis and Lane 2019, arXiv:1910.05110. In that order no packing needs less, and
one that leaves gaps needs more. Views share the memory of what they look at. A value-by-value operation (an
activation, a sum, a batch norm) writes over an operand that nothing reads later, as runtimes do; the input
belongs to the caller and is never written over. Where the device file names an SRAM, the weights lie in flash
and the peak is that of the activations alone. Workspaces inside an operation (im2col, partial attention) and
the runtime's own tables are not counted; a state that a recurrent layer returns unread counts whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from joulecut.hw_models.energy import size_ratio
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import ChannelCount, PricedLayer, Widths
from joulecut.pruning.blocks import Removable
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.lifetimes import lifetimes
from joulecut.pruning.value_sizes import Sizes
from joulecut.workload.layer import DTYPE_BITS

__all__ = ["PeakMemory", "peak_memory"]

_KEEP_SIZE: Final = frozenset({"int64", "int32", "bool"})
"""Indices and masks, as large on a device of another number type."""


@dataclass(frozen=True, slots=True, eq=False)
class PeakMemory:
    """Bytes of one inference at any widths.

    Attributes:
        operations: names of the nodes that run, in order.
        alive: numbers of the buffers that are in memory while each runs.
        buffers: elements of each buffer, and bytes of one on the device.
        weights: each layer with weights, and bytes on the device of a byte of its number type.
        beside: the weights share the memory of the activations.
    """

    operations: tuple[str, ...]
    alive: tuple[tuple[int, ...], ...]
    buffers: tuple[tuple[ChannelCount, float], ...]
    weights: tuple[tuple[PricedLayer, float], ...]
    beside: bool

    def by_operation(self, widths: Widths) -> list[float]:
        """Bytes in memory while each operation runs."""
        sizes = [elements.at(widths) * item_bytes for elements, item_bytes in self.buffers]
        weights = self.weight_bytes(widths) if self.beside else 0.0
        return [math.fsum(sizes[i] for i in alive) + weights for alive in self.alive]

    def weight_bytes(self, widths: Widths) -> float:
        """Bytes of all weights, each layer's once."""
        return math.fsum(layer.at(widths).weight_bytes * size for layer, size in self.weights)

    def at(self, widths: Widths) -> float:
        """Peak bytes."""
        return max(self.by_operation(widths))

    def fullest(self, widths: Widths) -> str:
        """The operation during which the memory is fullest, the first of several."""
        by_operation = self.by_operation(widths)
        return self.operations[by_operation.index(max(by_operation))]

    def excess(self, widths: Widths, limit_bytes: float) -> float:
        """Bytes over the limit, summed over the operations: 0 exactly where the peak meets it.

        The peak itself often lies at several operations, and no single removal lowers it; each removal that
        lowers one of them counts here.
        """
        return math.fsum(max(held - limit_bytes, 0.0) for held in self.by_operation(widths))


def peak_memory(
    coupling: Coupling,
    layers: Sequence[PricedLayer],
    device: DeviceSpec,
    dropped: Sequence[Removable] = (),
) -> PeakMemory:
    """The peak memory of a captured network by the widths of its groups.

    Args:
        coupling: the groups of the network.
        layers: its layers with their channel counts (``Pricer.layers``).
        device: gives the number type, and whether the weights have a memory of their own.
        dropped: blocks and layers that are left out.

    >>> import torch
    >>> from joulecut.hw_models.catalogue import device
    >>> from joulecut.pruning.coupling.engine import couple
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> memory = peak_memory(couple(net, torch.zeros(1, 3)), (), device("reference/edge/float32"))
    >>> memory.at({"0": 8}), memory.at({"0": 4})  # 3 + 8 and 3 + 4 float32 values
    (44.0, 28.0)
    """
    lives, sizes = lifetimes(coupling.module, dropped), Sizes(coupling)
    gone = {name for part in dropped for name in part.nodes}
    weights = {
        layer.work.path: layer for layer in layers if layer.work.weight_bytes and layer.node not in gone
    }
    return PeakMemory(
        operations=tuple(node.name for node in lives.operations),
        alive=tuple(map(tuple, lives.alive())),
        buffers=tuple(
            (
                ChannelCount(buffer.value.numel()) if buffer.node is None else sizes.elements(buffer.node),
                _item_bytes(buffer.value, device),
            )
            for buffer in lives.buffers
        ),
        weights=tuple((layer, size_ratio(layer.work, device.dtype)) for layer in weights.values()),
        beside="sram" not in {memory.name for memory in device.memories},
    )


def _item_bytes(value: Tensor, device: DeviceSpec) -> float:
    dtype = str(value.dtype).removeprefix("torch.")
    return DTYPE_BITS[dtype if dtype in _KEEP_SIZE else device.dtype] / 8
