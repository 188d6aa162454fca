"""joulecut as its users get it, called as ``joulecut prune`` calls it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulecut.errors import BudgetUnreachable
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Samples, prune_channels
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works
from perf.pruning_field import Clock, Field, Point

__all__ = ["full"]


def full(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """The default search, from the whole network for every budget."""
    for budget in budgets:
        clock = Clock()
        try:
            with clock.running():
                pruned = prune_channels(
                    field.graph,
                    layer_works(field.graph),
                    device=field.spec,
                    budget=Budget(share=budget),
                    calibration=Samples(field.inputs, field.labels),
                    judge=field.judge,
                    settings=SearchSettings(seed=field.seed),
                )
        except BudgetUnreachable:
            return
        yield Point(budget, pruned.module, clock, "; ".join(f"{n} {100 * a:.2f}" for n, a in pruned.rows))
