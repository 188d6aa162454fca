"""Benchmark of .onnx files against the first of them: rounds on fresh sessions until the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from joulecut.benchmarks.records import Comparison
from joulecut.benchmarks.rounds import Run
from joulecut.benchmarks.session import Settings
from joulecut.benchmarks.verdicts import gate, verdict
from joulecut.errors import NothingMeasured, UsageError

__all__ = ["benchmark", "gate", "verdict"]


def benchmark(
    paths: Sequence[str | Path],
    *,
    margin: float = 0.02,
    threads: int = 1,
    max_seconds: float = 30.0,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Time .onnx files in onnxruntime and compare each with the first one.

    All run in this process in quads a b b a, call by call, on four fresh sessions each or more, until every
    ratio is known within a quarter of the margin or the time is up.

    Args:
        paths: one file or more; the first is what the others are compared with.
        margin: relative difference that is too small to matter.
        threads: threads within an operation.
        max_seconds: time for everything; kept up to one round of calls.
        progress: called with the share of the time that is spent, 0 to 1; the last call says 1.

    Raises:
        UsageError: a missing file, or a margin, thread count or time out of range.
        ModelError: a file that onnxruntime cannot run.
        NothingMeasured: no file, or too few calls in the time.
    """
    if not paths:
        raise NothingMeasured("no network to measure.", hint="Give at least one .onnx file.")
    if not 0 < margin < 1:
        raise UsageError(f"a margin of {margin} is no share.", hint="Give one between 0 and 1, as 0.02.")
    if not 0 <= max_seconds < math.inf:
        raise UsageError(f"{max_seconds} seconds is no time limit.", hint="Give a positive number.")
    run = Run([str(path) for path in paths], Settings(threads=threads), margin, max_seconds)
    while not run.done():
        run.add_round()
        if progress is not None:
            progress(min(run.elapsed_s() / max_seconds, 1.0))
    comparison = run.comparison()
    if progress is not None:
        progress(1.0)
    return comparison
