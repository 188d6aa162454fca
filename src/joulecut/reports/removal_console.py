"""A removal on the terminal: what went, and what it saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.pruning.removal import RemovalRecord
from joulecut.reports.prune_tables import kept_table
from joulecut.reports.terminal import print_facts, print_heading, print_table
from joulecut.reports.text import describe, printable, quantity, remaining, spread
from joulecut.reports.view import Fact

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_removal"]


def print_removal(record: RemovalRecord, console: Console) -> None:
    """Print the energy and the parameters before and after, and the widths that are left."""
    title = f"{printable(record.model)}, removal"
    print_heading(title, f"{printable(record.asked)}, on {printable(record.device)}", console)
    before, after = record.parameters
    left = remaining(record.before.total, record.after.total)
    energy = f"{describe(record.after.total)}, down from {describe(record.before.total)}"
    share = quantity(after / before, "1") if before else "none"
    facts = (
        Fact("Energy left", "unknown" if left is None else spread(left), energy),
        Fact("Parameters left", share, f"{quantity(after, '')}, down from {quantity(before, '')}"),
    )
    print_facts(facts, console)
    print_table(kept_table(record.kept), console)
