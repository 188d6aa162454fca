"""Tables of a ``QualityPair``: accuracy, F1 by class, size, memory, energy, latency, and what was trained."""

from __future__ import annotations

from joulecut.estimate import Estimate
from joulecut.pruning.quality_records import ClassScore, Quality, QualityPair, TrainingCost
from joulecut.reports.text import describe, points, quantity, remaining, spread, value
from joulecut.reports.view import Cell, Column, Table, name, prose

__all__ = ["accuracy_text", "change_text", "classes_table", "quality_table", "training_table"]


def accuracy_text(quality: Quality) -> str:
    """An accuracy with its 90 % interval, as ``97.2 % [95.6 % to 98.4 %]``."""
    return _share(quality.accuracy, quality.accuracy_lo, quality.accuracy_hi)


def change_text(pair: QualityPair) -> str:
    """The paired change of accuracy with its interval, as ``−0.3 points [−0.8 to +0.2]``."""
    return _change(pair.accuracy_change, pair.accuracy_change_lo, pair.accuracy_change_hi)


def _share(share: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return quantity(share, "1")
    return f"{quantity(share, '1')} [{quantity(low, '1')} to {quantity(high, '1')}]"


def _change(change: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return points(change)
    return f"{points(change)} [{points(low, unit=False)} to {points(high, unit=False)}]"


def quality_table(pair: QualityPair) -> Table:
    """How good, how big and how costly the network is, before and after."""
    before, after = pair.before, pair.after
    split = f"Accuracy on {before.split}" if before.split == after.split else "Accuracy"
    rows = (
        (split, accuracy_text(before), accuracy_text(after), change_text(pair)),
        ("Macro-F1", _macro(before), _macro(after), _macro_change(pair)),
        _plain("Size on disk", before.size_bytes, after.size_bytes, "B"),
        _plain("Parameters", before.parameters, after.parameters, ""),
        _energy(before.inference_energy, after.inference_energy),
        (
            "Latency in onnxruntime",
            _optional(before.latency),
            _optional(after.latency),
            "" if pair.latency_ratio is None else f"{spread(pair.latency_ratio)} left",
        ),
        _peak(before.memory_peak, after.memory_peak),
        ("Training time", _seconds(before), _seconds(after), ""),
        ("Training energy", _joules(before), _joules(after), ""),
    )
    columns = (
        Column("Quality", whole=True),
        *(Column(head, numeric=True) for head in ("Before", "After", "Change")),
    )
    cells = tuple((name(row[0]), *(Cell(text or "–") for text in row[1:])) for row in rows)
    caption = "Quality, size and cost, with 90 % intervals; trainings after the cut stand under After"
    return Table("quality", caption, columns, cells)


def _macro(quality: Quality) -> str:
    return _share(quality.macro_f1, quality.macro_f1_lo, quality.macro_f1_hi)


def _macro_change(pair: QualityPair) -> str:
    change = pair.macro_f1_change
    if change is None:
        change = pair.after.macro_f1 - pair.before.macro_f1
    return _change(change, pair.macro_f1_change_lo, pair.macro_f1_change_hi)


def _plain(label: str, before: float, after: float, unit: str) -> tuple[str, str, str, str]:
    left = f"{quantity(after / before, '1')} left" if before else ""
    return label, quantity(before, unit), quantity(after, unit), left


def _energy(before: Estimate, after: Estimate) -> tuple[str, str, str, str]:
    left = remaining(before, after)
    change = "" if left is None else f"{spread(left)} left"
    return "Energy of one inference", describe(before), describe(after), change


def _optional(estimate: Estimate | None) -> str:
    return "not benchmarked" if estimate is None else describe(estimate)


def _peak(before: Estimate | None, after: Estimate | None) -> tuple[str, str, str, str]:
    """The peak by liveness: no runtime needs less."""
    change = ""
    if before is not None and after is not None and before.value:
        change = f"{quantity(after.value / before.value, '1')} left"
    return "Memory peak", _least(before), _least(after), change


def _least(peak: Estimate | None) -> str:
    return "not known" if peak is None else f"at least {value(peak)}, {peak.origin}"


def _seconds(quality: Quality) -> str:
    return quantity(quality.training_s, "s") if quality.training_s else "none here"


def _joules(quality: Quality) -> str:
    if quality.training_energy is not None:
        return describe(quality.training_energy)
    return "not known" if quality.training_s else "none here"


def classes_table(pair: QualityPair) -> Table:
    """F1 of each class before and after, with the number of its samples."""
    columns = (
        Column("Class"),
        Column("Samples", numeric=True),
        Column("F1 before", numeric=True),
        Column("90 % interval", numeric=True, keep=4),
        Column("F1 after", numeric=True, full=1.0),
        Column("90 % interval", numeric=True),
        Column("Change", numeric=True),
    )
    old = {one.label: one for one in pair.before.classes}
    new = {one.label: one for one in pair.after.classes}
    rows = tuple(_class_row(label, old.get(label), new.get(label)) for label in sorted(old | new))
    return Table("classes", "F1 by class, on the same samples", columns, rows)


def _class_row(label: int, before: ClassScore | None, after: ClassScore | None) -> tuple[Cell, ...]:
    known = after or before
    change = Cell("–") if before is None or after is None else _points(after.f1 - before.f1)
    return (
        Cell(str(label), label),
        Cell(str(known.support), known.support) if known else Cell("–"),
        *_f1(before),
        *_f1(after),
        change,
    )


def _points(change: float) -> Cell:
    return Cell(points(change), change)


def _f1(score: ClassScore | None) -> tuple[Cell, Cell]:
    if score is None:
        return Cell("–"), Cell("–")
    low, high = quantity(score.f1_lo, "1"), quantity(score.f1_hi, "1")
    return Cell(quantity(score.f1, "1"), score.f1), Cell(f"{low} to {high}", score.f1_hi - score.f1_lo)


def training_table(pair: QualityPair) -> Table:
    """What was trained, what it took, and where its joules come from."""
    columns = (
        Column("Training", whole=True),
        Column("Steps", numeric=True, keep=6),
        Column("Samples a step", numeric=True, keep=5),
        Column("Time", numeric=True),
        Column("Energy", numeric=True),
        Column("Weights", keep=7),
        Column("Where the joules come from", keep=3),
    )
    rows = tuple(_training_row(one) for one in (*pair.before.training, *pair.after.training))
    return Table("training", "What was trained, kept or not", columns, rows)


def _training_row(cost: TrainingCost) -> tuple[Cell, ...]:
    energy = Cell("not known") if cost.energy is None else Cell(describe(cost.energy), cost.energy.value)
    return (
        name(cost.stage),
        _count(cost.steps),
        _count(cost.batch),
        Cell(quantity(cost.duration_s, "s"), cost.duration_s),
        energy,
        Cell("kept" if cost.kept else "rolled back"),
        prose(cost.source),
    )


def _count(count: int | None) -> Cell:
    return Cell("not told") if count is None else Cell(f"{count:,}", count)
