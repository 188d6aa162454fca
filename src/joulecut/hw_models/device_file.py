"""Device files: TOML, read strictly. Every error names the file and the path of the key.

A file describes one chip; every table ``[runtime.NAME.DTYPE]`` in it is a device. Figures that hold for
all of them stand in ``[common]``; a runtime's own figure wins; ``[[sparsity]]`` says which zero weights save
joules (see ``sparsity_file``)::

    schema = 1
    chip = "my-board"
    category = "linux-board"
    core = "4x Cortex-A72"
    boundary = "wall_ac"
    [source.fit]
    text = "fit of 28 networks measured at the wall on 2026-11-02"
    evidence = "measured"
    [common]
    idle_w = { value = 2.8, source = "fit" }
    [runtime.tflite.float32]
    mode = "calibrated-28"
    channel_step = { value = 4, source = "fit" }
    pj_per_mac_dense = { value = 600.0, source = "fit", range = [550.0, 660.0] }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from joulecut.errors import DeviceFileError
from joulecut.hw_models.calibration import Calibration, CalibrationRow
from joulecut.hw_models.checks import Checks
from joulecut.hw_models.figures import FIGURES, PRIOR_KEYS, REQUIRED_CYCLES, at_least, close_key
from joulecut.hw_models.intervals import total_factor_90
from joulecut.hw_models.profile import Boundary
from joulecut.hw_models.resolve import resolve
from joulecut.hw_models.sparsity_file import SparsityTables
from joulecut.hw_models.spec import (
    CATEGORIES,
    EVIDENCE,
    DeviceSpec,
    Evidence,
    Figure,
    Source,
    SparsitySupport,
)
from joulecut.workload.layer import DTYPE_BITS

__all__ = ["SCHEMA", "parse_devices", "read_devices"]

SCHEMA: Final = 1
_TOP: Final = ("schema", "chip", "category", "core", "boundary", "source", "common", "runtime", "sparsity")
_SOURCE: Final = ("text", "evidence", "date")
_FIGURE: Final = ("value", "source", "range")
_TEXTS: Final[dict[str, type]] = {
    "mode": str, "prior_only": bool, "runtime_version": str, "note": str, "pads": list, "calibration": dict,
}  # fmt: skip
_CALIBRATION: Final = ("prior", "digest", "power_w", "rows")
_ROW: Final = ("network", "macs", "energy_j", "latency_s", "residual")
_BOUNDARIES: Final[dict[str, Boundary]] = {
    **{name: name for name in get_args(Boundary)},
    "board_ac": "wall_ac",
    "rapl_packages": "cpu_package",
}
"""Our words for where the meter sits, and those of other data files."""


def read_devices(path: Path) -> tuple[DeviceSpec, ...]:
    """Every device of one file.

    Raises:
        DeviceFileError: the file cannot be read or breaks the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeviceFileError(
            f"cannot read the device file {path}: {error.strerror or error}.",
            hint="Give a .toml file, or a name that `joulecut devices` lists.",
        ) from error
    except UnicodeDecodeError as error:
        raise DeviceFileError(f"{path} is not a text file in UTF-8.") from error
    return parse_devices(text, str(path))


def parse_devices(text: str, where: str) -> tuple[DeviceSpec, ...]:
    """Every device of a file's text.

    Args:
        text: TOML.
        where: what to call the file in an error.

    Raises:
        DeviceFileError: not TOML, an unknown or missing key, a number without a source, a source that
            is not listed, a remembered figure that would price a device, a value out of range.
    """
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeviceFileError(f"{where} is not TOML: {error}.") from error
    return _File(where, plain).devices()


