"""Reports on the terminal: the same facts and tables as on the page, fitted to the width.

``rich`` is imported when something is printed, so that importing this module stays cheap; it honours
NO_COLOR. Every text is printed literally: names that look like markup or hold control characters
change nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from joulecut.benchmarks.records import Comparison
from joulecut.estimate import total
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import PruneRecord
from joulecut.reports.profile_tables import filter_table, layer_table, uncounted_table
from joulecut.reports.prune_tables import also_table, kept_table, refused_table, stage_table
from joulecut.reports.quality_tables import classes_table, quality_table, training_table
from joulecut.reports.sections import report_of
from joulecut.reports.steps_tables import brief_steps_table, candidates_table
from joulecut.reports.terminal import print_facts, print_heading, print_notes, print_table
from joulecut.reports.text import quantity
from joulecut.reports.view import Cell, Table, energy_cells

if TYPE_CHECKING:
    from rich.console import Console


__all__ = ["print_comparison", "print_profile", "print_prune", "print_prune_in_full"]


def print_profile(profile: EnergyProfile, console: Console, *, limit: int = 20) -> None:
    """Print the headline, the costliest layers, staircases and what was not counted.

    Args:
        profile: what to show.
        console: where to.
        limit: layers shown; the others are summed up in one row.
    """
    _print_head(profile, console)
    print_table(_costliest(profile, limit), console)
    if profile.filters:
        print_table(filter_table(profile.filters, {}), console)
    print_table(uncounted_table(profile), console, limit=limit)


def _print_head(record: EnergyProfile | PruneRecord | Comparison, console: Console) -> None:
    report = report_of(record)
    print_heading(f"{report.title}, {report.kind}", report.about, console)
    print_facts(report.facts, console)


def _costliest(profile: EnergyProfile, limit: int) -> Table:
    """The layers that cost most, the others in one row, then the slices."""
    ordered = sorted(profile.layers, key=lambda layer: layer.energy.value, reverse=True)
    shown, others = ordered[:limit], ordered[limit:]
    caption = "Energy is dynamic; a share includes the layer's static part. Costliest first"
    table = layer_table(replace(profile, layers=tuple(shown)), key="layers", caption=caption)
    if not others:
        return table
    rest = total((layer.energy for layer in others), unit="J", method="sum of the other layers")
    share = sum(layer.share for layer in others)
    blank = Cell("")
    row = (
        Cell(f"{len(others)} more layers"),
        *(blank for _ in range(5)),
        *energy_cells(rest),
        Cell(quantity(share, "1")),
        blank,
    )
    return replace(table, rows=(*table.rows[: len(shown)], row, *table.rows[len(shown) :]))


def print_prune(record: PruneRecord, console: Console, *, limit: int = 12) -> None:
    """Print what was asked and reached, the quality, the steps, the widths and what had to stay.

    Args:
        record: a finished run.
        console: where to.
        limit: rows shown of the steps, the classes, the widths and the refusals.
    """
    _print_outcome(record, console, limit)
    print_table(brief_steps_table(record.steps), console, limit=limit)
    _print_widths(record, console, limit)


def print_prune_in_full(record: PruneRecord, console: Console) -> None:
    """Print the same as ``print_prune`` with every row, and what else was at hand in each step."""
    _print_outcome(record, console, None)
    print_table(candidates_table(record.steps), console)
    _print_widths(record, console, None)


def _print_outcome(record: PruneRecord, console: Console, limit: int | None) -> None:
    _print_head(record, console)
    if record.quality is not None:
        print_table(quality_table(record.quality), console)
        print_table(classes_table(record.quality), console, limit=limit)
        print_table(training_table(record.quality), console)
    print_table(stage_table(record.rows), console)
    print_notes(record.notes, console)


def _print_widths(record: PruneRecord, console: Console, limit: int | None) -> None:
    print_table(kept_table(record.kept), console, limit=limit)
    print_table(refused_table(record.refused), console, limit=limit)
    print_table(also_table(record.also), console)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the verdicts, the ratios and the latencies, each with its interval."""
    from joulecut.reports.bench_tables import latency_table, ratio_table, without_folder

    _print_head(comparison, console)
    shown = without_folder(comparison)
    print_table(ratio_table(shown), console)
    print_table(latency_table(shown.models), console)
