"""Which channels to remove: backward elimination inside the least squares of the layers that read them.

Removing a channel and refitting the rest of a reader raises the loss, to second order, by
1/2 tr(S W_c Q_cc^-1 W_c'), with W_c the reader's columns of the channel, Q the inverse of its input Gram and
S the covariance of the loss gradient at its output (K-FAC; Hassibi & Stork 1993 for one weight). Channels go
one at a time, cheapest first; each removal updates W and Q exactly, so the last weights are the refit.

What other operations read (recurrent layers, grouped and transposed convolutions, einsum) costs half the
Fisher information of a gate on the channel; where nothing with weights reads it (queries and keys, which meet
each other), the gate is on the weights that write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from joulecut.pruning.coupling.groups import Group, ParameterSlice
from joulecut.pruning.execution import parts_of
from joulecut.pruning.leastsquares import gram
from joulecut.pruning.network import Network, Values
from joulecut.pruning.sensitivity import gate_costs, output_gradients
from joulecut.pruning.solvable import SolvableLayer, sampled_columns
from joulecut.pruning.threads import one_thread

__all__ = ["Proposal", "Statistics", "gather", "propose", "readers"]

_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What the elimination needs of every reader, by node name.

    Attributes:
        inverse: inverse of the (ridged) input Gram, float64 [columns, columns].
        gradient: covariance of the loss gradient at the output, summed over positions, mean over samples,
            float64 [outputs, outputs].
        gates: by group, nats that each living channel costs at what is no dense layer, float64 [width].
    """

    inverse: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]
    gates: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Channels of a group to remove, with the readers' weights that make up for them.

    Attributes:
        group: which group.
        channels: original indices, in the order of removal.
        costs: predicted rise of the loss by each of them.
        weights: refitted readers at their widths before the cut.
    """

    group: Group
    channels: tuple[int, ...]
    costs: tuple[float, ...]
    weights: Mapping[str, Tensor]

    @property
    def cost(self) -> float:
        """Predicted rise of the loss by all of them."""
        return sum(self.costs)


def readers(group: Group, layers: Mapping[str, SolvableLayer]) -> list[tuple[SolvableLayer, int]]:
    """The dense layers that read a group, with the index of their slice."""
    return [
        (layers[part.node], i)
        for i, part in enumerate(group.slices)
        if part.role == "reader" and part.dim == 1 and part.node in layers and layers[part.node].groups == 1
    ]


def _gated(network: Network, group: Group, layers: Mapping[str, SolvableLayer]) -> list[ParameterSlice]:
    """The slices that a gate closes: readers that are no dense layers; without readers those of a writer."""
    dense = {layer.node for layer, _ in readers(group, layers)}
    found = [part for part in group.of_role("reader") if part.node not in network.gone]
    if found:
        return [part for part in found if part.node not in dense]
    written = [part for part in group.of_role("writer") if part.node not in network.gone]
    return [part for part in written if part.node == written[0].node]


def gather(
    network: Network,
    layers: Mapping[str, SolvableLayer],
    values: Values,
    inputs: Tensor,
    *,
    rows: int,
    ridge: float,
    seed: int,
) -> Statistics:
    """Statistics of all readers at the current widths.

    Args:
        network: the network now.
        layers: its solvable layers.
        values: of a run on calibration inputs; those that the readers read at least.
        inputs: samples for the gradients.
        rows: most rows of a Gram.
        ridge: relative to the mean diagonal.
        seed: for the labels sampled from the network's own predictions.
    """
    groups = [group for group in network.coupling.all_groups() if network.width(group) > 1]
    names = {layer.node for group in groups for layer, _ in readers(group, layers)} - network.gone
    nodes = {node.name: node for node in network.coupling.module.graph.nodes}
    inverse: dict[str, Tensor] = {}
    for name in sorted(names):
        layer = layers[name]
        x = sampled_columns(layer, parts_of(values[layer.source]), nodes[name].meta["val"].shape[2:], rows)
        problem = gram(x, bool(layer.bias))
        penalty = problem.penalty(ridge)[0] + 1e-9 * problem.xx[0].diagonal() + _TINY
        with one_thread():
            inverse[name] = torch.linalg.inv(problem.xx[0] + torch.diag(penalty))
    gated = {
        group.name: [(part, network.positions(part, group)) for part in _gated(network, group, layers)]
        for group in groups
    }
    gates = gate_costs(network, inputs, {name: parts for name, parts in gated.items() if parts}, seed)
    return Statistics(inverse, _gradients(network, names, layers, inputs, seed), gates)


def _gradients(
    network: Network, names: set[str], layers: Mapping[str, SolvableLayer], inputs: Tensor, seed: int
) -> dict[str, Tensor]:
    """Covariance of the loss gradient at each reader's output."""
    total: dict[str, Tensor] = {}

    def take(name: str, gradient: Tensor) -> None:
        by_channel = gradient.movedim(1, -1) if layers[name].taps else gradient
        flat = by_channel.reshape(-1, by_channel.shape[-1])
        total[name] = total.get(name, torch.zeros(())) + (flat.T @ flat).double()

    output_gradients(network, inputs, frozenset(names), 1, seed, take)
    return {name: covariance / len(inputs) for name, covariance in total.items()}


