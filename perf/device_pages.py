"""Pages about the bundled devices, written from their data files: docs/devices.

python -m perf.device_pages [--check]

A page for each chip and an index. The first line says whether measured energy stands behind it. ``--check``
writes nothing and exits with 1 where a page is not what would be written.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from joulecut.hw_models import layer_cost, overhead_cost
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.spec import EVIDENCE, DeviceSpec, Figure
from joulecut.reports.text import BOUNDARIES, number
from joulecut.units import format_percent, format_quantity
from perf.device_plot import validation_svg
from perf.energy_rows import Series, all_microcontroller_series, linux_series, newest
from perf.fit_devices import MEASURED, _find

__all__ = ["FOLDER", "pages"]

FOLDER: Final = Path(__file__).parents[1] / "docs" / "devices"
_FEWEST: Final = 2
"""Rows that make a plot; a fit to one row agrees with it whatever the model."""

Pairs = Sequence[tuple[str, float, float]]


def pages() -> dict[str, str]:
    """The text of every page and plot, by file name."""
    devices, rows = all_devices(), published()
    found: dict[str, str] = {}
    chips = {chip: tuple(group) for chip, group in groupby(devices, lambda spec: spec.chip)}
    for chip, specs in chips.items():
        plots = {spec.name: pairs for spec in specs if len(pairs := _pairs(spec, rows)) >= _FEWEST}
        found[f"{chip}.md"] = _page(chip, specs, plots)
        for spec in specs:
            if spec.name in plots:
                title = f"{spec.name}: predicted against published joules"
                found[_plot_file(spec)] = validation_svg(title, plots[spec.name], spec.interval.total_90)
    return {"README.md": _index(chips), **found}


def published() -> dict[str, Series]:
    """The published rows behind a device's figures, by its name."""
    found = {
        f"{each.first.chip}/{each.first.runtime}/{each.first.dtype}": each for each in newest(linux_series())
    }
    everything = all_microcontroller_series()
    for chip, runtime, board, rows_runtime, version, supply in MEASURED:
        found[f"{chip}/{runtime}/int8"] = _find(everything, board, rows_runtime, version, supply)
    return found


def _pairs(spec: DeviceSpec, rows: Mapping[str, Series]) -> Pairs:
    """Published and predicted joules of the networks that a device was fitted to."""
    series = rows.get(spec.name)
    found = []
    for row in series.rows if series else ():
        if row.energy_j is not None:
            costs = [*(layer_cost(spec, layer) for layer in row.workload.layers), overhead_cost(spec)]
            found.append((row.workload.name, row.energy_j, math.fsum(cost.total_j for cost in costs)))
    return sorted(found)


def _plot_file(spec: DeviceSpec) -> str:
    return f"{spec.name.replace('/', '_')}.svg"


def _evidence(specs: Iterable[DeviceSpec]) -> str:
    chosen = tuple(specs)
    if all(spec.mode == "definition" for spec in chosen):
        return "a definition, nothing to measure"
    measured = [spec for spec in chosen if not spec.prior_only]
    if not measured:
        return "prior only, no joule of it was measured"
    part = "" if len(measured) == len(chosen) else f" for {len(measured)} of {len(chosen)} entries"
    return f"measured energy stands behind it{part}"


def _index(chips: Mapping[str, Sequence[DeviceSpec]]) -> str:
    lines = [
        "# Devices",
        "",
        "Written by `python -m perf.device_pages` from the data files in `src/joulecut/hw_models/devices`; "
        "`joulecut devices NAME` shows the same on the terminal.",
        "",
        "| chip | kind | entries | evidence | energy |",
        "|---|---|---|---|---|",
    ]
    for chip, specs in chips.items():
        first = specs[0]
        words = (
            f"[{chip}]({chip}.md)",
            first.category,
            str(len(specs)),
            _evidence(specs),
            BOUNDARIES[first.boundary],
        )
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _page(chip: str, specs: Sequence[DeviceSpec], plots: Mapping[str, Pairs]) -> str:
    first = specs[0]
    lines = [
        f"# {chip}: {_evidence(specs)}",
        "",
        f"{first.core}; {first.category}. Energy is {BOUNDARIES[first.boundary]}.",
        "",
        "| device | mode | 90 % interval | channel step | clock | supply | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_row(spec))} |" for spec in specs]
    for spec in specs:
        lines += ["", *_section(spec, plots.get(spec.name, ()))]
    sources = {source.id: source for spec in specs for source in spec.sources}
    lines += ["", "## Sources", ""]
    for source in sources.values():
        date = f", {source.date}" if source.date else ""
        lines.append(f"- **{source.id}** ({EVIDENCE[source.evidence]}{date}): {source.text}.")
    return "\n".join(lines) + "\n"


def _row(spec: DeviceSpec) -> Iterator[str]:
    factor = spec.interval.total_90
    yield f"`{spec.name}`"
    yield spec.mode
    yield "±0" if factor == 1 else f"×/÷ {number(factor)}"
    yield str(spec.channel_step)
    yield format_quantity(spec.clock_hz, "Hz") if spec.clock_hz else "unknown"
    yield format_quantity(spec.voltage_v, "V") if spec.voltage_v else "unknown"
    yield "by definition" if spec.mode == "definition" else "no" if spec.prior_only else "yes"


def _section(spec: DeviceSpec, pairs: Pairs) -> Iterator[str]:
    version = f" {spec.runtime_version}" if spec.runtime_version else ""
    yield f"## {spec.runtime}{version}, {spec.dtype}"
    yield ""
    if spec.note:
        yield from (spec.note, "")
    if spec.prior_only:
        yield from ("No joule of this entry was measured: its figures make a prior.", "")
    yield "| figure | value | range | evidence | source |"
    yield "|---|---|---|---|---|"
    for figure in spec.figures.values():
        words = (figure.key, f"{number(figure.value, 4)} {figure.unit}", _range(figure))
        yield f"| {' | '.join(words)} | {figure.source.evidence} | {figure.source.id} |"
    if pairs:
        errors = [abs(predicted / joules - 1) for _, joules, predicted in pairs]
        mean = format_percent(math.fsum(errors) / len(errors))
        yield from (
            "",
            f"![predicted against published joules of {len(pairs)} networks]({_plot_file(spec)})",
            "",
        )
        yield (
            f"The {len(pairs)} published networks that the figures were fitted to: {mean} off in the mean, "
            f"{format_percent(max(errors))} at most. Dashed: the 90 % interval. How networks and boards fare "
            "that were left out, `python -m perf.energy_models` prints."
        )


def _range(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "–"
    return f"{number(figure.low, 4)} to {number(figure.high, 4)}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check, found = parser.parse_args().check, pages()
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.*")}
    stale = sorted(name for name in {*kept, *found} if kept.get(name) != found.get(name))
    if check:
        print("\n".join(stale) or f"{len(found)} files as they should be")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in found:
            (FOLDER / name).write_text(found[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    print(f"{len(stale)} of {len(found)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
