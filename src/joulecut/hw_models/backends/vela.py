"""Vela's cycles for Arm Ethos-U processors, with a power, as an ``EnergyProfile``.

Vela (Arm's compiler for Ethos-U, ``joulecut[ethos]``) estimates the cycles of every operation, the larger of
compute and each memory's, and says nothing about joules. Here each operation takes

    joules = active power x cycles / clock

with one power for all of them, which the caller knows from a datasheet or a measurement of the chip.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from joulecut.errors import MissingExtra, ModelError, UsageError
from joulecut.hw_models.backends.cache import cached, content_key
from joulecut.hw_models.backends.modelled import modelled_profile, modelled_row
from joulecut.hw_models.profile import Boundary, EnergyProfile
from joulecut.workload.layer import Uncounted

__all__ = ["VelaLayer", "read_vela", "vela_profile"]

_BOUNDS: Final = {
    "NPU": "compute",
    "SRAM AC": "SRAM accesses",
    "DRAM AC": "DRAM accesses",
    "OnFlash AC": "flash accesses",
    "OffFlash AC": "flash accesses",
}
"""Columns of Vela's cycles by what takes them, and what it means when one is the largest."""


@dataclass(frozen=True, slots=True)
class VelaLayer:
    """One operation of Vela's per-layer table; ``target`` is NPU or CPU, the latter without cycles."""

    name: str
    op: str
    target: str
    cycles: float
    macs: int
    bound_by: str


def read_vela(folder: Path) -> tuple[tuple[VelaLayer, ...], float]:
    """What ``vela --verbose-performance --output-dir`` wrote: operations, and the clock in hertz.

    Raises:
        UsageError: no such files, several of them, or files of another form.
    """
    tables = []
    for pattern in ("*_per-layer.csv", "*_summary_*.csv"):
        found = sorted(folder.glob(pattern))
        if len(found) != 1:
            raise UsageError(
                f"{folder} holds {len(found)} files {pattern}, not one.",
                hint="Run: vela MODEL.tflite --verbose-performance --output-dir DIR",
            )
        with found[0].open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    try:
        layers = tuple(_layer(row) for row in tables[0])
        return layers, float(tables[1][0]["core_clock"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the tables in {folder} are not those of Vela 5: {error}.") from error


def _layer(row: dict[str, str]) -> VelaLayer:
    largest = max(_BOUNDS, key=lambda column: float(row[column]))
    return VelaLayer(
        name=row["Name"],
        op=row["Original Operator"],
        target=row.get("Target", "NPU"),
        cycles=float(row["Op Cycles"]),
        macs=round(float(row["MAC Count"])),
        bound_by=_BOUNDS[largest],
    )


def vela_profile(
    model: str | Path,
    active_w: float,
    *,
    accelerator: str = "ethos-u55-128",
    boundary: Boundary = "soc_rail",
    options: Sequence[str] = (),
    cache: Path | None = None,
) -> EnergyProfile:
    """Joules of one inference on an Ethos-U, from Vela's cycles and one power.

    Args:
        model: a .tflite file, or a folder that Vela has written.
        active_w: power while the network runs.
        accelerator: Vela's ``--accelerator-config``.
        boundary: where that power is counted.
        options: more of Vela's options, as ``("--memory-mode", "Sram_Only")``.
        cache: where results are kept, by content; the user's cache by default.

    Returns:
        A profile in mode ``datasheet``; operations left to the CPU are listed as uncounted.

    Raises:
        MissingExtra: Vela is not installed, and ``model`` is no folder.
        UsageError: no such file, a power that is not positive, or Vela refuses its options.
        ModelError: Vela cannot compile the network, or leaves nothing to the accelerator.
    """
    if not 0 < active_w < math.inf:
        raise UsageError(f"an active power of {active_w} W is not positive.")
    path = Path(model)
    if path.is_dir():
        return _profile(path.name, path, active_w, accelerator, boundary, "tables of an earlier run")
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    try:
        release = version("ethos-u-vela")
    except PackageNotFoundError as error:
        raise MissingExtra("ethos-u-vela", "ethos", "compiling for an Ethos-U") from error
    settings = (release, accelerator, repr(active_w), boundary, *options)

    def make() -> EnergyProfile:
        with tempfile.TemporaryDirectory() as folder:
            _run(path, Path(folder), accelerator, options)
            return _profile(path.stem, Path(folder), active_w, accelerator, boundary, f"Vela {release}")

    return cached(cache, content_key("vela", *settings, path.name, path.read_bytes()), make)


def _run(model: Path, folder: Path, accelerator: str, options: Sequence[str]) -> None:
    command = [sys.executable, "-m", "ethosu.vela", str(model), "--accelerator-config", accelerator]
    command += ["--verbose-performance", "--output-dir", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ModelError(f"Vela cannot compile {model.name} for {accelerator}: {said}")


def _profile(
    name: str, folder: Path, active_w: float, accelerator: str, boundary: Boundary, tool: str
) -> EnergyProfile:
    layers, clock_hz = read_vela(folder)
    device = f"{accelerator}/vela/int8"
    rows = [
        modelled_row(
            device,
            path=each.name,
            op=each.op.lower(),
            macs=each.macs,
            energy_j=active_w * each.cycles / clock_hz,
            duration_s=each.cycles / clock_hz,
            bound_by=each.bound_by,
        )
        for each in layers
        if each.target == "NPU"
    ]
    if not rows:
        raise ModelError(f"Vela leaves nothing of {name} to the accelerator.")
    reason = "it runs on the CPU, whose cycles Vela does not know"
    left = [each for each in layers if each.target != "NPU"]
    return modelled_profile(
        name,
        device,
        boundary,
        rows,
        uncounted=tuple(Uncounted(each.op.lower(), each.name, 1, reason) for each in left),
        provenance={
            "tool": f"{tool}: cycles of {accelerator} at {clock_hz / 1e6:g} MHz",
            "power": f"{active_w:g} W while it runs, given by the user",
        },
    )
