"""Tables of devices and of explained energies: every figure with unit, range and source."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from joulecut.reports.text import BOUNDARIES, number, printable, quantity
from joulecut.reports.view import Cell, Column, Fact, Table, name

if TYPE_CHECKING:
    from joulecut.hw_models.calibration import Calibration
    from joulecut.hw_models.catalogue import DeviceDescription
    from joulecut.hw_models.explaining import Explanation
    from joulecut.hw_models.spec import Figure, Source, SparsitySupport

__all__ = [
    "calibration_table",
    "device_facts",
    "device_list",
    "explanation_facts",
    "explanation_figures",
    "figure_table",
    "source_table",
    "sparsity_table",
    "terms_table",
]


def device_list(devices: Iterable[DeviceDescription]) -> Table:
    """One row a device: what it is, where its energy is counted, what its estimates are worth."""
    columns = (
        Column("Device", whole=True),
        Column("Kind", keep=6),
        Column("Energy", keep=3),
        Column("Mode"),
        Column("90 % interval", numeric=True),
        Column("Channel step", numeric=True, keep=4),
        Column("Measured", keep=5),
    )
    rows = tuple(
        (
            name(item.name, 120),
            name(item.category),
            Cell(BOUNDARIES[item.boundary]),
            name(item.mode),
            Cell(_worth(item), item.factor_90),
            Cell(str(item.channel_step), item.channel_step),
            Cell("by definition" if item.mode == "definition" else "no" if item.prior_only else "yes"),
        )
        for item in devices
    )
    return Table("devices", "Devices", columns, rows)


def _worth(item: DeviceDescription) -> str:
    return "±0" if item.factor_90 == 1 else f"×/÷ {number(item.factor_90)}"


def device_facts(item: DeviceDescription) -> tuple[Fact, ...]:
    """What a device is, before its figures."""
    prior = "no joule of it was measured: the figures make a prior" if item.prior_only else ""
    facts = [
        Fact("Core", printable(item.core)),
        Fact("Kind", printable(item.category)),
        Fact("Energy", BOUNDARIES[item.boundary]),
        Fact("Mode", printable(item.mode), prior, "unsure" if item.prior_only else ""),
        Fact("90 % interval", _worth(item)),
        Fact("Channel step", str(item.channel_step)),
    ]
    if not item.sparsity:
        facts.append(Fact("Zero weights", "save no energy", "no figure says that it skips them"))
    if item.clock_hz is not None:
        facts.append(Fact("Clock", quantity(item.clock_hz, "Hz")))
    if item.voltage_v is not None:
        facts.append(Fact("Supply", quantity(item.voltage_v, "V")))
    if item.runtime_version:
        facts.append(Fact("Runtime", printable(item.runtime_version)))
    return tuple(facts)


def figure_table(figures: Iterable[Figure]) -> Table:
    """Numbers of a device file; the sources are told in a table of their own."""
    columns = (
        Column("Figure"),
        Column("Value", numeric=True),
        Column("Range", numeric=True, keep=8),
        Column("Evidence"),
        Column("Source"),
    )
    return Table("figures", "Figures, each with its source", columns, tuple(map(_figure_row, figures)))


def _figure_row(figure: Figure) -> tuple[Cell, ...]:
    bounds = (figure.low, figure.high)
    low, high = ("open" if bound is None else number(bound, 6) for bound in bounds)
    return (
        name(figure.key),
        Cell(_measure(figure), figure.value),
        Cell("–" if bounds == (None, None) else f"{low} to {high}"),
        Cell(figure.source.evidence),
        name(figure.source.id),
    )


def _measure(figure: Figure) -> str:
    return f"{number(figure.value, 6)} {printable(figure.unit)}".strip()


def calibration_table(calibration: Calibration) -> Table:
    """What a device was fitted to, and what is left of it."""
    columns = (
        Column("Network"),
        Column("MACs", numeric=True, keep=3),
        Column("Energy", numeric=True),
        Column("Latency", numeric=True, keep=5),
        Column("Measured over fitted", numeric=True),
    )
    rows = tuple(
        (
            name(row.network),
            Cell(quantity(row.macs, ""), row.macs),
            Cell(quantity(row.energy_j, "J"), row.energy_j),
            Cell("–" if row.latency_s is None else quantity(row.latency_s, "s"), row.latency_s),
            Cell(f"{row.residual:+.1%}".replace("%", " %"), row.residual),
        )
        for row in calibration.rows
    )
    title = f"Calibrated on, with the shape of {printable(calibration.prior)} as prior"
    return Table("calibration", title, columns, rows)


def sparsity_table(entries: Iterable[SparsitySupport]) -> Table:
    """Which zero weights save joules, for which layers."""
    columns = (
        Column("Zero weights"),
        Column("Operations"),
        Column("Number types"),
        Column("From (outputs x inputs x positions)", numeric=True, keep=6),
        Column("What they save"),
        Column("Evidence"),
        Column("Source"),
    )
    rows = tuple(
        (
            Cell(entry.zeros),
            name(", ".join(entry.ops)),
            name(", ".join(entry.dtypes)),
            Cell(" x ".join(map(str, entry.min_dims)) if max(entry.min_dims) > 1 else "any"),
            Cell(_saved(entry)),
            Cell(entry.source.evidence),
            name(entry.source.id),
        )
        for entry in entries
    )
    return Table("sparsity", "Zero weights that save energy", columns, rows)


def _saved(entry: SparsitySupport) -> str:
    """What an entry is worth, in words."""
    if entry.kind == "nm":
        left = quantity(entry.mac_scale, "1"), quantity(entry.weight_bytes_scale, "1")
        return f"{left[0]} of the MACs' energy and time left, {left[1]} of the weights' bytes"
    told = []
    if entry.kind != "compressed":
        saved = quantity(entry.mac_energy_saved, "1"), quantity(entry.time_saved, "1")
        told.append(f"{saved[0]} of a MAC's switched energy and {saved[1]} of its time for each zero")
    if entry.bits_per_nonzero is not None:
        told.append(f"zeros are not stored; {number(entry.bits_per_nonzero)} bits for each other weight")
    return "; ".join(told)


def source_table(sources: Iterable[Source]) -> Table:
    """The sources behind the figures, each once and whole."""
    columns = (Column("Source"), Column("Date", keep=6), Column("What it is"))
    rows = tuple(
        (name(item.id), name(item.date or "undated"), Cell(printable(item.text))) for item in sources
    )
    return Table("sources", "Sources", columns, rows)


def explanation_facts(explanation: Explanation) -> tuple[Fact, ...]:
    """The energy that is explained, and the sum in words."""
    origin = f"{printable(explanation.mode)} model; the profile holds its interval"
    facts = [
        Fact("Energy", quantity(explanation.energy_j, "J"), origin),
        Fact("Static part of it", quantity(explanation.static_j, "J")),
    ]
    if explanation.duration_s:
        facts.append(Fact("Time", quantity(explanation.duration_s, "s")))
    if explanation.scale != 1:
        facts.append(
            Fact("Scale", number(explanation.scale), "energy with the measured latency over the modelled one")
        )
    return tuple(facts)


def terms_table(explanation: Explanation) -> Table:
    """The terms of the sum."""
    columns = (
        Column("Term"),
        Column("Quantity", numeric=True),
        Column("Times", numeric=True),
        Column("Energy", numeric=True),
        Column("Share", numeric=True, full=1.0),
    )
    rows = tuple(
        (
            name(term.name),
            Cell(quantity(term.quantity, ""), term.quantity),
            Cell(" × ".join(map(_measure, term.coefficients))),
            Cell(quantity(term.joules, "J"), term.joules),
            Cell(quantity(term.share, "1"), term.share),
        )
        for term in explanation.terms
    )
    return Table("terms", "Terms of the sum", columns, rows)


def explanation_figures(explanation: Explanation) -> tuple[Figure, ...]:
    """Every figure that the explanation uses, each once."""
    used = chain(*(term.coefficients for term in explanation.terms), explanation.power)
    return tuple({figure.key: figure for figure in used}.values())
