"""What removing channels costs when all that read them are solved anew: OBS costs, one by one or jointly.

To second order, removing the columns B of a layer with weights W and refitting the rest raises the loss by
1/2 tr(S W_B Q_BB^-1 W_B'), with Q the inverse of the layer's input Gram and S the covariance of the loss
gradient at its output (Hassibi & Stork 1993; S and the Gram as in K-FAC, Martens & Grosse 2015). Channels
leave in blocks of the device's step, each time the cheapest; W and Q follow exactly, and shrink.

Nothing here needs all activations at once: samples stream through in batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.elimination import readers
from joulecut.pruning.gates import batch_that_fits, fisher_costs
from joulecut.pruning.leastsquares import Gram, squares
from joulecut.pruning.network import Network, Values
from joulecut.pruning.sensitivity import output_gradients
from joulecut.pruning.solvable import SolvableLayer, columns, sample_rows, solvable_layers
from joulecut.pruning.threads import one_thread

__all__ = ["Block", "Moments", "eliminate", "measure_moments", "removal_costs"]

_RIDGE = 1e-3
"""Relative to the mean diagonal of a Gram, as in the refits."""

_ROWS_PER_COLUMN = 2
_FEWEST_ROWS = 6_000
_GRADIENT_SAMPLES = 512
_TINY = 1e-12
_JITTER = 1e-5
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments at the dense readers of a network's groups, by node name.

    Attributes:
        grams: of the inputs, means over rows: float64 [columns, columns] each.
        roots: L with L L' the covariance of the loss gradient at the output, summed over positions and
            averaged over samples: float64 [outputs, outputs].
    """

    grams: Mapping[str, Gram]
    roots: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """Channels (original indices) that leave together, and the rise of the loss when they do, in nats."""

    channels: tuple[int, ...]
    cost: float


def measure_moments(network: Network, inputs: Tensor, *, gradient_samples: int, seed: int) -> Moments:
    """Moments at every dense reader, from samples that stream through.

    Args:
        network: at its current widths.
        inputs: calibration samples.
        gradient_samples: how many of them, the first, give the gradient covariance.
        seed: for the labels drawn from the network's own predictions.
    """
    layers = solvable_layers(network.coupling.module)
    names = {layer.node for group in network.coupling.all_groups() for layer, _ in readers(group, layers)}
    wanted = {name: layers[name] for name in sorted(names)}
    return Moments(_grams(network, wanted, inputs), _roots(network, wanted, inputs[:gradient_samples], seed))


def _grams(network: Network, layers: Mapping[str, SolvableLayer], inputs: Tensor) -> dict[str, Gram]:
    sums: dict[str, Tensor] = {}
    rows: dict[str, int] = dict.fromkeys(layers, 0)
    batch = batch_that_fits(network.coupling.module)
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        share = len(part) / len(inputs)

        def before(node: fx.Node, values: Values, share: float = share) -> Mapping[str, Tensor]:
            layer = layers.get(node.name)
            if layer is not None:
                x = _rows(layer, node, network, values, share)
                xx = squares(x)[0]
                sums[node.name] = sums[node.name] + xx if node.name in sums else xx
                rows[node.name] += x.shape[1]
            return {}

        with torch.no_grad():
            network.run(part, before=before)
    return {name: Gram((xx / max(rows[name], 1))[None], bool(layers[name].bias)) for name, xx in sums.items()}


def _rows(layer: SolvableLayer, node: fx.Node, network: Network, values: Values, share: float) -> Tensor:
    """The batch's share of a layer's input rows: float [1, rows, columns]."""
    shape = (len(values[layer.source]), *node.meta["val"].shape[1:])
    unknowns = network.weights[layer.weight][0].numel()
    cap = math.ceil(share * max(_FEWEST_ROWS, _ROWS_PER_COLUMN * unknowns))
    return columns(layer, values[layer.source], shape[2:], sample_rows(shape, not layer.taps, cap))


def _roots(
    network: Network, layers: Mapping[str, SolvableLayer], inputs: Tensor, seed: int
) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}

    def take(name: str, gradient: Tensor) -> None:
        by_channel = gradient.movedim(1, -1) if layers[name].taps else gradient
        flat = by_channel.reshape(-1, by_channel.shape[-1])
        total[name] = total.get(name, torch.zeros(())) + squares(flat[None])[0]

    batch = batch_that_fits(network.coupling.module)
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        output_gradients(network, part, frozenset(layers), 1, seed + start, take)
    with one_thread():
        return {name: _root(covariance / len(inputs)) for name, covariance in total.items()}


def _root(covariance: Tensor) -> Tensor:
    """The Cholesky factor; the diagonal is scaled to 1 first, as float32 products leave it near singular."""
    scale = covariance.diagonal().clamp_min(_TINY).sqrt()
    correlation = covariance / (scale[:, None] * scale)
    factor: Tensor = torch.linalg.cholesky(correlation + _JITTER * torch.eye(len(scale), dtype=torch.float64))
    return scale[:, None] * factor


