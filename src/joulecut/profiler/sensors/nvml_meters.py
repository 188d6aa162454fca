"""How one GPU's energy is read: its counter where it has one, else its power.

A meter is read in a window's own time, so it calls the library directly, with everything prepared.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final, Literal, Protocol

from joulecut.errors import SensorUnusable
from joulecut.profiler.records import Domain
from joulecut.profiler.sensors.nvml_devices import Gpu
from joulecut.profiler.sensors.nvml_library import NO_PERMISSION, denied

__all__ = ["Meter", "NumberMeter", "PowerField", "find_meter"]

GAIN: Final = 0.05
"""Boards differ from a meter at their supply, each by its own factor: by about ±5 %, as other texts quote
Yang, Adamek and Armour (SC24, arXiv:2312.02741) for the RTX 3090. No newer board is known to be better."""

# Fields of nvmlDeviceGetFieldValues, scopes and architectures, from nvml.h.
POWER_AVERAGE: Final = 185
POWER_INSTANT: Final = 186
SCOPES: Final = {0: "GPU", 1: "MODULE"}
TURING: Final = 6
_MEMBERS: Final = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
"""The member of the value union that each value type fills; the others hold rubbish."""
AVERAGE_S: Final = 1.0
"""Length of the average in field 185 and, on Ampere (except GA100) and newer, in nvmlDeviceGetPowerUsage
(NVML API reference)."""


class Meter(Protocol):
    """One column of a read."""

    fault: str
    """Why the last reading failed; "" where it did not."""
    stamp_s: float | None
    """The device's own time of the last reading, in seconds, where it gives one."""

    def read(self) -> int | None:
        """The raw count now; None where it cannot be read."""
        ...


class NumberMeter:
    """A function of NVML that gives one whole number: energy in mJ, or power in mW."""

    def __init__(self, nvml: Any, handle: Any, symbol: str, number: Any) -> None:
        self.fault = ""
        self.stamp_s: float | None = None
        self._number = number
        self._arguments = (handle, ctypes.byref(number))
        self._call = _bound(nvml, symbol)
        self._nvml = nvml

    def read(self) -> int | None:
        """The number."""
        code = self._call(*self._arguments)
        if code:
            self.fault = explain(self._nvml, code)
            return None
        self.fault = ""
        return int(self._number.value)


class PowerField:
    """A power field in mW, for one scope."""

    def __init__(self, nvml: Any, handle: Any, field: int, scope: int) -> None:
        self.fault = ""
        self.stamp_s: float | None = None
        self._entries = (nvml.c_nvmlFieldValue_t * 1)()
        self._entry = self._entries[0]
        self._entry.fieldId, self._entry.scopeId = field, scope
        self._arguments = (handle, ctypes.c_int(1), ctypes.byref(self._entries))
        self._call = _bound(nvml, "nvmlDeviceGetFieldValues")
        self._nvml = nvml

    def read(self) -> int | None:
        """The power; the call may succeed and its entry still fail."""
        entry = self._entry
        code = self._call(*self._arguments) or entry.nvmlReturn
        member = _MEMBERS.get(entry.valueType)
        if code or member is None:
            self.fault = explain(self._nvml, code) if code else f"value of unknown type {entry.valueType}"
            self.stamp_s = None
            return None
        self.fault = ""
        self.stamp_s = entry.timestamp * 1e-6 if entry.timestamp > 0 else None
        return round(float(getattr(entry.value, member)))


def find_meter(nvml: Any, gpu: Gpu) -> tuple[Meter, Domain]:
    """The best meter of a GPU that answers, and what it reads.

    The energy counter, then instant power, then its average; the GPU before the module that it sits on.

    Raises:
        SensorUnusable: none answers.
        SensorDenied: reading is not allowed.
    """
    energy = "nvmlDeviceGetTotalEnergyConsumption"
    counter = NumberMeter(nvml, gpu.handle, energy, ctypes.c_ulonglong())
    if counter.read() is not None:
        return counter, _domain(gpu, "counter", "NVML total energy counter")
    faults = [counter.fault]
    for meter, source, average_s, note in _gauges(nvml, gpu):
        if meter.read() is not None:
            note = f"no energy counter ({counter.fault}){note}"
            return meter, _domain(gpu, "gauge", f"NVML {source}, integrated", note, average_s)
        faults.append(meter.fault)
    if explain(nvml, NO_PERMISSION) in faults:
        raise denied(
            f"NVIDIA's driver does not let this user read the energy of GPU {gpu.index} ({gpu.name})."
        )
    raise SensorUnusable(
        f"GPU {gpu.index} ({gpu.name}) gives neither energy nor power: {counter.fault}.",
        hint="The energy counter needs a Volta board or newer; a virtual GPU has none.",
    )


def _gauges(nvml: Any, gpu: Gpu) -> Iterator[tuple[Meter, str, float, str]]:
    """Meters of power, the best first: each with its source, the time that it averages over, and a note."""
    fields = (
        (POWER_INSTANT, "instant power", 0.0),
        (POWER_AVERAGE, "one-second average of power", AVERAGE_S),
    )
    for field, source, average_s in fields:
        for scope, name in SCOPES.items():
            note = "; the module holds CPU and memory too" if name == "MODULE" else ""
            yield PowerField(nvml, gpu.handle, field, scope), f"{source}, scope {name}", average_s, note
    architecture = NumberMeter(nvml, gpu.handle, "nvmlDeviceGetArchitecture", ctypes.c_uint()).read()
    instant = architecture is not None and architecture <= TURING
    usage = NumberMeter(nvml, gpu.handle, "nvmlDeviceGetPowerUsage", ctypes.c_uint())
    yield usage, "power usage", 0.0 if instant else AVERAGE_S, ""


def explain(nvml: Any, code: int) -> str:
    """A return code in words.

    A code that nvidia-ml-py has no class for comes out as its number.
    """
    return str(nvml.NVMLError(code))


def _bound(nvml: Any, symbol: str) -> Any:
    """The library's function; one that an old library lacks answers "function not found" instead."""
    try:
        return nvml.nvmlLib[symbol]
    except AttributeError:
        return lambda *_: nvml.NVML_ERROR_FUNCTION_NOT_FOUND


def _domain(
    gpu: Gpu, kind: Literal["counter", "gauge"], source: str, note: str = "", average_s: float = 0.0
) -> Domain:
    return Domain(
        name=f"gpu:{gpu.index}",
        kind=kind,
        quantum=1e-3,
        counts=0,
        counted=True,
        boundary="board_dc",
        peak_w=0.0,
        gain=GAIN,
        device=f"gpu:{gpu.index}",
        source=source,
        note=note,
        average_s=average_s,
    )
