"""The exit code of a pruning run, and the sentence that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.cli.output import Output
from joulecut.errors import EXIT_GATE_FAILED, BudgetUnreachable, Inconclusive

if TYPE_CHECKING:
    from joulecut.benchmarks.records import Comparison
    from joulecut.pruning.records import PruneRecord

__all__ = ["exit_code"]


def exit_code(record: PruneRecord, out: Output, comparison: Comparison | None = None) -> int:
    """What a finished run is worth as an exit code; anything but 0 is explained on stderr.

    Args:
        record: the run.
        out: takes the sentence.
        comparison: before and after in onnxruntime, where a slower network shall fail.

    Returns:
        0 where the budget is met, 3 where it is not, 5 where that is unsure, 1 where it is met by a network
        that is slower.
    """
    if record.met == "no":
        out.note("the budget is not met.")
        return BudgetUnreachable.exit_code
    if record.met == "unsure":
        out.note("whether the budget is met is unsure: it lies within the interval of the result.")
        return Inconclusive.exit_code
    if comparison is not None and any(pair.verdict == "slower" for pair in comparison.pairs):
        out.note(f"the budget is met, but the result is slower in onnxruntime. {record.comparison}".strip())
        return EXIT_GATE_FAILED
    return 0
