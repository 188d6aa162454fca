"""A measurement on the terminal, apart from other records: a measured command shall not wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.profiler.records import Measurement
from joulecut.reports.measure_tables import domain_table, measurement_facts
from joulecut.reports.terminal import print_facts, print_heading, print_table
from joulecut.reports.text import printable, shorten

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_measurement"]


def print_measurement(measured: Measurement, console: Console) -> None:
    """Print the doubts, the joules gross, idle and net, and each domain."""
    print_heading(shorten(printable(measured.label), 200), f"Measured by {measured.sensor}", console)
    print_facts(measurement_facts(measured), console)
    print_table(domain_table(measured.domains), console)
