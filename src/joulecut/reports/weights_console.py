"""A weight pruning on the terminal: zeros by layer, the joules and bytes that they save, and the accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.pruning.weights.records import LayerZeros, WeightRecord
from joulecut.reports.prune_tables import stage_table
from joulecut.reports.terminal import print_facts, print_heading, print_table
from joulecut.reports.text import describe, points, printable, quantity, remaining, spread
from joulecut.reports.view import Cell, Column, Fact, Table, name, prose

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_weights", "zeros_table"]


def print_weights(record: WeightRecord, console: Console) -> None:
    """Print what went and what it saves, first of all whether it saves any energy."""
    title = f"{printable(record.model)}, zero weights"
    print_heading(title, f"{printable(record.asked)}, on {printable(record.device)}", console)
    print_facts(_facts(record), console)
    print_table(zeros_table(record.layers), console)
    if record.rows:
        print_table(stage_table(record.rows), console)


def _facts(record: WeightRecord) -> tuple[Fact, ...]:
    share = quantity(record.zeros / record.weights, "1") if record.weights else "none"
    facts = [
        Fact("Weights at zero", share, f"{quantity(record.zeros, '')} of {quantity(record.weights, '')}"),
        _energy(record),
        *_files(record),
    ]
    if record.accuracy is not None:
        found = record.accuracy
        told = f"{quantity(found.after, '1')}, before {quantity(found.before, '1')}, on {found.split}"
        change = f"{points(found.change)} ({points(found.change_lo)} to {points(found.change_hi)})"
        facts.append(Fact("Accuracy", told, change))
    return tuple(facts)


def _energy(record: WeightRecord) -> Fact:
    saved = sum(layer.saved.value for layer in record.layers)
    if not saved:
        reasons = dict.fromkeys(layer.reason for layer in record.layers if layer.zeros)
        return Fact("Energy saved", "0 J", printable("; ".join(reasons)))
    left = remaining(record.before.total, record.after.total)
    told = f"{describe(record.after.total)}, down from {describe(record.before.total)}"
    return Fact("Energy left", "unknown" if left is None else spread(left), told)


def _files(record: WeightRecord) -> tuple[Fact, ...]:
    files = record.files
    return (
        Fact(
            "Size as stored", quantity(files.dense_bytes, "B"), ".safetensors, .onnx and .pt2 store zeros too"
        ),
        Fact(
            "Size compressed",
            quantity(files.compressed_bytes, "B"),
            f"through gzip, down from {quantity(files.compressed_before_bytes, 'B')}",
        ),
    )


def zeros_table(layers: tuple[LayerZeros, ...]) -> Table:
    """Zeros by layer with what they save, or why they save nothing."""
    columns = (
        Column("Layer"),
        Column("Operation", keep=5),
        Column("Weights", numeric=True, keep=6),
        Column("At zero", numeric=True, full=1.0),
        Column("Saved", numeric=True),
        Column("Why not more"),
    )
    rows = tuple(
        (
            name(layer.path),
            name(layer.op),
            Cell(quantity(layer.weights, ""), layer.weights),
            Cell(quantity(layer.zeros / layer.weights, "1"), layer.zeros / layer.weights),
            Cell(quantity(layer.saved.value, "J"), layer.saved.value),
            prose(layer.reason),
        )
        for layer in layers
    )
    return Table("zeros", "Zero weights, by layer", columns, rows)
