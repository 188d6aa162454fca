"""Tables of an ``EnergyProfile``: layers, staircases, what was not counted, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from joulecut.estimate import Estimate, exact
from joulecut.hw_models.profile import EnergyProfile, FilterEnergy, LayerEnergy
from joulecut.reports.text import describe, quantity, remaining
from joulecut.reports.view import Cell, Column, Table, energy_cells, energy_columns, name, prose, size

__all__ = [
    "filter_table",
    "keyed",
    "layer_row",
    "layer_table",
    "provenance_table",
    "slices",
    "uncounted_table",
]

_WORK_COLUMNS: Final = (
    Column("Layer"),
    Column("Op", keep=5),
    Column("In × out", numeric=True, keep=4),
    Column("MACs", numeric=True, keep=3),
    Column("Weights", numeric=True, keep=1),
    Column("Activations", numeric=True, keep=1),
    *energy_columns(),
)


def layer_table(
    profile: EnergyProfile, *, key: str, caption: str, before: EnergyProfile | None = None
) -> Table:
    """The layers in the order of execution, then the static and the unattributed slice.

    Args:
        profile: what to show.
        key: the table's key.
        caption: the table's caption.
        before: the profile to compare with: adds a column with what is left of each layer's energy.
    """
    former = {} if before is None else dict(keyed(before))
    rows: list[tuple[Cell, ...]] = []
    for place, layer in keyed(profile):
        old = former.get(place)
        rows.append(
            (*layer_row(layer), *([_left(old.energy if old else None, layer.energy)] if before else []))
        )
    for label, estimate in slices(profile):
        old_slice = dict(slices(before)).get(label) if before else None
        row = (Cell(label), *(Cell("") for _ in range(5)), *energy_cells(estimate))
        rows.append(
            (
                *row,
                _slice_share(label, estimate, profile),
                Cell(""),
                *([_left(old_slice, estimate)] if before else []),
            )
        )
    widest = max((layer.share for layer in (before or profile).layers), default=0.0)
    share_columns = (Column("Share", numeric=True, keep=7, full=widest), Column("Bound by", keep=2))
    extra = (Column("Left", numeric=True, keep=6),) if before else ()
    return Table(key, caption, (*_WORK_COLUMNS, *share_columns, *extra), tuple(rows))


def keyed(profile: EnergyProfile) -> Iterator[tuple[tuple[str, int], LayerEnergy]]:
    """The layers, each with its path and how many of the same path came before it."""
    seen: Counter[str] = Counter()
    for layer in profile.layers:
        yield (layer.path, seen[layer.path]), layer
        seen[layer.path] += 1


def layer_row(layer: LayerEnergy) -> tuple[Cell, ...]:
    """The cells of one layer, in the order of the columns."""
    has_channels = layer.in_channels or layer.out_channels
    channels = f"{layer.in_channels} × {layer.out_channels}" if has_channels else "–"
    return (
        name(layer.path),
        name(layer.op if layer.calls == 1 else f"{layer.op} ({layer.calls} calls)"),
        Cell(channels, layer.in_channels * layer.out_channels),
        size(layer.macs),
        size(layer.weight_bytes, "B"),
        size(layer.in_bytes + layer.out_bytes, "B"),
        *energy_cells(layer.energy),
        Cell(quantity(layer.share, "1"), layer.share),
        name(layer.bound_by or "–"),
    )


def slices(profile: EnergyProfile) -> tuple[tuple[str, Estimate], ...]:
    """What belongs to no layer: the static energy, and joules that no layer accounts for."""
    every = (("static", profile.idle), ("unattributed", profile.unattributed))
    return tuple((label, estimate) for label, estimate in every if estimate.value or label == "static")


def _slice_share(label: str, estimate: Estimate, profile: EnergyProfile) -> Cell:
    """The share of a slice; the static energy is already within the shares of the layers."""
    if label == "static" or not profile.total.value:
        return Cell("–", 0.0)
    share = estimate.value / profile.total.value
    return Cell(quantity(share, "1"), share)


def _left(before: Estimate | None, after: Estimate) -> Cell:
    left = None if before is None else remaining(before, after)
    return Cell("–", 0.0) if left is None else Cell(quantity(left.value, "1"), left.value)


def filter_table(filters: tuple[FilterEnergy, ...], kept: Mapping[str, tuple[int, int]]) -> Table:
    """Joules freed in the whole network by removing filters of one group.

    Args:
        filters: the staircases.
        kept: kept and original width by group, where a run has pruned them.
    """
    columns = (
        Column("Group"),
        Column("Filters", numeric=True),
        Column("Step", numeric=True, keep=4),
        Column("One step frees", numeric=True),
        Column("Half frees", numeric=True, keep=5),
        Column("Most that can go", numeric=True, keep=3),
        Column("Frees", numeric=True, keep=3),
        *((Column("Removed here", numeric=True),) if kept else ()),
    )
    rows = tuple(_filter_row(stairs, kept) for stairs in filters)
    return Table(
        "filters", "Joules freed in the whole network by removing filters of one group", columns, rows
    )


def _filter_row(stairs: FilterEnergy, kept: Mapping[str, tuple[int, int]]) -> tuple[Cell, ...]:
    most = stairs.removed[-1] if stairs.removed else 0
    cells = (
        name(stairs.path),
        Cell(str(stairs.filters), stairs.filters),
        Cell(str(stairs.step), stairs.step),
        _freed(stairs, stairs.step),
        _freed(stairs, stairs.filters // 2),
        Cell(str(most), most),
        _freed(stairs, most),
    )
    if not kept:
        return cells
    width, original = kept.get(stairs.path, (0, 0))
    return (*cells, Cell(str(original - width) if original else "–", original - width))


def _freed(stairs: FilterEnergy, removed: int) -> Cell:
    """What removing ``removed`` filters frees: the last stair at or below it."""
    none = exact(0.0, "J", "modelled", "nothing removed")
    steps = [freed for at, freed in zip(stairs.removed, stairs.freed, strict=True) if at <= removed]
    freed = steps[-1] if steps else none
    return Cell(describe(freed), freed.value)


def uncounted_table(profile: EnergyProfile) -> Table:
    """Operations without a counting rule."""
    columns = (Column("Operation"), Column("Path"), Column("Calls", numeric=True), Column("Reason"))
    rows = tuple(
        (name(item.op), name(item.path), Cell(str(item.calls), item.calls), prose(item.reason))
        for item in profile.uncounted
    )
    return Table("uncounted", "Operations that no rule counts: their energy is missing above", columns, rows)


def provenance_table(provenance: Mapping[str, str]) -> Table:
    """Versions, seeds, sources and warnings, as recorded."""
    rows = tuple((name(key), prose(text)) for key, text in provenance.items())
    return Table("provenance", "Where these figures come from", (Column("What"), Column("Value")), rows)
