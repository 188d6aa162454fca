"""Tables of a ``PruneRecord``: stages, widths, refusals, limits, notes, other devices."""

from __future__ import annotations

from collections.abc import Mapping

from joulecut.estimate import Estimate
from joulecut.pruning.records import Refusal
from joulecut.reports.text import describe, points, quantity, remaining, spread
from joulecut.reports.view import Cell, Column, Table, name, prose

__all__ = ["also_table", "kept_table", "notes_table", "refused_table", "stage_table"]


def stage_table(rows: tuple[tuple[str, float], ...]) -> Table:
    """Validation accuracy after each stage of the work, so that no gain is booked twice."""
    columns = (
        Column("Stage", whole=True),
        Column("Validation accuracy", numeric=True),
        Column("Against the stage before", numeric=True),
    )
    cells: list[tuple[Cell, ...]] = []
    for at, (stage, accuracy) in enumerate(rows):
        change = (
            Cell("–") if at == 0 else Cell(points(accuracy - rows[at - 1][1]), accuracy - rows[at - 1][1])
        )
        cells.append((name(stage), Cell(quantity(accuracy, "1"), accuracy), change))
    return Table("stages", "Validation accuracy after each stage", columns, tuple(cells))


def kept_table(kept: Mapping[str, tuple[int, int]]) -> Table:
    """Widths before and after, by group of channels that go together."""
    columns = (
        Column("Group"),
        Column("Before", numeric=True),
        Column("Kept", numeric=True),
        Column("Share kept", numeric=True, full=1.0),
    )
    rows: list[tuple[Cell, ...]] = []
    for group, (width, original) in kept.items():
        share = width / original if original else 0.0
        widths = Cell(str(original), original), Cell(str(width), width)
        rows.append((name(group), *widths, Cell(quantity(share, "1"), share)))
    return Table("kept", "Channels kept, by group of channels that go together", columns, tuple(rows))


def refused_table(refused: tuple[Refusal, ...]) -> Table:
    """Channels that had to stay."""
    columns = (
        Column("Path"),
        Column("Channels", numeric=True),
        Column("Reason"),
        Column("Operation", keep=5),
        Column("Source line", keep=4),
    )
    rows = tuple(
        (
            name(item.path),
            Cell(str(item.channels), item.channels),
            prose(item.reason),
            name(item.op),
            name(item.source or "unknown", 60),
        )
        for item in refused
    )
    return Table("refused", "Channels that had to stay", columns, rows)


def also_table(also: Mapping[str, tuple[Estimate, Estimate]]) -> Table:
    """Totals before and after on other devices."""
    columns = (
        Column("Device", whole=True),
        *(Column(head, numeric=True) for head in ("Before", "After", "Left")),
    )
    rows: list[tuple[Cell, ...]] = []
    for device, (before, after) in also.items():
        left = remaining(before, after)
        share = "unknown" if left is None else spread(left)
        cells = (Cell(describe(before), before.value), Cell(describe(after), after.value))
        rows.append((name(device), *cells, Cell(share, left.value if left else None)))
    return Table("also", "The same two networks priced on other devices", columns, tuple(rows))


def notes_table(notes: tuple[str, ...]) -> Table:
    """What a reader should know beside the figures."""
    rows = tuple((prose(note),) for note in notes)
    return Table("notes", "To be known beside the figures", (Column("Note", whole=True),), rows)
