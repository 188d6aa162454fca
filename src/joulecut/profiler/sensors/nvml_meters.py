"""How one GPU's energy is read: its counter where it has one, else its power.

A meter is read in a window's own time, so it calls the library directly, with everything prepared.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final, Protocol

from joulecut.errors import SensorMissing
from joulecut.profiler.records import Domain
from joulecut.profiler.sensors.nvml_devices import Gpu
from joulecut.profiler.sensors.nvml_library import NO_PERMISSION, denied

__all__ = ["EnergyCounter", "Meter", "PowerField", "find_meter"]

GAIN: Final = 0.05
"""Boards differ from a meter at their supply, each by its own factor: by about ±5 %, as other texts quote
Yang, Adamek and Armour (SC24, arXiv:2312.02741) for the RTX 3090. No newer board is known to be better."""

# Fields of nvmlDeviceGetFieldValues, scopes and the average's length, from nvml.h.
POWER_AVERAGE: Final = 185
POWER_INSTANT: Final = 186
SCOPES: Final = {0: "GPU", 1: "MODULE"}
AVERAGE_S: Final = 1.0
_NAMES: Final = {POWER_INSTANT: "instant power", POWER_AVERAGE: "one-second average of power"}
_MEMBERS: Final = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
"""The member of the value union that each value type fills; the others hold rubbish."""


class Meter(Protocol):
    """One column of a read."""

    fault: str
    """Why the last reading failed; "" where it did not."""
    stamp_s: float | None
    """The device's own time of the last reading, in seconds, where it gives one."""

    def read(self) -> int | None:
        """The raw count now; None where it cannot be read."""
        ...

    def domain(self, gpu: Gpu) -> Domain:
        """What the count is."""
        ...


class EnergyCounter:
    """Total energy since the driver was loaded, in mJ (Volta and newer)."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.fault = ""
        self.stamp_s: float | None = None
        self._value = ctypes.c_ulonglong()
        self._arguments = (handle, ctypes.byref(self._value))
        self._call = _bound(nvml, "nvmlDeviceGetTotalEnergyConsumption")
        self._nvml = nvml

    def read(self) -> int | None:
        """The counter in mJ."""
        code = self._call(*self._arguments)
        if code:
            self.fault = explain(self._nvml, code)
            return None
        self.fault = ""
        return self._value.value

    def domain(self, gpu: Gpu) -> Domain:
        """A counter of 64 bits: it never wraps."""
        return _domain(gpu, "counter", "NVML total energy counter", "", 0.0)


class PowerField:
    """A power field in mW, for one scope."""

    def __init__(self, nvml: Any, handle: Any, field: int, scope: int, note: str) -> None:
        self.fault = ""
        self.stamp_s: float | None = None
        self._field, self._scope, self._note = field, scope, note
        self._entries = (nvml.c_nvmlFieldValue_t * 1)()
        self._entry = self._entries[0]
        self._entry.fieldId, self._entry.scopeId = field, scope
        self._arguments = (handle, ctypes.c_int(1), ctypes.byref(self._entries))
        self._call = _bound(nvml, "nvmlDeviceGetFieldValues")
        self._nvml = nvml

    def read(self) -> int | None:
        """The power in mW; the call may succeed and the entry still fail."""
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

    def domain(self, gpu: Gpu) -> Domain:
        """A gauge, to be integrated over time."""
        source = f"NVML {_NAMES[self._field]}, scope {SCOPES[self._scope]}, integrated"
        average_s = AVERAGE_S if self._field == POWER_AVERAGE else 0.0
        return _domain(gpu, "gauge", source, self._note, average_s)


def find_meter(nvml: Any, gpu: Gpu) -> Meter:
    """The best meter of a GPU that answers.

    The energy counter, then instant power, then average power; the GPU before the module that it sits on.

    Raises:
        SensorMissing: none answers.
        SensorDenied: reading is not allowed.
    """
    counter = EnergyCounter(nvml, gpu.handle)
    if counter.read() is not None:
        return counter
    note = f"no energy counter ({counter.fault})"
    faults = [counter.fault]
    for field in (POWER_INSTANT, POWER_AVERAGE):
        for scope, name in SCOPES.items():
            whole = "; the module holds CPU and memory too" if name == "MODULE" else ""
            meter = PowerField(nvml, gpu.handle, field, scope, note + whole)
            if meter.read() is not None:
                return meter
            faults.append(meter.fault)
    if explain(nvml, NO_PERMISSION) in faults:
        raise denied(
            f"NVIDIA's driver does not let this user read the energy of GPU {gpu.index} ({gpu.name})."
        )
    raise SensorMissing(
        f"GPU {gpu.index} ({gpu.name}) gives neither energy nor power: {faults[0]}.",
        hint="The energy counter needs a Volta GPU or newer, the power fields driver 530 or newer.",
    )


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


def _domain(gpu: Gpu, kind: Any, source: str, note: str, average_s: float) -> Domain:
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