def propose(
    network: Network, group: Group, layers: Mapping[str, SolvableLayer], statistics: Statistics, count: int
) -> Proposal:
    """Choose ``count`` channels of a group by joint elimination.

    Ties break by index.
    """
    problems = [
        _Reader.of(network, group, layer, index, statistics)
        for layer, index in readers(group, layers)
        if layer.node in statistics.gradient
    ]
    living = network.kept[group.name]
    dead = torch.zeros(len(living), dtype=torch.bool)
    gates = statistics.gates.get(group.name, torch.zeros(len(living), dtype=torch.float64))
    removed: list[int] = []
    rises: list[float] = []
    for _ in range(count):
        costs = sum((p.costs(dead) for p in problems), gates.clone())
        costs[dead] = torch.inf
        chosen = int(costs.argmin())
        rises.append(float(costs[chosen]))
        dead[chosen] = True
        removed.append(living[chosen])
        for problem in problems:
            problem.remove(chosen)
    weights = {name: tensor for problem in problems for name, tensor in problem.result(network).items()}
    return Proposal(group, tuple(removed), tuple(rises), weights)


@dataclass(slots=True, eq=False)
class _Reader:
    """One reader's least squares while channels leave it."""

    layer: SolvableLayer
    columns: Tensor
    weight: Tensor
    inverse: Tensor
    gradient: Tensor

    @staticmethod
    def of(
        network: Network, group: Group, layer: SolvableLayer, index: int, statistics: Statistics
    ) -> _Reader:
        positions = network.positions(group.slices[index], group)
        weight = network.weights[layer.weight]
        taps = weight[0, 0].numel()
        wide = (positions[:, :, None] * taps + torch.arange(taps)).reshape(len(positions), -1)
        packed = weight.reshape(weight.shape[0], -1)
        if layer.bias:
            packed = torch.cat([packed, network.weights[layer.bias][:, None]], 1)
        return _Reader(
            layer,
            wide,
            packed.double(),
            statistics.inverse[layer.node].clone(),
            statistics.gradient[layer.node],
        )

    def costs(self, dead: Tensor) -> Tensor:
        """Predicted rise of the loss by channel; dead channels give 0."""
        width = self.columns.shape[1]
        blocks = self.inverse[self.columns[:, :, None], self.columns[:, None, :]] + _TINY * torch.eye(
            width, dtype=torch.float64
        )
        blocks[dead] = torch.eye(width, dtype=torch.float64)
        w = self.weight[:, self.columns]  # outputs, channels, columns
        half = torch.linalg.solve(blocks, w.permute(1, 2, 0))  # channels, columns, outputs
        weighted = torch.einsum("op,pcq->cqo", self.gradient, w)
        costs: Tensor = 0.5 * (half * weighted).sum((1, 2))
        return costs.masked_fill(dead, 0.0)

    def remove(self, channel: int) -> None:
        """Take a channel out: exact refit of the rest."""
        at = self.columns[channel]
        block = self.inverse[at][:, at] + _TINY * torch.eye(len(at), dtype=torch.float64)
        step = torch.linalg.solve(block, self.inverse[at])
        self.weight = self.weight - self.weight[:, at] @ step
        self.inverse = self.inverse - self.inverse[:, at] @ step

    def result(self, network: Network) -> dict[str, Tensor]:
        """The refitted weight and bias, still at full width."""
        old = network.weights[self.layer.weight]
        flat = self.weight.float()
        if not self.layer.bias:
            return {self.layer.weight: flat.reshape(old.shape)}
        return {self.layer.weight: flat[:, :-1].reshape(old.shape), self.layer.bias: flat[:, -1].contiguous()}
