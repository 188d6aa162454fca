"""A training loop on the terminal: its epochs with their parts, then its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from joulecut.profiler.training_records import TrainingEnergy, TrainingWindow
from joulecut.reports.terminal import print_facts, print_heading, print_table
from joulecut.reports.text import printable, quantity, spread
from joulecut.reports.view import Cell, Column, Fact, Table, name, prose

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_training"]

_COLUMNS: Final = (
    Column("Window", whole=True),
    Column("Energy", numeric=True),
    Column("Origin"),
    Column("Time", numeric=True),
    Column("Steps", numeric=True, keep=3),
    Column("Quality"),
    Column("Why", keep=4),
)


def print_training(training: TrainingEnergy, console: Console, *, limit: int = 20) -> None:
    """Print the doubts, each epoch with its parts, and each step.

    Args:
        training: what to show.
        console: where to.
        limit: steps shown; the rest is counted in a line below.
    """
    print_heading("Training", f"Measured by {printable(training.sensor)}", console)
    if training.reasons:
        print_facts(tuple(Fact("Note", "", printable(reason)) for reason in training.reasons), console)
    parted = [row for epoch in training.epochs for row in (_row(epoch), *_parts(epoch))]
    print_table(_table("epochs", "Epochs, and the parts of their steps", parted), console)
    print_table(_table("steps", "Steps", [_row(step) for step in training.steps]), console, limit=limit)


def _table(key: str, caption: str, rows: Sequence[tuple[Cell, ...]]) -> Table:
    return Table(key, caption, _COLUMNS, tuple(rows))


def _row(window: TrainingWindow) -> tuple[Cell, ...]:
    energy = window.energy
    return (
        name(window.label),
        Cell(spread(energy) if energy else "not known"),
        Cell(energy.origin if energy else ""),
        Cell(quantity(window.duration_s, "s")),
        Cell(str(window.steps)),
        Cell(window.quality),
        prose(window.reason),
    )


def _parts(window: TrainingWindow) -> tuple[tuple[Cell, ...], ...]:
    blank = Cell("")
    return tuple(
        (
            name(f"  {part.name}"),
            Cell(spread(part.energy)),
            Cell(part.energy.origin),
            Cell(quantity(part.duration_s, "s")),
            blank,
            blank,
            blank,
        )
        for part in window.parts
    )
