"""Which GPUs a program sees: CUDA_VISIBLE_DEVICES by index and UUID, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joulecut.errors import SensorMissing, SensorUnusable
from joulecut.profiler.sensors.nvml_library import NO_PERMISSION, denied

__all__ = ["Gpu", "find_gpus", "visible_indices"]

_NO_ENERGY: Final = "NVIDIA's library knows the energy of whole boards only, not of their MIG instances"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One board: its number in NVML (that of nvidia-smi), NVML's handle, and its name."""

    index: int
    handle: Any
    name: str


def find_gpus(nvml: Any, environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA programs see.

    Args:
        nvml: the module ``pynvml``, initialised.
        environment: where ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are looked up.

    Raises:
        SensorMissing: there is none.
        SensorUnusable: one of them does not answer or is split by MIG, or the numbers in
            ``CUDA_VISIBLE_DEVICES`` may mean other GPUs to CUDA than to NVML.
        SensorDenied: one of them may not be read.
    """
    count = _asked(nvml, "the list of GPUs", nvml.nvmlDeviceGetCount)
    if not count:
        raise SensorMissing("NVIDIA's library answers and lists no GPU.", hint="See what nvidia-smi says.")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    chosen = visible_indices(visible, [_said(nvml, index, nvml.nvmlDeviceGetUUID) for index in range(count)])
    names = [_said(nvml, index, nvml.nvmlDeviceGetName) for index in range(count)]
    by_number = visible is not None and any(part.strip().isdecimal() for part in visible.split(","))
    if by_number and len(set(names)) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise SensorUnusable(
            f"CUDA_VISIBLE_DEVICES={visible!r} may mean other GPUs to CUDA, which numbers unlike GPUs by "
            "speed, than to NVIDIA's library, which numbers them by slot.",
            hint="Set CUDA_DEVICE_ORDER=PCI_BUS_ID as well, or name the GPUs by UUID.",
        )
    return tuple(_gpu(nvml, index) for index in chosen)


def visible_indices(visible: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """The GPUs that a value of ``CUDA_VISIBLE_DEVICES`` names, read as CUDA reads it.

    Numbers, UUIDs and unambiguous beginnings of UUIDs; the first entry that names nothing (``-1``) hides all
    after it (CUDA C++ Programming Guide, section on environment variables).

    Args:
        visible: the value; None where the variable is not set.
        uuids: of all GPUs, in the order of their numbers.

    Raises:
        SensorUnusable: nothing is left, an entry is a MIG instance, or a GPU is named twice.

    >>> visible_indices("1,0", ["GPU-aa", "GPU-bb"])
    (1, 0)
    >>> visible_indices("GPU-b", ["GPU-aa", "GPU-bb"])
    (1,)
    """
    if visible is None:
        return tuple(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.startswith("MIG-"):
            raise SensorUnusable(
                f"CUDA_VISIBLE_DEVICES names the MIG instance {entry}: {_NO_ENERGY}.",
                hint="Measure on a GPU without MIG.",
            )
        index = _index(entry, uuids)
        if index is None:
            break
        chosen.append(index)
    if not chosen or len(set(chosen)) < len(chosen):
        problem = "names a GPU twice" if chosen else "hides every GPU"
        known = ", ".join(f"{index} ({uuid})" for index, uuid in enumerate(uuids))
        raise SensorUnusable(
            f"CUDA_VISIBLE_DEVICES={visible!r} {problem}.", hint=f"Unset it, or choose among {known}."
        )
    return tuple(chosen)


def _index(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    matching = [
        index for index, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)
    ]
    return matching[0] if len(matching) == 1 else None


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = _asked(nvml, f"GPU {index}", nvml.nvmlDeviceGetHandleByIndex, index)
    gpu = Gpu(index, handle, _said(nvml, index, nvml.nvmlDeviceGetName))
    try:
        split, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # boards and drivers without MIG do not know the question
        split = False
    if split:
        raise SensorUnusable(
            f"GPU {index} ({gpu.name}) is split by MIG: {_NO_ENERGY}.",
            hint=f"Turn MIG off with `sudo nvidia-smi -i {index} -mig 0`, or hide this GPU with "
            "CUDA_VISIBLE_DEVICES.",
        )
    return gpu


def _asked(nvml: Any, what: str, call: Callable[..., Any], *arguments: int) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        if error.value == NO_PERMISSION:
            raise denied(f"NVIDIA's driver does not let this user read {what}.") from None
        raise SensorUnusable(
            f"NVIDIA's library does not give {what}: {error}.", hint="See what nvidia-smi says."
        ) from None


def _said(nvml: Any, index: int, call: Callable[[Any], str]) -> str:
    """A text about a device, "" where it does not answer (a lost one may still be a hidden one)."""
    try:
        return str(call(nvml.nvmlDeviceGetHandleByIndex(index)))
    except nvml.NVMLError:
        return ""
