"""Which channels to remove: backward elimination inside the least squares of the layers that read them.

Removing a channel and refitting the rest of a reader raises the loss, to second order, by
1/2 tr(S W_c Q_cc^-1 W_c'), with W_c the reader's columns of the channel, Q the inverse of its input Gram and
S the covariance of the loss gradient at its output (K-FAC; Hassibi & Stork 1993 for one weight). Channels go
one at a time, cheapest first; each removal updates W and Q exactly, so the last weights are the refit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.leastsquares import gram
from joulecut.pruning.network import Network, Values
from joulecut.pruning.sensitivity import output_gradients
from joulecut.pruning.solvable import SolvableLayer, columns, sample_rows

__all__ = ["Proposal", "Statistics", "gather", "propose"]

_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What the elimination needs of every reader, by node name.

    Attributes:
        inverse: inverse of the (ridged) input Gram, float64 [columns, columns].
        gradient: covariance of the loss gradient at the output, summed over positions, mean over samples,
            float64 [outputs, outputs].
    """

    inverse: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Channels of a group to remove, with the readers' weights that make up for them.

    Attributes:
        group: which group.
        channels: original indices, in the order of removal.
        cost: predicted rise of the loss.
        weights: refitted readers at their widths before the cut.
    """

    group: Group
    channels: tuple[int, ...]
    cost: float
    weights: Mapping[str, Tensor]


def readers(group: Group, layers: Mapping[str, SolvableLayer]) -> list[tuple[SolvableLayer, int]]:
    """The dense layers that read a group, with the index of their slice."""
    return [
        (layers[part.node], i)
        for i, part in enumerate(group.slices)
        if part.role == "reader" and part.dim == 1 and part.node in layers and layers[part.node].groups == 1
    ]


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
        values: all values of a run on calibration inputs.
        inputs: samples for the gradient covariance.
        rows: most rows of a Gram.
        ridge: relative to the mean diagonal.
        seed: for the labels sampled from the network's own predictions.
    """
    groups = network.coupling.groups()
    names = {layer.node for group in groups for layer, _ in readers(group, layers) if layer.node in values}
    inverse: dict[str, Tensor] = {}
    for name in sorted(names):
        layer = layers[name]
        value = values[name]
        picked = sample_rows(value.shape, not layer.taps, rows)
        problem = gram(columns(layer, values[layer.source], tuple(value.shape[2:]), picked), bool(layer.bias))
        penalty = problem.penalty(ridge)[0] + 1e-9 * problem.xx[0].diagonal() + _TINY
        inverse[name] = torch.linalg.inv(problem.xx[0] + torch.diag(penalty))
    return Statistics(inverse, _gradients(network, names, layers, inputs, seed))


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

    Ties break by index. Groups without a dense reader (their readers are depthwise or unsolvable) fall
    back on the norm of what is sliced away, which costs nothing but knows nothing of the loss.
    """
    problems = [
        _Reader.of(network, group, layer, index, statistics)
        for layer, index in readers(group, layers)
        if layer.node in statistics.gradient
    ]
    living = network.kept[group.name]
    dead = torch.zeros(len(living), dtype=torch.bool)
    norms = None if problems else _norms(network, group)
    removed: list[int] = []
    total = 0.0
    for _ in range(count):
        costs = (
            norms.clone()
            if norms is not None
            else sum((p.costs(dead) for p in problems), torch.zeros(len(living), dtype=torch.float64))
        )
        costs[dead] = torch.inf
        chosen = int(costs.argmin())
        total += float(costs[chosen])
        dead[chosen] = True
        removed.append(living[chosen])
        for problem in problems:
            problem.remove(chosen)
    weights = {name: tensor for problem in problems for name, tensor in problem.result(network).items()}
    return Proposal(group, tuple(removed), total, weights)


def _norms(network: Network, group: Group) -> Tensor:
    total = torch.zeros(network.width(group), dtype=torch.float64)
    for part in group.slices:
        weight = network.weights[part.parameter]
        if weight.ndim > 1:
            rows = weight.movedim(part.dim, 0).reshape(weight.shape[part.dim], -1).double().pow(2).sum(1)
            total += rows[network.positions(part, group)].sum(1)
    return total


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
