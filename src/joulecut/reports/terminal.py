"""Tables and facts on a terminal, fitted to its width; names are printed letter by letter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from joulecut.reports.text import printable, shorten
from joulecut.reports.view import Fact, Table

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

__all__ = ["print_facts", "print_heading", "print_note", "print_notes", "print_table"]

_TONES: Final[dict[str, str]] = {"good": "bold green", "bad": "bold red", "unsure": "bold yellow", "": "bold"}
_GAP: Final = 2
_LEAST_NAME: Final = 16
_LEAST_PROSE: Final = 24
_MOST_LABEL: Final = 36


def cell_len(text: str) -> int:
    """The columns of the terminal that a text takes."""
    from rich.cells import cell_len as measure

    return measure(text)


def print_heading(title: str, about: str, console: Console) -> None:
    """A title and the line that says what it is about."""
    from rich.text import Text

    console.print(Text(title, style="bold"))
    if about:
        console.print(Text(about, style="dim"))


def print_note(note: str, console: Console) -> None:
    """A line of plain text."""
    from rich.text import Text

    console.print(Text(note, style="dim"))


def print_notes(notes: tuple[str, ...], console: Console) -> None:
    """Notes, each set off by a blank line."""
    for note in notes:
        print_note(f"\nNote: {printable(note)}", console)


def print_facts(facts: tuple[Fact, ...], console: Console) -> None:
    """The headline: label, figure, detail, one fact a line."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(no_wrap=True, max_width=_MOST_LABEL)
    grid.add_column(max_width=max(console.width // 3, 20))
    grid.add_column(overflow="fold")
    for fact in facts:
        value = Text(fact.value, style=_TONES[fact.tone])
        grid.add_row(Text(fact.label), value, Text(fact.detail, style="dim"))
    console.print()
    console.print(grid)


def print_table(table: Table, console: Console, *, limit: int | None = None) -> None:
    """A table, without the columns that matter least where the terminal is narrow.

    Args:
        table: what to show; nothing is printed without rows.
        console: where to.
        limit: rows shown; the rest is counted in a line below.
    """
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    if not table.rows:
        return
    fitted = _fitted(replace(table, rows=table.rows[:limit]), console.width)
    widths = _widths(fitted, console.width)
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for column, width in zip(fitted.columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.numeric else "left"
        grid.add_column(Text(column.head), justify=justify, width=width, overflow="fold", header_style="dim")
    for row in fitted.rows:
        full = row[0].whole or row[0].text
        first = full if fitted.columns[0].whole else shorten(full, widths[0])
        others = (_broken(cell.text, width) for cell, width in zip(row[1:], widths[1:], strict=True))
        grid.add_row(Text(first), *map(Text, others))
    console.print()
    console.print(Text(table.caption, style="dim"))
    console.print(grid)
    if len(table.rows) > len(fitted.rows):
        print_note(f"and {len(table.rows) - len(fitted.rows)} more", console)


def _broken(text: str, width: int) -> str:
    """A cell with its interval on a line of its own where both do not fit on one."""
    return text.replace(" [", "\n[") if cell_len(text) > width else text


def _asked(table: Table) -> list[int]:
    """The width that each column asks for; prose makes do with less and wraps."""
    return [
        asked if column.numeric or not at else min(asked, _LEAST_PROSE)
        for at, (column, asked) in enumerate(zip(table.columns, _longest(table), strict=True))
    ]


def _longest(table: Table) -> list[int]:
    """The length of the longest text of each column, its heading included."""
    return [
        max(cell_len(column.head), *(cell_len(row[at].text) for row in table.rows))
        for at, column in enumerate(table.columns)
    ]


def _least_name(table: Table) -> int:
    """The width to which the first column may be shortened."""
    return _longest(table)[0] if table.columns[0].whole else _LEAST_NAME


def _fitted(table: Table, room: int) -> Table:
    """The table without the columns for which there is no room, the least important left out first."""
    while True:
        first, *others = _asked(table)
        least = min(range(len(table.columns)), key=lambda at: table.columns[at].keep)
        fits = min(first, _least_name(table)) + sum(width + _GAP for width in others) <= room
        if fits or table.columns[least].keep == 9:
            return table
        table = replace(
            table,
            columns=table.columns[:least] + table.columns[least + 1 :],
            rows=tuple(row[:least] + row[least + 1 :] for row in table.rows),
        )


def _widths(table: Table, room: int) -> list[int]:
    """Widths that fill no more than the terminal: names give way first, then the widest column."""
    widths = _asked(table)
    spare = room - sum(widths) - _GAP * (len(widths) - 1)
    if spare < 0:
        given = min(-spare, max(widths[0] - _least_name(table), 0))
        widths[0] -= given
        spare += given
    while spare < 0 and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
        spare += 1
    for at, longest in enumerate(_longest(table)):
        more = min(max(longest - widths[at], 0), max(spare, 0))
        widths[at] += more
        spare -= more
    return widths
