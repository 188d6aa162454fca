"""Who computes on a GPU besides us, by the numbers of the processes that its driver lists."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["other_processes"]

_FIRST_NAMESPACE: Final = "pid:[4026531836]"
"""The machine's own numbering of processes (PROC_PID_INIT_INO in include/linux/proc_ns.h of Linux)."""
_CUDA_NODE: Final = "/dev/nvidia-uvm"
"""What a process that computes with CUDA holds open, and one that only asks NVML does not."""


def other_processes(pids: Iterable[int], proc: Path = Path("/proc")) -> tuple[int, ...]:
    """Those that are neither this process nor one that it started.

    In a container the driver may list the machine's numbers, under which our own processes cannot be found:
    then as many of the unknown ones as we have computing processes are taken for ours, and where more are
    left, all unknown ones are returned.

    Args:
        pids: what the driver lists.
        proc: where Linux shows its processes.

    >>> other_processes([])
    ()
    """
    unknown = set(pids) - {os.getpid()}
    if not unknown:
        return ()
    import psutil

    children = {child.pid for child in psutil.Process().children(recursive=True)}
    unknown -= children
    if _renumbered(proc) and len(unknown) <= sum(
        _computes(proc / str(pid)) for pid in {os.getpid(), *children}
    ):
        return ()
    return tuple(sorted(unknown))


def _renumbered(proc: Path) -> bool:
    """Whether processes have other numbers here than for the machine."""
    try:
        return (proc / "self/ns/pid").readlink() != Path(_FIRST_NAMESPACE)
    except OSError:
        return False


def _computes(process: Path) -> bool:
    try:
        return any(_target(entry) == _CUDA_NODE for entry in (process / "fd").iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""
