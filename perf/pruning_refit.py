"""The sequential refit against none, a one-step fold and independent least squares, at the same channels.

Channels are those of least L2 norm over the whole network, batch norms folded, as many as the budget asks
for. Every refit runs through joulecut's own code on the captured graph; the fold and the independent solves,
which joulecut does not offer, are built here of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.benchmarks.quality import evaluate
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import FoldedNorm, fold
from joulecut.pruning.leastsquares import gram, product, solve
from joulecut.pruning.network import Network, Values
from joulecut.pruning.recover import matched_moments, output_moments
from joulecut.pruning.refit import Teacher, refit, teach
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.solvable import SolvableLayer, columns
from perf.pruning_field import Clock, Field
from perf.pruning_widths import Kept, Space, best_channels, l2_scores

__all__ = ["REFITS", "Cut", "cut_to", "global_l2", "table"]

SAMPLES: Final = 1024
PLAIN: Final = RefitSettings(rows=20_000, passes=0, sensitivity=0.0)


@dataclass(frozen=True, eq=False)
class Cut:
    """A network before and after a cut, batch norms folded, its weights untouched otherwise."""

    field: Field
    pairs: tuple[FoldedNorm, ...]
    whole: Network
    cut: Network

    @property
    def inputs(self) -> Tensor:
        return self.field.inputs[:SAMPLES]

    def teacher(self, settings: RefitSettings, sums: bool = True) -> Teacher:
        """Targets of the refit; without ``sums`` every layer is solved against its own output."""
        taught = teach(self.whole, self.inputs, settings)
        if sums:
            return taught
        alone = {name: replace(layer, sum_node="", other="") for name, layer in taught.layers.items()}
        return replace(taught, layers=alone)

    def matched(self, network: Network) -> Network:
        """Moments of every folded layer as they were: what recalibrating its batch norm does.

        joulecut's own step changes a scale at most twofold; four of them leave nothing out.
        """
        if not self.pairs:
            return network
        layers = frozenset(pair.layer for pair in self.pairs)
        original = output_moments(self.whole, self.inputs, layers)
        for _ in range(4):
            network = matched_moments(network, self.inputs, self.pairs, original)
        return network

    def kept(self, node: str) -> Tensor:
        """Which channels of a value live: bool [channels]."""
        found = next(n for n in self.whole.coupling.module.graph.nodes if n.name == node)
        masks = self.whole.coupling.cutter.value_masks(found, self.cut.alive)
        return masks[1 if found.meta["val"].ndim == 4 else -1]


def none(cut: Cut) -> Network:
    """Batch norms recalibrated."""
    return cut.matched(cut.cut)


def one_step_fold(cut: Cut) -> Network:
    """What reads a removed channel reads its best mix of the kept ones instead; batch norms recalibrated.

    The mix is that of least squares over the whole network's values, without taps and bias.
    """
    values = _whole_values(cut)
    solved = {}
    for layer in cut.teacher(PLAIN).layers.values():
        kept = cut.kept(layer.source)
        if layer.groups > 1 or bool(kept.all()):
            continue
        value = values[layer.source]
        dim = 1 if value.ndim == 4 else -1
        rows = value.movedim(dim, -1).reshape(-1, value.shape[dim])
        moments = (rows.T @ rows).double() / len(rows)
        inside = moments[kept][:, kept]
        pull = PLAIN.ridge * inside.diagonal().mean() * torch.eye(len(inside), dtype=torch.float64)
        mix = torch.linalg.solve(inside + pull, moments[kept][:, ~kept]).float()
        weight = cut.whole.weights[layer.weight]
        lost = torch.einsum("or...,kr->ok...", weight[:, ~kept], mix)
        solved[layer.weight] = (weight[:, kept] + lost)[cut.kept(layer.node)]
    return cut.matched(cut.cut.with_weights(solved))


def independent(cut: Cut) -> Network:
    """Every layer solved by itself with taps and bias, on the whole network's values; recalibrated."""
    values, taught = _whole_values(cut), cut.teacher(PLAIN)
    nodes = {node.name: node for node in cut.whole.coupling.module.graph.nodes}
    sources = {nodes[layer.source] for layer in taught.layers.values()}
    sliced = cut.whole.sliced_values(values, cut.cut, list(sources))
    solved: dict[str, Tensor] = {}
    for layer in taught.layers.values():
        solved |= _solved(cut, layer, sliced[layer.source], taught, nodes[layer.node])
    return cut.matched(cut.cut.with_weights(solved))


