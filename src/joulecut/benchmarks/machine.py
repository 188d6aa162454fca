"""What the machine is and how busy it was: the facts without which a timing cannot be read."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

__all__ = ["cpu_class", "facts", "governor", "second_level_cache_bytes", "stolen_share", "tick_counts"]

_CPU: Final = Path("/sys/devices/system/cpu/cpu0")
_FLAG_CLASSES: Final = (("avx512f", "avx512"), ("avx2", "avx2"), ("sse4_2", "sse4.2"), ("asimd", "neon"))
_STEAL: Final = 7
_OWN_COLUMNS: Final = 8


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def cpu_class(cpuinfo: str) -> str:
    """The widest vector instructions that ``/proc/cpuinfo`` lists, or "unknown".

    >>> cpu_class("flags : fpu sse4_2 avx avx2")
    'avx2'
    """
    words = set(cpuinfo.split())
    return next((name for flag, name in _FLAG_CLASSES if flag in words), "unknown")


def governor() -> str:
    """The frequency governor of the first CPU, or "unknown" (most virtual machines)."""
    return _read(_CPU / "cpufreq/scaling_governor").strip() or "unknown"


def second_level_cache_bytes() -> int | None:
    """Size of the first CPU's second-level cache, or None where the kernel does not tell."""
    text = _read(_CPU / "cache/index2/size").strip().removesuffix("K")
    return 1024 * int(text) if text.isdigit() else None


def tick_counts() -> tuple[int, ...]:
    """The kernel's counts of CPU time by state (``/proc/stat``, first line), or () where there are none."""
    return tuple(int(word) for word in _read(Path("/proc/stat")).partition("\n")[0].split()[1:])


def stolen_share(before: tuple[int, ...], after: tuple[int, ...]) -> float:
    """Share of CPU time that the hypervisor gave to others between two ``tick_counts``; 0 where unknown.

    The columns are those of proc(5); the last two (guest) are contained in the first ones.

    >>> stolen_share((10, 0, 0, 80, 0, 0, 0, 0, 0, 0), (15, 0, 0, 170, 0, 0, 0, 5, 0, 0))
    0.05
    """
    if len(before) <= _STEAL or len(after) <= _STEAL:
        return 0.0
    spent = sum(after[:_OWN_COLUMNS]) - sum(before[:_OWN_COLUMNS])
    return (after[_STEAL] - before[_STEAL]) / spent if spent > 0 else 0.0


def facts() -> dict[str, str]:
    """Versions, processor and load, as text by name; nothing that names a user or a machine."""
    load = f"{os.getloadavg()[0]:.2f}"
    return {
        "onnxruntime": version("onnxruntime"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count() or "unknown"),
        "cpu_class": cpu_class(_read(Path("/proc/cpuinfo"))),
        "governor": governor(),
        "load_1min": load,
    }
