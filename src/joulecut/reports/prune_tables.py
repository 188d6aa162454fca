"""Tables of a ``PruneRecord``: quality, stages, widths, steps, refusals, other devices."""

from __future__ import annotations

from collections.abc import Mapping

from joulecut.estimate import Estimate
from joulecut.pruning.records import Candidate, PruneStep, Quality, QualityPair, Refusal
from joulecut.reports.text import describe, number, points, printable, quantity, remaining, shorten, spread
from joulecut.reports.view import Cell, Column, Table, energy_cells, energy_columns, name, prose

__all__ = [
    "accuracy_text",
    "also_table",
    "change_text",
    "kept_table",
    "quality_table",
    "refused_table",
    "stage_table",
    "steps_table",
]


def accuracy_text(quality: Quality) -> str:
    """An accuracy with its 90 % interval, as ``97.2 % [95.6 % to 98.4 %]``."""
    low, high = quantity(quality.accuracy_lo, "1"), quantity(quality.accuracy_hi, "1")
    return f"{quantity(quality.accuracy, '1')} [{low} to {high}]"


def change_text(pair: QualityPair) -> str:
    """The paired change of accuracy with its interval, as ``−0.3 points [−0.8 to +0.2]``."""
    low, high = (points(bound, unit=False) for bound in (pair.accuracy_change_lo, pair.accuracy_change_hi))
    return f"{points(pair.accuracy_change)} [{low} to {high}]"


def quality_table(pair: QualityPair) -> Table:
    """How good, how big and how costly the network is, before and after."""
    before, after = pair.before, pair.after
    split = f"Accuracy on {before.split}" if before.split == after.split else "Accuracy"
    rows = (
        (split, accuracy_text(before), accuracy_text(after), change_text(pair)),
        _plain("Macro-F1", before.macro_f1, after.macro_f1, points(after.macro_f1 - before.macro_f1), "1"),
        _plain("Size on disk", before.size_bytes, after.size_bytes, "", "B"),
        _plain("Parameters", before.parameters, after.parameters, "", ""),
        ("Training time", _training(before), _training(after), ""),
        ("Latency in onnxruntime", _optional(before.latency), _optional(after.latency), ""),
        _energy(before.inference_energy, after.inference_energy),
    )
    columns = (
        Column("Quality", whole=True),
        *(Column(head, numeric=True) for head in ("Before", "After", "Change")),
    )
    cells = tuple((name(row[0]), *(Cell(text or "–") for text in row[1:])) for row in rows)
    return Table("quality", "Quality, size and cost", columns, cells)


def _plain(label: str, before: float, after: float, change: str, unit: str) -> tuple[str, str, str, str]:
    left = f"{quantity(after / before, '1')} left" if before else ""
    return label, quantity(before, unit), quantity(after, unit), change or left


def _energy(before: Estimate, after: Estimate) -> tuple[str, str, str, str]:
    left = remaining(before, after)
    change = "" if left is None else f"{spread(left)} left"
    return "Energy of one inference", describe(before), describe(after), change


def _training(quality: Quality) -> str:
    return quantity(quality.training_s, "s") if quality.training_s else "none here"


def _optional(estimate: Estimate | None) -> str:
    return "not benchmarked" if estimate is None else describe(estimate)


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


def steps_table(steps: tuple[PruneStep, ...], before: Estimate) -> Table:
    """The greedy steps, each with what else was at hand."""
    columns = (
        Column("Step"),
        Column("Group"),
        Column("Channels", numeric=True),
        Column("Saves", numeric=True, keep=5),
        Column("Loss added", numeric=True, keep=3),
        Column("Loss per joule", numeric=True, keep=3),
        *energy_columns("Total after"),
        Column("Left", numeric=True, full=1.0),
        Column("Calibration loss", numeric=True, keep=4),
        Column("Validation accuracy", numeric=True, keep=6),
        Column("Why", keep=2),
        Column("Runners-up", keep=1),
    )
    caption = f"Steps in order; savings are {before.origin} like the total, neighbours included"
    return Table("steps", caption, columns, tuple(_step_row(step) for step in steps))


def _step_row(step: PruneStep) -> tuple[Cell, ...]:
    taken, accuracy = step.taken, step.accuracy
    return (
        Cell(str(step.index), step.index),
        name(taken.group),
        Cell(str(len(taken.channels)), len(taken.channels)),
        Cell(quantity(taken.saving_j, "J"), taken.saving_j),
        Cell(number(taken.loss), taken.loss),
        Cell(number(taken.price), taken.price),
        *energy_cells(step.total),
        Cell(quantity(step.share, "1"), step.share),
        Cell(number(step.calibration_loss), step.calibration_loss),
        Cell("–") if accuracy is None else Cell(quantity(accuracy, "1"), accuracy),
        prose(step.reason),
        Cell("; ".join(_runner_up(candidate) for candidate in step.runners_up) or "none"),
    )


def _runner_up(candidate: Candidate) -> str:
    group, count = shorten(printable(candidate.group), 32), len(candidate.channels)
    return f"{group}: {count} for {quantity(candidate.saving_j, 'J')} at {number(candidate.price)} per joule"


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
