"""A peer in the manner of NetAdapt: every layer proposes a cut, each is tuned shortly, the best is taken.

After T.-J. Yang et al. 2018 (arXiv:1804.03230), with joules from the same model: at each step every group
loses the fewest channels (of least L2 norm) that save 6 % of the original's energy, every proposal is trained
for a few batches, and the most accurate on 2,000 validation images stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.engine import Coupling
from perf.pruning_field import Clock, Field, Point
from perf.pruning_widths import Space, l2_scores

__all__ = ["netadapt"]

STEP: Final = 0.06
BATCHES: Final = 20
BATCH: Final = 128


def netadapt(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """One path; the network of the first step below each budget."""
    clock = Clock()
    left = sorted(budgets, reverse=True)
    with clock.running():
        space = Space(field.graph, field.spec)
    widths, network, number = dict(space.sizes), field.graph.module, 0
    while left:
        with clock.running():
            found = _step(field, space, widths, network, number)
        if found is None:
            return
        widths, network = found
        number += 1
        if space.share(widths) <= left[0]:
            with clock.running():
                final = field.recalibrated(network)
            while left and space.share(widths) <= left[0]:
                yield Point(left.pop(0), final, clock)


def _step(
    field: Field, space: Space, widths: Mapping[str, int], network: fx.GraphModule, number: int
) -> tuple[dict[str, int], fx.GraphModule] | None:
    graph = field.captured(network)
    coupling = Coupling(graph.module)
    scores = l2_scores(coupling, graph.module)
    target = space.share(widths) - STEP
    best: tuple[float, dict[str, int], fx.GraphModule] | None = None
    for group in coupling.all_groups():
        narrower = _narrowed(space, widths, group.name, target)
        if narrower is None:
            continue
        candidate = coupling.apply({group.name: _best(scores[group.name], narrower[group.name])})
        _tune(field, candidate, number)
        accuracy = field.quick_accuracy(candidate)
        if best is None or accuracy > best[0]:
            best = accuracy, narrower, candidate
    return None if best is None else best[1:]


def _narrowed(space: Space, widths: Mapping[str, int], group: str, target: float) -> dict[str, int] | None:
    """The widest narrower group that saves the step; where none does, the narrowest that saves half of it."""
    options = [w for w in space.options(group) if w < widths[group]]
    tried = [{**widths, group: width} for width in reversed(options)]
    enough = next((w for w in tried if space.share(w) <= target), None)
    if enough is None and tried and space.share(tried[-1]) <= target + STEP / 2:
        return tried[-1]
    return enough


def _best(scores: Tensor, width: int) -> list[int]:
    return sorted(torch.argsort(scores, descending=True, stable=True)[:width].tolist())


def _tune(field: Field, network: fx.GraphModule, number: int) -> None:
    data = field.splits.train
    assert data is not None
    count = min(BATCHES * BATCH, len(data))
    start = number * count % (len(data) - count + 1)
    recipe = field.base.recipe
    recipe.loop(network, data.take(start, start + count), 1, recipe.tune_rate, field.seed, False)
