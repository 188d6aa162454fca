"""Tables of the steps of a pruning run, each with what else was at hand and why it won."""

from __future__ import annotations

from joulecut.estimate import Estimate
from joulecut.pruning.explaining import explained, move, removal
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.reports.text import number, printable, quantity
from joulecut.reports.view import Cell, Column, Table, energy_cells, energy_columns, name, prose

__all__ = ["brief_steps_table", "candidates_table", "steps_table"]


def steps_table(steps: tuple[PruneStep, ...], before: Estimate) -> Table:
    """The steps, each with its runners-up folded below the reason."""
    columns = (
        Column("Step"),
        Column("Removed"),
        *_figure_columns(),
        *energy_columns("Total after"),
        Column("Left", numeric=True, full=1.0),
        Column("Loss after", numeric=True, keep=4),
        Column("Accuracy", numeric=True, keep=6),
        Column("Why, and what else was at hand", keep=2),
    )
    caption = (
        f"Steps in order; savings are {before.origin} like the total, neighbours included; "
        "accuracy is that on validation samples"
    )
    return Table("steps", caption, columns, tuple(_step_row(step) for step in steps))


def _figure_columns() -> tuple[Column, ...]:
    return (
        Column("Saves", numeric=True, keep=7),
        Column("Loss added", numeric=True, keep=6),
        Column("Price", numeric=True, keep=5),
    )


def _step_row(step: PruneStep) -> tuple[Cell, ...]:
    taken, why = step.taken, prose(explained(step).why)
    return (
        Cell(str(step.index), step.index),
        name(move(step)),
        *_figures(taken),
        *energy_cells(step.total),
        Cell(quantity(step.share, "1"), step.share),
        Cell(number(step.calibration_loss), step.calibration_loss),
        _accuracy(step),
        Cell(why.text, whole=why.whole, more=tuple(map(_runner_up, step.runners_up))),
    )


def _figures(candidate: Candidate) -> tuple[Cell, Cell, Cell]:
    if not candidate.group:
        return Cell("–"), Cell(number(candidate.loss), candidate.loss), Cell("–")
    return (
        Cell(quantity(candidate.saving_j, "J"), candidate.saving_j),
        Cell(number(candidate.loss), candidate.loss),
        Cell(_price(candidate), candidate.price),
    )


def _price(candidate: Candidate) -> str:
    """Loss by what it gives; a removal that costs no loss has no such price."""
    return number(candidate.price) if candidate.loss > 0 else "no loss"


def _accuracy(step: PruneStep) -> Cell:
    return Cell("–") if step.accuracy is None else Cell(quantity(step.accuracy, "1"), step.accuracy)


def _runner_up(candidate: Candidate) -> str:
    saves, added = quantity(candidate.saving_j, "J"), number(candidate.loss)
    price = f"price {_price(candidate)}" if candidate.loss > 0 else _price(candidate)
    return f"{printable(removal(candidate))}: saves {saves}, adds {added}, {price}"


def brief_steps_table(steps: tuple[PruneStep, ...]) -> Table:
    """The steps in one line each."""
    columns = (
        Column("Step"),
        Column("Removed"),
        *_figure_columns(),
        Column("Left", numeric=True),
        Column("Validation accuracy", numeric=True, keep=4),
    )
    return Table("brief", "Steps in order", columns, tuple(_brief_row(step) for step in steps))


def _brief_row(step: PruneStep) -> tuple[Cell, ...]:
    return (
        Cell(str(step.index), step.index),
        name(move(step)),
        *_figures(step.taken),
        Cell(quantity(step.share, "1"), step.share),
        _accuracy(step),
    )


def candidates_table(steps: tuple[PruneStep, ...]) -> Table:
    """Every candidate that a step compared, the one that was taken first."""
    columns = (
        Column("Step", whole=True),
        Column("Candidate"),
        *_figure_columns(),
        Column("Left", numeric=True),
        Column("Why", keep=4),
    )
    rows = tuple(row for step in steps for row in _candidate_rows(step))
    return Table("candidates", "Steps in order, each with what else was at hand", columns, rows)


def _candidate_rows(step: PruneStep) -> tuple[tuple[Cell, ...], ...]:
    blank = Cell("")
    taken = (
        Cell(str(step.index)),
        name(removal(step.taken)),
        *_figures(step.taken),
        Cell(quantity(step.share, "1"), step.share),
        prose(step.reason),
    )
    others = ((blank, name(f"or {removal(one)}"), *_figures(one), blank, blank) for one in step.runners_up)
    back = step.put_back
    returned = (
        () if back is None else ((blank, name(f"back {removal(back)}"), *_figures(back), blank, blank),)
    )
    return (taken, *returned, *others)
