"""Devices and explanations on the terminal, apart from other records: listing devices must start fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from joulecut.reports.device_tables import (
    calibration_table,
    device_facts,
    device_list,
    explanation_facts,
    explanation_figures,
    figure_table,
    source_table,
    sparsity_table,
    terms_table,
)
from joulecut.reports.terminal import print_facts, print_heading, print_note, print_notes, print_table
from joulecut.reports.text import printable, shorten

if TYPE_CHECKING:
    from rich.console import Console

    from joulecut.hw_models.catalogue import DeviceDescription
    from joulecut.hw_models.explaining import Explanation

__all__ = ["print_device", "print_devices", "print_explanation"]


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print where the joules of a layer or network come from, coefficient by coefficient."""
    print_heading(
        shorten(printable(explanation.subject), 200), f"On {printable(explanation.device)}", console
    )
    print_facts(explanation_facts(explanation), console)
    print_note(f"\n{printable(explanation.formula)}", console)
    print_table(terms_table(explanation), console)
    figures = explanation_figures(explanation)
    print_table(figure_table(figures), console)
    print_table(source_table(dict.fromkeys(figure.source for figure in figures)), console)
    print_notes(explanation.notes, console)


def print_devices(devices: Iterable[DeviceDescription], console: Console) -> None:
    """Print the devices, one a row."""
    print_table(device_list(devices), console)


def print_device(device: DeviceDescription, console: Console) -> None:
    """Print one device whole: every figure with unit, range, evidence and source."""
    print_heading(printable(device.name), "", console)
    print_facts(device_facts(device), console)
    print_table(figure_table(device.figures), console)
    if device.sparsity:
        print_table(sparsity_table(device.sparsity), console)
    if device.calibration is not None:
        print_table(calibration_table(device.calibration), console)
    print_table(source_table(device.sources), console)
    print_notes((device.note,) if device.note else (), console)