def eliminate(
    network: Network, group: Group, layers: Mapping[str, SolvableLayer], moments: Moments, step: int
) -> Iterator[Block]:
    """Take channels out of a group, the cheapest block first, until one block would be left.

    Each block leaves the width on a multiple of the step, and its cost is that of all its channels at once,
    given that those before it are gone and their readers are solved anew. In groups of more than 64 steps
    several blocks are chosen at a time, a 64th of the width. Ties break by index.

    Yields:
        The blocks in order; none for a group that no dense layer with known moments reads.
    """
    problems = _problems(network, group, layers, moments)
    living = list(network.kept[group.name])
    while problems and (count := (len(living) - 1) % step + 1) < len(living):
        count += min(len(living) // _AT_ONCE, len(living) - count - 1) // step * step
        costs = sum((p.costs() for p in problems), torch.zeros(len(living), dtype=torch.float64))
        first = (len(living) - 1) % step + 1
        chosen = [part.sort().values for part in _split(costs.argsort(stable=True)[:count], first, step)]
        each = sum((p.remove(torch.cat(chosen)) for p in problems), torch.zeros(count, dtype=torch.float64))
        for part, cost in zip(chosen, _split(each, first, step), strict=True):
            yield Block(tuple(living[i] for i in part.tolist()), max(float(cost.sum()), 0.0))
        gone = set(torch.cat(chosen).tolist())
        living = [channel for i, channel in enumerate(living) if i not in gone]


def _split(values: Tensor, first: int, step: int) -> tuple[Tensor, ...]:
    """The first few, then as many as the step at a time."""
    rest = values[first:]
    return values[:first], *(torch.split(rest, step) if len(rest) else ())


def removal_costs(network: Network, inputs: Tensor, *, seed: int) -> dict[str, Tensor]:
    """The cost of each channel's removal alone: float64 [width] by group, in nats.

    Groups that no dense layer reads get the Fisher cost of closing their gates (``gates``).
    """
    layers = solvable_layers(network.coupling.module)
    moments = measure_moments(network, inputs, gradient_samples=_GRADIENT_SAMPLES, seed=seed)
    found: dict[str, Tensor] = {}
    with one_thread():
        for group in network.coupling.all_groups():
            problems = _problems(network, group, layers, moments)
            none = torch.zeros(network.width(group), dtype=torch.float64)
            if problems:
                found[group.name] = sum((p.costs() for p in problems), none)
    if len(found) == len(network.coupling.all_groups()):
        return found
    return fisher_costs(network, inputs, seed=seed) | found


def _problems(
    network: Network, group: Group, layers: Mapping[str, SolvableLayer], moments: Moments
) -> list[_Reader]:
    return [
        _Reader.of(network, group, layer, index, moments)
        for layer, index in readers(group, layers)
        if layer.node in moments.roots
    ]


@dataclass(slots=True, eq=False)
class _Reader:
    """One reader during an elimination: ``at`` [channels, columns of a channel] among its columns, the
    weights under the root of the gradient covariance [outputs, columns], the inverse Gram.
    """

    at: Tensor
    weight: Tensor
    inverse: Tensor

    @staticmethod
    def of(network: Network, group: Group, layer: SolvableLayer, index: int, moments: Moments) -> _Reader:
        weight = network.weights[layer.weight]
        flat = weight.reshape(len(weight), -1).double()
        if layer.bias:
            flat = torch.cat([flat, network.weights[layer.bias].double()[:, None]], 1)
        taps = math.prod(layer.taps)
        at = network.positions(group.slices[index], group)[:, :, None] * taps + torch.arange(taps)
        problem = moments.grams[layer.node]
        penalty = problem.penalty(_RIDGE)[0] + 1e-9 * problem.xx[0].diagonal() + _TINY
        factor = torch.linalg.cholesky(problem.xx[0] + torch.diag(penalty))
        return _Reader(at.flatten(1), moments.roots[layer.node].T @ flat, torch.cholesky_inverse(factor))

    def costs(self) -> Tensor:
        """The cost of each channel alone: float64 [channels]."""
        blocks = self.inverse[self.at[:, :, None], self.at[:, None, :]]
        w = self.weight[:, self.at].movedim(0, 2)  # channels, columns, outputs
        costs: Tensor = 0.5 * torch.linalg.solve_ex(blocks, w @ w.transpose(1, 2))[0].diagonal(
            dim1=1, dim2=2
        ).sum(1)
        return costs

    def remove(self, channels: Tensor) -> Tensor:
        """Take channels out, and solve the rest anew.

        Returns:
            The cost of each, given that those before it are gone: float64 [channels].
        """
        gone = self.at[channels].flatten()
        stays = torch.ones(len(self.inverse), dtype=torch.bool)
        stays[gone] = False
        keep = torch.nonzero(stays).flatten()
        cross = self.inverse[gone]
        factor = torch.linalg.cholesky(cross[:, gone])
        w = self.weight[:, gone]
        half = torch.linalg.solve_triangular(factor, w.T, upper=False)
        step = torch.cholesky_solve(cross[:, keep], factor)
        self.weight = self.weight[:, keep] - w @ step
        self.inverse = self.inverse[keep][:, keep].addmm_(cross[:, keep].T, step, alpha=-1)
        place = stays.cumsum(0) - 1
        left = torch.ones(len(self.at), dtype=torch.bool)
        left[channels] = False
        self.at = place[self.at[left]]
        costs: Tensor = 0.5 * half.square().sum(1).reshape(len(channels), -1).sum(1)
        return costs
