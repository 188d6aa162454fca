"""joulecut as its users get it: the search behind ``joulecut prune``, all budgets from one path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from joulecut.errors import BudgetUnreachable
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_path
from joulecut.pruning.settings import Effort, search_settings
from joulecut.workload.from_torch import layer_works
from perf.pruning_field import Clock, Field, Point

__all__ = ["searched"]


def searched(
    effort: Effort, *, fit_labels: bool = False
) -> Callable[[Field, Sequence[float]], Iterator[Point]]:
    """The search at one effort, everything else at its default but, perhaps, the last layer on labels."""

    def path(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
        clock = Clock()
        with clock.running():
            found = prune_path(
                field.graph,
                layer_works(field.graph),
                device=field.spec,
                budgets=[Budget(share=budget) for budget in budgets],
                calibration=Samples(field.inputs, field.labels),
                judge=field.judge,
                settings=search_settings(effort, seed=field.seed, fit_labels=fit_labels),
            )
        for budget in budgets:
            try:
                with clock.running():
                    pruned: Pruned = next(found)
            except BudgetUnreachable:
                return
            validation = f"validation {100 * pruned.rows[-1][1]:.2f} %"
            yield Point(budget, pruned.module, clock, f"{len(pruned.steps)} steps, {validation}")

    return path
