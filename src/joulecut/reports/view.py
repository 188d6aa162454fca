"""What a report shows, before it becomes a page or a terminal: facts, tables, sections.

Every renderer works from these, so that the page and the terminal cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from joulecut.estimate import Estimate
from joulecut.reports.text import interval, printable, quantity, shorten, value

__all__ = [
    "Cell",
    "Column",
    "Fact",
    "Section",
    "Table",
    "Tone",
    "energy_cells",
    "energy_columns",
    "name",
    "prose",
    "size",
]

Tone = Literal["", "good", "bad", "unsure"]

NAME_WIDTH = 44
PROSE_WIDTH = 240


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is shown; free of control characters.
        order: what the cell sorts by; None sorts by the text.
        whole: the whole text where ``text`` is shortened, or "".
        more: lines that a page folds away below the text; left out on a terminal.
    """

    text: str
    order: float | None = None
    whole: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        head: its heading.
        numeric: aligned to the right, sorted by number.
        keep: columns of the lowest ``keep`` are left out first where the terminal is narrow; 9 always stays.
        full: each cell is underlined by a bar as long as its ``order``; ``full`` is the value of a bar as
            long as the cell is wide. 0: no bars.
        whole: a name that users type, which is never shortened.
    """

    head: str
    numeric: bool = False
    keep: int = 9
    full: float = 0.0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the row."""

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of the headline."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        key: its anchor.
        title: its heading.
        lead: a sentence on how to read it, or "".
        tables: its tables.
        figure: the key of the figure drawn above the tables, or "".
        folded: shown closed until asked for.
        choice: the tables are states of one thing, of which the last is shown first.
    """

    key: str
    title: str
    lead: str
    tables: tuple[Table, ...]
    figure: str = ""
    folded: bool = False
    choice: bool = False


def name(text: str, width: int = NAME_WIDTH) -> Cell:
    """A name from the user's model: made visible, shortened in the middle, whole beside it.

    >>> name("layer1\\n")
    Cell(text='layer1\\\\n', order=None, whole='', more=())
    """
    safe = printable(text) or "(root)"
    short = shorten(safe, width)
    return Cell(short, whole=safe if short != safe else "")


def prose(text: str) -> Cell:
    """A sentence, shortened only where it is longer than a paragraph."""
    return name(text, PROSE_WIDTH) if text else Cell("")


def size(amount: float, unit: str = "") -> Cell:
    """A count or a number of bytes."""
    return Cell(quantity(amount, unit), amount)


def energy_columns(head: str = "Energy") -> tuple[Column, Column, Column]:
    """The three columns of an energy: figure, interval, origin."""
    return Column(head, numeric=True), Column("90 % interval", numeric=True), Column("Origin")


def energy_cells(estimate: Estimate) -> tuple[Cell, Cell, Cell]:
    """The three cells of an energy; the interval sorts by its width."""
    low, high = estimate.bounds(0.9)
    return (
        Cell(value(estimate), estimate.value),
        Cell(interval(estimate), high - low),
        Cell(estimate.origin),
    )
