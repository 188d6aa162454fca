"""The calibration job: measured rows of a file, or measured profiles, into a device of one's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from joulecut.codec import from_json, split_schema
from joulecut.errors import UsageError
from joulecut.hw_models.calibrating import calibrate as fit_device
from joulecut.hw_models.calibration_rows import RawRow
from joulecut.hw_models.profile import EnergyProfile
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.source import loaded, traced
from joulecut.units import parse_quantity
from joulecut.workload.layer import Workload

__all__ = ["calibrate", "read_rows"]

_COLUMNS: Final = ("model", "input", "energy", "latency")


def calibrate(
    device: DeviceSpec, rows: Sequence[Any], *, power_w: float | None = None, chip: str | None = None
) -> DeviceSpec:
    """Fit a device to what was measured on it.

    Args:
        device: the prior (see ``hw_models.calibrate``).
        rows: 1 to 16 measured networks: (workload, joules, seconds) each, or files: a table (``read_rows``)
            or a measured profile (.json).
        power_w: mean power while a network runs, where seconds are all that was measured.
        chip: name of the board, the prior's by default.

    Raises:
        UsageError: rows that cannot be read or fitted to.
        ModelError: a network that cannot be read.
    """
    found: list[RawRow] = []
    for row in rows:
        found += _from_file(Path(row)) if isinstance(row, (str, Path)) else [row]
    return fit_device(device, found, power_w=power_w, chip=chip)


def _from_file(path: Path) -> list[RawRow]:
    if path.suffix != ".json":
        return read_rows(path)
    try:
        text = path.read_bytes()
        name, _ = split_schema(json.loads(text))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}.") from error
    if name != "energy_profile":
        raise UsageError(f"{path} is no profile.", hint="Give a measured profile or a table of rows.")
    return [_measured(from_json(text, EnergyProfile, where=str(path)), path)]


def _measured(profile: EnergyProfile, path: Path) -> RawRow:
    """The row that a measured profile makes."""
    if profile.mode != "measured":
        raise UsageError(
            f"{path} was modelled ({profile.mode}), and a model says nothing about a board.",
            hint="Measure the network there, or write a table of joules and seconds.",
        )
    from joulecut.hw_models.explaining import profiled_work

    work = Workload(profile.model, profiled_work(profile), batch=profile.batch)
    return work, profile.total.value, profile.duration.value or None


def read_rows(path: Path) -> list[RawRow]:
    """Measured networks of a table: CSV with the columns model, input, energy, latency.

    ``model`` is a network as on the command line, files relative to the table; ``input`` its shape, empty
    where the file says it; ``energy`` and ``latency`` are quantities of one inference, as ``12 mJ`` and
    ``34 ms``, either of which may be empty.

    Raises:
        UsageError: a file that cannot be read, a missing column, a cell that is no quantity.
        ModelError: a network that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    table = csv.DictReader(lines, skipinitialspace=True)
    header = tuple(table.fieldnames or ())
    if "model" not in header or not {"energy", "latency"} & set(header):
        raise UsageError(
            f"{path} is no table of measured networks.", hint=f"Its first line names: {', '.join(_COLUMNS)}."
        )
    return [_row(path, number, row) for number, row in enumerate(table, start=2)]


def _row(path: Path, number: int, row: dict[str, Any]) -> RawRow:
    cells = {key: (row.get(key) or "").strip() for key in _COLUMNS}
    if not cells["model"]:
        raise UsageError(f"{path}, line {number} names no model.")
    figures: list[float | None] = []
    for key, unit in (("energy", "J"), ("latency", "s")):
        try:
            figures.append(parse_quantity(cells[key], unit) if cells[key] else None)
        except UsageError as error:
            raise UsageError(f"{path}, line {number}, {key}: {error}") from error
    return _work(_beside(path, cells["model"]), cells["input"]), figures[0], figures[1]


def _beside(table: Path, model: str) -> str:
    """A file named in a table lies beside it; other names stay as they are."""
    beside = table.parent / model.partition(":")[0]
    return str(table.parent / model) if beside.is_file() else model


def _work(model: str, shape: str) -> Workload:
    """The work of a network."""
    network = loaded(model)
    if network.onnx_path is not None:
        from joulecut.workload.from_onnx import workload as read_onnx
        from joulecut.workload.inputs import parse_inputs

        return read_onnx(network.onnx_path, inputs=parse_inputs(shape) if shape else ())
    from joulecut.workload.from_torch import workload

    return workload(traced(network, shape or None), name=network.name)
