"""What the peers that choose widths share, and the simplest of them: the same share of every group.

They cut with joulecut's coupling and pay its prices; which channels go, and how many, is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx

from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import parameter
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import Traced
from perf.pruning_field import Clock, Field, Point

__all__ = ["Kept", "Scores", "Space", "best_channels", "l2_scores", "uniform"]

Kept = dict[str, list[int]]
Scores = Mapping[str, Tensor]


class Space:
    """The widths that a network can have, and their price."""

    def __init__(self, graph: Traced, spec: DeviceSpec) -> None:
        self.coupling = Coupling(graph.module)
        self.pricer: Pricer = pricer(self.coupling, layer_works(graph), spec)
        self.sizes = dict(self.pricer.sizes)
        self.step = spec.channel_step
        self.whole_j = self.pricer.total_j(self.sizes)

    def share(self, widths: Mapping[str, int]) -> float:
        return self.pricer.total_j(dict(widths)) / self.whole_j

    def options(self, group: str) -> list[int]:
        """Widths of a group, in device steps, the full one last."""
        size = self.sizes[group]
        return [*range(min(self.step, size), size, self.step), size]

    def cut(self, widths: Mapping[str, int], scores: Scores) -> fx.GraphModule:
        """The network with the channels of the highest scores in each group."""
        return self.coupling.apply(best_channels(widths, scores))


def best_channels(widths: Mapping[str, int], scores: Scores) -> Kept:
    """Original indices of the channels to keep, ties to the lower index."""
    return {
        name: sorted(torch.argsort(scores[name], descending=True, stable=True)[:width].tolist())
        for name, width in widths.items()
    }


def l2_scores(coupling: Coupling, module: fx.GraphModule) -> dict[str, Tensor]:
    """Squared L2 norm of what writes and reads each channel, over the mean of its group.

    Layers of one input a group (depthwise) pass channels on and count for neither.
    """
    found = {}
    for group in coupling.all_groups():
        total = torch.zeros(group.size, dtype=torch.float64)
        for part in (*group.of_role("writer"), *group.of_role("reader")):
            weight = parameter(module, part.parameter).detach().double()
            if weight.ndim > 1:
                squares = weight.movedim(part.dim, 0).flatten(1).square().sum(1)
                total += squares[part.positions].sum(1)
        found[group.name] = total / total.mean()
    return found


def uniform(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """The same share of every group's channels, the greatest that the budget allows; L2 within a group."""
    clock = Clock()
    with clock.running():
        space = Space(field.graph, field.spec)
        scores = l2_scores(space.coupling, field.graph.module)
    last: dict[str, int] = {}
    for budget in budgets:
        with clock.running():
            tried = ({name: nearest(space, name, n / 64) for name in space.sizes} for n in range(64, 0, -1))
            widths = next((w for w in tried if space.share(w) <= budget), None)
            if widths is None:
                return
            if widths != last:
                network, last = field.recalibrated(space.cut(widths, scores)), widths
        yield Point(budget, network, clock)


def nearest(space: Space, group: str, share: float) -> int:
    """The width of a group that is nearest to a share of it."""
    return min(space.options(group), key=lambda width: abs(width - share * space.sizes[group]))
