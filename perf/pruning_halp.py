"""A peer in the manner of HALP: Fisher scores in a knapsack, the budget lowered in five rounds.

After M. Shen et al. 2022 (arXiv:2110.10811), with joules in place of latency and without its training between
the rounds. A group's price at a width is that of the network with the other groups as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional

from joulecut.pruning.coupling.engine import Coupling
from joulecut.workload.trace import Traced, operation
from perf.pruning_field import Clock, Field, Point
from perf.pruning_widths import Kept, Space, best_channels

__all__ = ["fisher_scores", "halp"]

ROUNDS: Final = 5
SAMPLES: Final = 1024
BINS: Final = 2000
"""Steps of energy in which the knapsack counts the whole network."""


def halp(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """A network by budget, each chosen from the whole one; the least budget that can be met is the last."""
    clock = Clock()
    with clock.running():
        space = Space(field.graph, field.spec)
        scores = fisher_scores(field, field.graph, space.coupling)
    for budget in budgets:
        with clock.running():
            network = _rounds(field, space, scores, budget)
        if network is None:
            return
        yield Point(budget, network, clock)


def _rounds(field: Field, space: Space, scores: Mapping[str, Tensor], budget: float) -> fx.GraphModule | None:
    widths, network = dict(space.sizes), field.graph.module
    for number in range(1, ROUNDS + 1):
        chosen = knapsack(space, widths, scores, 1 - (1 - budget) * number / ROUNDS)
        if chosen is None:
            return None
        widths = chosen
        kept = best_channels(widths, scores)
        network = field.recalibrated(space.coupling.apply(kept))
        if number < ROUNDS:
            scores = _fresh(field, space, network, kept)
    return network


def _fresh(field: Field, space: Space, network: fx.GraphModule, kept: Kept) -> dict[str, Tensor]:
    """Scores of the cut network at the channels' original indices; what is gone comes last."""
    graph = field.captured(network)
    found = fisher_scores(field, graph, Coupling(graph.module))
    scores = {}
    for name, size in space.sizes.items():
        scores[name] = torch.full((size,), -1.0)
        scores[name][kept[name]] = found[name]
    return scores


def knapsack(
    space: Space, widths: Mapping[str, int], scores: Mapping[str, Tensor], share: float
) -> dict[str, int] | None:
    """The widths of most score whose true price is at most a share of the whole; None if there are none.

    One dynamic programme over bins of energy answers for every capacity; the greatest whose choice meets the
    true price is taken.
    """
    best = np.zeros(1)
    picks: list[tuple[str, list[int], list[int], np.ndarray]] = []
    for name in space.sizes:
        options = [w for w in space.options(name) if w <= widths[name]]
        least = space.share({**widths, name: options[0]})
        ranked = scores[name].clamp_min(0).sort(descending=True).values.cumsum(0)
        costs = [round(BINS * (space.share({**widths, name: w}) - least)) for w in options]
        sums = np.full((len(options), len(best) + max(costs)), -np.inf)
        for row, (width, cost) in enumerate(zip(options, costs, strict=True)):
            sums[row, cost : cost + len(best)] = best + float(ranked[width - 1])
            sums[row, cost + len(best) :] = sums[row, cost + len(best) - 1]
        best = sums.max(0)
        picks.append((name, options, costs, sums.argmax(0)))
    for capacity in range(len(best) - 1, -1, -1):
        chosen, left = {}, capacity
        for name, options, costs, pick in reversed(picks):
            at = int(pick[min(left, len(pick) - 1)])
            chosen[name] = options[at]
            left -= costs[at]
        if space.share(chosen) <= share:
            return {name: chosen[name] for name in space.sizes}
    return None


def fisher_scores(field: Field, graph: Traced, coupling: Coupling) -> dict[str, Tensor]:
    """Mean over samples of (gradient x value)^2 of each channel where it is written, behind its batch norm.

    This is the square of the first-order change of a sample's loss when the channel is set to zero
    (P. Molchanov et al. 2019, arXiv:1906.10771, with the gate on batch norm).
    """
    nodes = {node.name: node for node in graph.module.graph.nodes}
    written = {
        _gate(nodes[part.node]): (group, part)
        for group in coupling.all_groups()
        for part in group.of_role("writer")
        if nodes[part.node].op == "call_function"
    }
    found = {group.name: torch.zeros(group.size) for group in coupling.all_groups()}
    run = _Watched(graph.module, set(written))
    parts = (torch.split(part[:SAMPLES], 256) for part in (field.inputs, field.labels))
    for images, labels in zip(*parts, strict=True):
        with torch.enable_grad():
            loss = functional.cross_entropy(run.run(images), labels, reduction="sum")
            gradients = torch.autograd.grad(loss, list(run.values.values()))
        for (name, value), gradient in zip(run.values.items(), gradients, strict=True):
            group, part = written[name]
            dim = 1 if value.ndim == 4 else value.ndim - 1
            others = [d for d in range(1, value.ndim) if d != dim]
            product = value.detach() * gradient
            scores = (product.sum(others) if others else product).square().sum(0)
            found[group.name] += scores[part.positions].sum(1) / len(field.labels[:SAMPLES])
    return found


def _gate(node: fx.Node) -> str:
    reader = next(iter(node.users))
    return reader.name if len(node.users) == 1 and operation(reader) == "batch_norm" else node.name


class _Watched(fx.Interpreter):
    """Keeps some values of a run."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.names:
            self.values[n.name] = value
        return value
