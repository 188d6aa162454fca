"""NVIDIA's management library through nvidia-ml-py, and why it does not start where it does not."""

from __future__ import annotations

import contextlib
import ctypes
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from joulecut.errors import SensorDenied, SensorError, SensorMissing, SensorUnusable, UsageError

__all__ = ["NO_PERMISSION", "denied", "start", "stop"]

# Return codes of NVML (nvmlReturn_t in nvml.h).
NO_PERMISSION: Final = 4
_WHY: Final[dict[int, tuple[str, str]]] = {
    9: (
        "NVIDIA's library is here, but its driver is not loaded.",
        "Load it with: sudo modprobe nvidia",
    ),
    12: (
        "NVIDIA's library libnvidia-ml.so.1 is not on this machine.",
        "It comes with NVIDIA's driver; start a container with --gpus all to have it inside.",
    ),
    13: (
        "NVIDIA's library on this machine is too old to be used.",
        "Install a newer NVIDIA driver.",
    ),
    18: (
        "NVIDIA's library and its loaded driver have different versions, as after an update.",
        "Restart the machine.",
    ),
}
"""What stands in the way, and what to do, by return code of the initialisation."""
_ABSENT: Final = frozenset({9, 12})
"""Codes of machines that may well have no GPU; with any other one there is a driver, and so a GPU."""


def start(library: Path | None) -> Any:
    """Load and initialise NVML.

    nvidia-ml-py holds one library for the whole process; another one than the system's is taken back
    by :func:`stop`.

    Args:
        library: the file to load instead of the system's ``libnvidia-ml.so.1``.

    Returns:
        The module ``pynvml``, ready for use; :func:`stop` gives it back.

    Raises:
        SensorMissing: no library, or no driver.
        SensorUnusable: a driver that does not work.
        SensorDenied: the driver may not be used.
        UsageError: another library is in use in this process.
    """
    nvml: Any = import_module("pynvml")
    if library is not None:
        _load(nvml, library)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _forget(nvml, library)
        raise _cannot_start(error.value, str(error)) from None
    return nvml


def stop(nvml: Any, library: Path | None) -> None:
    """Give NVML back; ``library`` as it was started with."""
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlShutdown()
    _forget(nvml, library)


def denied(what: str) -> SensorDenied:
    """The error for a driver that refuses, with the command that grants access for good."""
    return SensorDenied(what, hint=_grant(Path("/dev/nvidiactl")))


def _load(nvml: Any, library: Path) -> None:
    held = getattr(nvml.nvmlLib, "_name", None)
    if held == str(library):
        return
    if nvml._nvmlLib_refcount:
        raise UsageError(
            f"NVML is in use in this process through {held}, so {library} cannot be loaded beside it.",
            hint="Close what uses it first.",
        )
    try:
        nvml.nvmlLib = ctypes.CDLL(str(library))
    except OSError as error:
        raise SensorMissing(f"cannot load {library} as NVIDIA's library: {error}.") from None
    nvml._nvmlGetFunctionPointer_cache.clear()


def _forget(nvml: Any, library: Path | None) -> None:
    """Let the next user load the system's library again."""
    if library is not None and not nvml._nvmlLib_refcount:
        nvml.nvmlLib = None
        nvml._nvmlGetFunctionPointer_cache.clear()


def _cannot_start(code: int, said: str) -> SensorError:
    if code == NO_PERMISSION:
        return denied("NVIDIA's driver refuses this user.")
    message, hint = _WHY.get(code, (f"NVIDIA's library does not start: {said}.", "See what nvidia-smi says."))
    kind = SensorMissing if code in _ABSENT else SensorUnusable
    return kind(message, hint=hint)


def _grant(node: Path) -> str:
    """The command after which this user may open the device file ``node``."""
    try:
        group = node.group()
    except (OSError, KeyError):
        return f"{node} is not there: start the container with --gpus all."
    if group != "root":
        return f"Join its group and log in again: sudo usermod -aG {group} $USER"
    return (
        "Open its device files to all and restart the machine: "
        "echo 'options nvidia NVreg_DeviceFileMode=0666' | sudo tee /etc/modprobe.d/nvidia-files.conf"
    )
