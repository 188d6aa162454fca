"""Devices by name: the bundled files, a user's file, or the host itself.

Names come from the heads of tables (``[runtime.tflite.float32]``) without parsing the files, so that a
wrong name or a completion costs no more than reading them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulecut.errors import UnknownDevice, UsageError
from joulecut.hw_models.calibration import Calibration
from joulecut.hw_models.device_file import read_devices
from joulecut.hw_models.host import host_device
from joulecut.hw_models.spec import DeviceSpec, Figure, Source, SparsitySupport

__all__ = ["DeviceDescription", "all_devices", "describe", "device", "names"]

_FOLDER: Final = Path(__file__).parent / "devices"
_HEAD: Final = re.compile(r"^\[runtime\.([a-z0-9_-]+)\.([a-z0-9]+)\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """What a listing shows of a device.

    Attributes:
        name: ``chip/runtime/dtype``.
        core: the processor.
        category: microcontroller, linux-board, accelerator, server-cpu, host or reference.
        boundary: where its energy is counted.
        mode: datasheet, scaled, calibrated-N or definition.
        prior_only: no joule of it was measured.
        factor_90: its estimates are value x/÷ this factor at 90 %.
        channel_step: widths worth proposing are multiples of it.
        clock_hz: clock, or None.
        voltage_v: supply, or None.
        runtime_version: version of the runtime, or "".
        note: what a user should know, or "".
        figures: every number with its unit and source.
        sources: the sources, each once.
        calibration: what the figures were fitted to, where `calibrate` fitted them.
        sparsity: zero weights that save joules; none unless its file says so.
    """

    name: str
    core: str
    category: str
    boundary: str
    mode: str
    prior_only: bool
    factor_90: float
    channel_step: int
    clock_hz: float | None
    voltage_v: float | None
    runtime_version: str
    note: str
    figures: tuple[Figure, ...]
    sources: tuple[Source, ...]
    calibration: Calibration | None = None
    sparsity: tuple[SparsitySupport, ...] = ()


def names() -> tuple[str, ...]:
    """Names of the bundled devices, sorted.

    >>> "reference/edge/float32" in names()
    True
    """
    return tuple(sorted(
        f"{path.stem}/{runtime}/{dtype}"
        for path in _FOLDER.glob("*.toml")
        for runtime, dtype in _HEAD.findall(path.read_text(encoding="utf-8"))
    ))  # fmt: skip


def device(name_or_path: str) -> DeviceSpec:
    """A device by name, from a file, or the host.

    Args:
        name_or_path: a bundled name (``raspberry-pi-4b/tflite/float32``), a .toml file with one device,
            ``file.toml#runtime/dtype``, or ``auto``: a generic host by instruction set, prior only.

    Raises:
        UnknownDevice: no device of that name; the message offers close ones.
        DeviceFileError: the file cannot be read or breaks the schema.
        UsageError: the file holds several devices and none was named.

    >>> device("raspberry-pi-4b/tflite/float32").boundary
    'wall_ac'
    """
    if name_or_path == "auto":
        return _bundled(host_device())
    file, _, wanted = name_or_path.partition("#")
    if file.endswith(".toml"):
        return _from_file(Path(file), wanted)
    return _bundled(name_or_path)


def _bundled(name: str) -> DeviceSpec:
    known = names()
    if name not in known:
        raise UnknownDevice(name, [each for each in known if each.startswith(f"{name}/")] or known)
    found = read_devices(_FOLDER / f"{name.split('/')[0]}.toml")
    return next(spec for spec in found if spec.name == name)


def _from_file(path: Path, wanted: str) -> DeviceSpec:
    found = {f"{spec.runtime}/{spec.dtype}": spec for spec in read_devices(path)}
    if not wanted and len(found) > 1:
        choices = ", ".join(f"{path}#{each}" for each in found)
        raise UsageError(f"{path} holds {len(found)} devices.", hint=f"Name one: {choices}.")
    if wanted and wanted not in found:
        raise UnknownDevice(f"{path}#{wanted}", [f"{path}#{each}" for each in found])
    return found[wanted] if wanted else next(iter(found.values()))


def all_devices() -> tuple[DeviceSpec, ...]:
    """Every bundled device, sorted by name."""
    found = (spec for path in _FOLDER.glob("*.toml") for spec in read_devices(path))
    return tuple(sorted(found, key=lambda spec: spec.name))


def describe(spec: DeviceSpec) -> DeviceDescription:
    """What a listing shows of a device.

    >>> describe(device("reference/edge/float32")).mode
    'definition'
    """
    return DeviceDescription(
        name=spec.name,
        core=spec.core,
        category=spec.category,
        boundary=spec.boundary,
        mode=spec.mode,
        prior_only=spec.prior_only,
        factor_90=spec.interval.total_90,
        channel_step=spec.channel_step,
        clock_hz=spec.clock_hz,
        voltage_v=spec.voltage_v,
        runtime_version=spec.runtime_version,
        note=spec.note,
        figures=tuple(spec.figures.values()),
        sources=spec.sources,
        calibration=spec.calibration,
        sparsity=spec.sparsity,
    )