class _File(Checks):
    """One decoded file on its way to records."""

    def __init__(self, where: str, plain: dict[str, Any]) -> None:
        super().__init__(where)
        self.plain = plain
        self.sources: dict[str, Source] = {}
        self.sparsity: dict[str, tuple[SparsitySupport, ...]] = {}

    def devices(self) -> tuple[DeviceSpec, ...]:
        self.known(self.plain, "", _TOP)
        if "schema" not in self.plain:
            raise self.fail("schema", "is missing", f"Begin the file with: schema = {SCHEMA}")
        if self.plain["schema"] != SCHEMA:
            raise self.fail("schema", f"is {self.plain['schema']!r}, not {SCHEMA}")
        for key in ("chip", "category", "core", "boundary"):
            self.text(self.plain, key, key)
        self.choice("category", self.plain["category"], CATEGORIES)
        self.choice("boundary", self.plain["boundary"], tuple(_BOUNDARIES))
        self.name("chip", self.plain["chip"])
        for name, table in self.table(self.plain, "source").items():
            self.sources[name] = self.source(name, table)
        common = self.table(self.plain, "common") if "common" in self.plain else {}
        self.known(common, "common", tuple(FIGURES))
        runtimes = tuple(self.table(self.plain, "runtime"))
        if "sparsity" in self.plain:
            self.sparsity = SparsityTables(self.where, self.sources, runtimes).read(self.plain["sparsity"])
        found = [
            self.device(runtime, dtype, common, table)
            for runtime, dtypes in self.table(self.plain, "runtime").items()
            for dtype, table in self.as_table(dtypes, f"runtime.{runtime}").items()
        ]
        if not found:
            raise self.fail("runtime", "holds no device", "Add a table [runtime.NAME.DTYPE].")
        return tuple(found)

    def device(self, runtime: str, dtype: str, common: Mapping[str, Any], table: object) -> DeviceSpec:
        at = f"runtime.{runtime}.{dtype}"
        own = self.as_table(table, at)
        self.name(f"runtime.{runtime}", runtime)
        self.choice(at, dtype, tuple(DTYPE_BITS))
        self.known(own, at, (*_TEXTS, *FIGURES))
        self.settings(own, at)
        prior_only = bool(own.get("prior_only", False))
        places = {key: f"common.{key}" for key in common} | {key: f"{at}.{key}" for key in own}
        merged = {**common, **{key: value for key, value in own.items() if key not in _TEXTS}}
        figures = {
            key: self.figure(key, places[key], merged[key], prior_only) for key in FIGURES if key in merged
        }
        self.complete(figures, own, at)
        return resolve(
            chip=self.plain["chip"],
            runtime=runtime,
            dtype=dtype,
            core=self.plain["core"],
            category=self.plain["category"],
            boundary=_BOUNDARIES[self.plain["boundary"]],
            mode=own["mode"],
            figures=figures,
            pads=tuple(own.get("pads", ())),
            runtime_version=own.get("runtime_version", ""),
            prior_only=prior_only,
            note=own.get("note", ""),
            calibration=self.calibration(own["calibration"], f"{at}.calibration")
            if "calibration" in own
            else None,
            sparsity=self.sparsity_of(runtime, dtype, prior_only),
        )

    def sparsity_of(self, runtime: str, dtype: str, prior_only: bool) -> tuple[SparsitySupport, ...]:
        """The entries that hold for a runtime, whatever their number type."""
        entries = self.sparsity.get(runtime, ())
        for entry in entries:
            if dtype in entry.dtypes and entry.source.evidence == "remembered" and not prior_only:
                hint = f"Mark {runtime}/{dtype} prior_only = true and mode = 'datasheet', or find a source."
                at = f"sparsity of {runtime}/{dtype} ({entry.kind})"
                raise self.fail(at, "is a remembered figure, which may only make a prior", hint)
        return entries

    def calibration(self, table: Mapping[str, Any], at: str) -> Calibration:
        """What the figures were fitted to."""
        self.known(table, at, _CALIBRATION)
        rows = table.get("rows")
        if not isinstance(rows, list) or not rows:
            raise self.fail(f"{at}.rows", f"is {rows!r}, not a list of measured networks")
        return Calibration(
            prior=self.text(table, "prior", f"{at}.prior"),
            rows=tuple(self.row(row, f"{at}.rows[{number}]") for number, row in enumerate(rows)),
            digest=self.text(table, "digest", f"{at}.digest"),
            power_w=self.number(table, "power_w", f"{at}.power_w") if "power_w" in table else None,
        )

    def row(self, value: object, at: str) -> CalibrationRow:
        row = self.as_table(value, at)
        self.known(row, at, _ROW)
        energy_j, residual = (self.number(row, key, f"{at}.{key}") for key in ("energy_j", "residual"))
        return CalibrationRow(
            network=self.text(row, "network", f"{at}.network"),
            macs=int(self.number(row, "macs", f"{at}.macs")),
            energy_j=energy_j,
            latency_s=self.number(row, "latency_s", f"{at}.latency_s") if "latency_s" in row else None,
            residual=residual,
        )

    def settings(self, own: Mapping[str, Any], at: str) -> None:
        """Check the keys of a device that are not figures."""
        for key, kind in _TEXTS.items():
            if key in own and not isinstance(own[key], kind):
                raise self.fail(f"{at}.{key}", f"is {own[key]!r}, not a {kind.__name__}")
        mode = self.text(own, "mode", f"{at}.mode")
        try:
            total_factor_90(mode)
        except ValueError as error:
            hint = "Modes: datasheet, scaled, calibrated-N, definition."
            raise self.fail(f"{at}.mode", f"is {mode!r}", hint) from error
        if mode == "latency-measured":
            raise self.fail(f"{at}.mode", "is 'latency-measured', which only an estimate can be")
        for axis in own.get("pads", ()):
            self.choice(f"{at}.pads", axis, ("in", "out"))

    def figure(self, key: str, at: str, value: object, prior_only: bool) -> Figure:
        """One number with its source."""
        if not isinstance(value, dict):
            hint = f'Write {key} = {{ value = {value}, source = "..." }}.'
            raise self.fail(at, "is a number without a source", hint)
        self.known(value, at, _FIGURE)
        number = self.number(value, "value", f"{at}.value")
        if number < at_least(key):
            raise self.fail(f"{at}.value", f"is {number:g}, below {at_least(key):g}")
        source = self.sources.get(self.text(value, "source", f"{at}.source"))
        if source is None:
            near = close_key(value["source"], tuple(self.sources))
            hint = f"Did you mean {near!r}?" if near else f"Add a table [source.{value['source']}]."
            raise self.fail(
                f"{at}.source", f"names {value['source']!r}, which is no source of this file", hint
            )
        if source.evidence == "remembered" and not prior_only and key not in PRIOR_KEYS:
            hint = "Mark the device prior_only = true and mode = 'datasheet', or find a source."
            raise self.fail(at, "is a remembered figure, which may only make a prior", hint)
        low, high = self.bounds(value, number, at)
        return Figure(key, number, FIGURES[key][0], source, low, high)

    def bounds(self, value: Mapping[str, Any], number: float, at: str) -> tuple[float | None, float | None]:
        if "range" not in value:
            return None, None
        both = value["range"]
        if not isinstance(both, list) or len(both) != 2:
            raise self.fail(f"{at}.range", f"is {both!r}, not [low, high]")
        low, high = (self.number({"range": each}, "range", f"{at}.range") for each in both)
        if not 0 <= low <= number <= high:
            raise self.fail(f"{at}.range", f"[{low:g}, {high:g}] does not hold the value {number:g}")
        return low, high

    def complete(self, figures: Mapping[str, Figure], own: Mapping[str, Any], at: str) -> None:
        """Check what only the figures together can tell."""
        by_cycles = "pj_per_cycle" in figures
        if by_cycles == ("pj_per_mac_dense" in figures):
            raise self.fail(at, "needs either pj_per_mac_dense or pj_per_cycle")
        for key in ("channel_step", *(REQUIRED_CYCLES if by_cycles else ())):
            if key not in figures:
                raise self.fail(f"{at}.{key}", "is missing")
        step = figures["channel_step"]
        if step.value != int(step.value):
            raise self.fail(f"{at}.channel_step.value", f"is {step.value:g}, not a whole number")
        if own.get("pads") and step.source.evidence == "remembered":
            raise self.fail(f"{at}.pads", "prices a remembered channel_step")
        if own.get("prior_only") and own["mode"] not in ("datasheet", "scaled"):
            raise self.fail(
                f"{at}.mode", f"is {own['mode']!r}; a device with prior_only is 'datasheet' or 'scaled'"
            )
        self.power(figures, at)

    def power(self, figures: Mapping[str, Figure], at: str) -> None:
        """Check that the static part stays inside the whole."""
        idle, active = figures.get("idle_w"), figures.get("active_w")
        if idle and active and idle.value > active.value:
            raise self.fail(f"{at}.idle_w", f"is {idle.value:g}, above active_w = {active.value:g}")
        if active and active.value == 0:
            raise self.fail(f"{at}.active_w.value", "is 0; leave the key out where it is not known")
        if idle and not active and "ps_per_mac" in figures:
            static = idle.value * figures["ps_per_mac"].value
            least = min(figures[key].value for key in figures if key.startswith("pj_per_mac_"))
            if static > least:
                raise self.fail(f"{at}.idle_w", f"times ps_per_mac is {static:g} pJ/MAC, above pj_per_mac")
            per_layer = figures["us_per_layer"].value * idle.value if "us_per_layer" in figures else 0.0
            if per_layer > (figures["uj_per_layer"].value if "uj_per_layer" in figures else 0.0):
                raise self.fail(f"{at}.idle_w", f"times us_per_layer is {per_layer:g} µJ, above uj_per_layer")

    def source(self, name: str, table: object) -> Source:
        at = f"source.{name}"
        fields = self.as_table(table, at)
        self.known(fields, at, _SOURCE)
        text, evidence = (self.text(fields, key, f"{at}.{key}") for key in ("text", "evidence"))
        self.choice(f"{at}.evidence", evidence, tuple(EVIDENCE))
        date = self.text(fields, "date", f"{at}.date") if "date" in fields else ""
        return Source(name, text, cast(Evidence, evidence), date)
