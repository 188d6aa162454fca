"""What a GPU says of itself: clocks, limits, temperature, what slows it down, and who else uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from joulecut.profiler.records import Fact
from joulecut.profiler.sensors.gpu_processes import other_processes

__all__ = ["facts_of"]

_REASONS: Final[dict[int, str]] = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h)."""
_GONE: Final = {1, 15, 16}  # uninitialized, GPU is lost, reset required: nothing else will be answered
_SM, _MEMORY, _POWER, _THERMAL = 1, 2, 0, 1  # clocks and performance policies of nvml.h
_VIOLATION_FIELD: Final = 74  # NVML_FI_DEV_PERF_POLICY_POWER, in ns; that of the temperature is the next


def facts_of(nvml: Any, handle: Any) -> dict[str, Fact]:
    """Everything that a GPU answers, in SI units; a question that it does not know is left out.

    Keys: ``name``, ``uuid``, ``driver``, ``power_limit_w``, ``persistence``, ``pstate``, ``sm_clock_hz``,
    ``memory_clock_hz``, ``throttle_reasons`` (comma-separated, "" for none), ``violation_power_s`` and
    ``violation_thermal_s`` (growing), ``temperature_c``, ``ecc``, ``mig``, ``other_processes`` (numbers of
    other programs' processes that compute on it, comma-separated). ``fault`` says why where the GPU is gone.
    """
    facts: dict[str, Fact] = {}
    for name, ask in _questions(nvml, handle).items():
        try:
            facts[name] = ask()
        except nvml.NVMLError as error:
            if error.value in _GONE:
                return facts | {"fault": str(error)}
    return facts


def _questions(nvml: Any, handle: Any) -> dict[str, Callable[[], Fact]]:
    return {
        "name": lambda: str(nvml.nvmlDeviceGetName(handle)),
        "uuid": lambda: str(nvml.nvmlDeviceGetUUID(handle)),
        "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "pstate": lambda: int(nvml.nvmlDeviceGetPerformanceState(handle)),
        "sm_clock_hz": lambda: nvml.nvmlDeviceGetClockInfo(handle, _SM) * 1e6,
        "memory_clock_hz": lambda: nvml.nvmlDeviceGetClockInfo(handle, _MEMORY) * 1e6,
        "throttle_reasons": lambda: _reasons(nvml, handle),
        "violation_power_s": lambda: _violation_s(nvml, handle, _POWER),
        "violation_thermal_s": lambda: _violation_s(nvml, handle, _THERMAL),
        "temperature_c": lambda: _temperature_c(nvml, handle),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
        "other_processes": lambda: ", ".join(map(str, other_processes(_pids(nvml, handle)))),
    }


def _reasons(nvml: Any, handle: Any) -> str:
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except nvml.NVMLError_FunctionNotFound:  # before driver 535 under its older name
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    known = [name for bit, name in _REASONS.items() if bits & bit]
    unknown = bits & ~sum(_REASONS)
    return ", ".join(known + ([f"reason {unknown:#x}"] if unknown else []))


def _violation_s(nvml: Any, handle: Any, policy: int) -> float:
    try:
        return float(nvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime) * 1e-9
    except nvml.NVMLError_FunctionNotFound:  # CUDA 14 is to remove it
        (entry,) = nvml.nvmlDeviceGetFieldValues(handle, [_VIOLATION_FIELD + policy])
        if entry.nvmlReturn:
            raise nvml.NVMLError(entry.nvmlReturn) from None
        return float(entry.value.ullVal) * 1e-9


def _temperature_c(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetTemperature(handle, 0))
    except nvml.NVMLError_FunctionNotFound:  # CUDA 14 is to remove it
        return int(nvml.nvmlDeviceGetTemperatureV(handle, 0))


def _pids(nvml: Any, handle: Any) -> list[int]:
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nvml.NVMLError_FunctionNotFound:  # before driver 510
        found = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    return [int(process.pid) for process in found]