def _solved(
    cut: Cut, layer: SolvableLayer, value: Tensor, taught: Teacher, node: fx.Node
) -> dict[str, Tensor]:
    rows = taught.samples[layer.node]
    x = columns(layer, value, tuple(node.meta["val"].shape[2:]), rows)
    t = taught.rows[layer.node][:, cut.kept(layer.node)]
    grouped = t.reshape(len(t), x.shape[0], -1).transpose(0, 1)
    weight = cut.cut.weights[layer.weight]
    before = weight.reshape(x.shape[0], weight.shape[0] // x.shape[0], -1)
    if layer.bias:
        before = torch.cat([before, cut.cut.weights[layer.bias].reshape(x.shape[0], -1, 1)], 2)
    moments = gram(x, bool(layer.bias))
    w = solve(moments, product(x, grouped) / x.shape[1], before.transpose(1, 2), PLAIN.ridge)
    flat = w.float().transpose(1, 2)
    if not layer.bias:
        return {layer.weight: flat.reshape(weight.shape)}
    return {layer.weight: flat[..., :-1].reshape(weight.shape), layer.bias: flat[..., -1].flatten()}


def _whole_values(cut: Cut) -> Values:
    with torch.no_grad():
        return cut.whole.run(cut.inputs, keep=None)[1]


def sequential(passes: int, sums: bool = True, sensitivity: float = 0.0) -> Callable[[Cut], Network]:
    """joulecut's refit with some of its parts."""
    settings = replace(PLAIN, passes=passes, sensitivity=sensitivity)
    return lambda cut: refit(cut.cut, cut.teacher(settings, sums), settings)


REFITS: Final[Mapping[str, Callable[[Cut], Network]]] = {
    "none, batch norms recalibrated": none,
    "one-step fold, recalibrated": one_step_fold,
    "independent, taps and bias, recal.": independent,
    "sequential": sequential(0, sums=False),
    "+ residual sums": sequential(0),
    "+ ReLU, 1 pass": sequential(1),
    "+ ReLU, 4 passes": sequential(4),
    "+ rows weighted by sensitivity": sequential(4, sensitivity=0.5),
    "the last, moments matched": lambda cut: cut.matched(sequential(4, sensitivity=0.5)(cut)),
}


def global_l2(space: Space, scores: Mapping[str, Tensor], share: float) -> Kept:
    """Channels left when the weakest step of channels of any group goes, until a share is met.

    A step counts with the mean of its channels' scores.
    """
    widths = dict(space.sizes)
    ranked = {name: score.sort(descending=True).values for name, score in scores.items()}
    while space.share(widths) > share:
        costs = {}
        for name, width in widths.items():
            narrower = [w for w in space.options(name) if w < width]
            if narrower:
                costs[float(ranked[name][narrower[-1] : width].mean())] = (name, narrower[-1])
        name, width = costs[min(costs)]
        widths[name] = width
    return best_channels(widths, scores)


def table(fields: Sequence[Field], budgets: Sequence[float]) -> Iterator[str]:
    """Lines of the table: test accuracy by refit and budget, for each seed."""
    for field in fields:
        module, pairs = fold(field.graph.module)
        whole = Network.whole(Coupling(module))
        space = Space(field.graph, field.spec)
        scores = l2_scores(whole.coupling, module)
        cuts = [Cut(field, pairs, whole, cut_to(whole, global_l2(space, scores, b))) for b in budgets]
        base = evaluate(_Callable(whole), field.splits.test).accuracy
        heads = " / ".join(f"{100 * budget:g}" for budget in budgets)
        yield f"\n{field.base.name}, seed {field.seed}, {100 * base:.2f} %: test accuracy at {heads} % energy"
        for name, method in REFITS.items():
            clock, found = Clock(), []
            for cut in cuts:
                with clock.running():
                    network = method(cut)
                found.append(evaluate(_Callable(network), field.splits.test).accuracy)
            figures = " / ".join(f"{100 * accuracy:.1f}" for accuracy in found)
            yield f"{name:<36}{figures:<30}{clock.cpu_s / len(cuts):.1f} s"


def cut_to(whole: Network, kept: Kept) -> Network:
    """The network with only these channels, its weights untouched otherwise."""
    network = whole
    for group in whole.coupling.all_groups():
        gone = sorted(set(range(group.size)) - set(kept[group.name]))
        network = network.cut(group, gone) if gone else network
    return network


class _Callable(torch.nn.Module):
    """A searched network where a module is asked for."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)
