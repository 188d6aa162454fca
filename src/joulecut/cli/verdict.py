"""The exit code of a pruning run, and the sentence that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.cli.output import Output
from joulecut.errors import BudgetUnreachable, Inconclusive

if TYPE_CHECKING:
    from joulecut.pruning.records import PruneRecord

__all__ = ["exit_code"]


def exit_code(record: PruneRecord, out: Output) -> int:
    """0 where the budget is met, 5 where that is unsure, 3 where it is not met."""
    if record.met == "no":
        out.note("the budget is not met.")
        return BudgetUnreachable.exit_code
    if record.met == "unsure":
        out.note("whether the budget is met is unsure: it lies within the interval of the result.")
        return Inconclusive.exit_code
    return 0
