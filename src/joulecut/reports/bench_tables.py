"""Tables of a ``Comparison``: latency of each network, ratio of each to the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from joulecut.benchmarks.records import Comparison, LatencyReport, PairRatio
from joulecut.estimate import Estimate
from joulecut.reports.text import describe, quantity, spread
from joulecut.reports.view import Cell, Column, Table, name

__all__ = ["latency_table", "ratio_table", "without_folder"]


def without_folder(comparison: Comparison) -> Comparison:
    """The comparison with the folder that all files share left out of their names, as it tells nothing."""
    folders = {str(PurePath(model.file).parent) for model in comparison.models}
    if len(folders) != 1:
        return comparison
    models = tuple(replace(model, file=PurePath(model.file).name) for model in comparison.models)
    pairs = (replace(pair, a=PurePath(pair.a).name, b=PurePath(pair.b).name) for pair in comparison.pairs)
    return replace(comparison, models=models, pairs=tuple(pairs))


def latency_table(models: tuple[LatencyReport, ...]) -> Table:
    """Quantiles of the time of one call, with their 90 % intervals."""
    columns = (
        Column("Network"),
        Column("Calls", numeric=True, keep=5),
        Column("p50", numeric=True),
        Column("p90", numeric=True, keep=7),
        Column("p99", numeric=True, keep=6),
        Column("CPU time", numeric=True, keep=8),
        Column("Energy", numeric=True, keep=8),
        Column("Machine", keep=4),
        Column("Settings", keep=1),
    )
    rows = tuple(
        (
            name(model.file),
            Cell(str(model.calls), model.calls),
            *(_time(part) for part in (model.p50_s, model.p90_s, model.p99_s, model.cpu_s)),
            _energy(model.energy),
            Cell("busy" if model.contended else "quiet"),
            name(", ".join(f"{key}={text}" for key, text in model.settings.items()) or "default", 120),
        )
        for model in models
    )
    return Table("latency", "Time of one call in onnxruntime, 90 % intervals", columns, rows)


def _time(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("too few calls")
    return Cell(spread(estimate), estimate.value)


def _energy(estimate: Estimate | None) -> Cell:
    return Cell("not measured") if estimate is None else Cell(describe(estimate), estimate.value)


def ratio_table(comparison: Comparison) -> Table:
    """Paired ratios b / a with their 90 % intervals and the verdict on b."""
    columns = (
        Column("Network"),
        Column("Against"),
        Column("Wall time", numeric=True),
        Column("CPU time", numeric=True),
        Column("Verdict"),
        Column("Decided by", keep=6),
        Column("Margin", numeric=True, keep=5),
        Column("Sessions", numeric=True, keep=4),
    )
    return Table(
        "ratios", "Paired ratios, measured call by call", columns, tuple(map(_ratio_row, comparison.pairs))
    )


def _ratio_row(pair: PairRatio) -> tuple[Cell, ...]:
    return (
        name(pair.b),
        name(pair.a),
        _ratio(pair.ratio),
        _ratio(pair.cpu_ratio),
        Cell(pair.verdict),
        Cell("CPU time (machine busy)" if pair.contended else "wall time"),
        Cell(f"±{quantity(pair.margin, '1')}", pair.margin),
        Cell(str(pair.sessions), pair.sessions),
    )


def _ratio(estimate: Estimate) -> Cell:
    return Cell(spread(estimate), estimate.value)
