"""Which generic device stands for the machine that joulecut runs on, by instruction set."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from joulecut.errors import UsageError

__all__ = ["host_device", "instruction_set"]


def host_device() -> str:
    """Name of the generic device of this machine.

    Raises:
        UsageError: neither x86-64 nor 64-bit ARM.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        flags = ""
    return f"generic-{instruction_set(platform.machine(), flags)}/any/float32"


def instruction_set(machine: str, cpuinfo: str) -> str:
    """The instruction set that sets the channel step.

    Args:
        machine: what ``platform.machine()`` says.
        cpuinfo: text of /proc/cpuinfo, or "" where there is none; an x86-64 whose flags are unknown
            counts as one with AVX2.

    Raises:
        UsageError: no generic device for that machine.

    >>> instruction_set("x86_64", "flags : sse2 avx2 avx512f avx512bw"), instruction_set("arm64", "")
    ('x86-64-avx512', 'aarch64')
    """
    if machine.lower() in ("x86_64", "amd64"):
        return "x86-64-avx512" if re.search(r"\bavx512f\b", cpuinfo) else "x86-64-avx2"
    if machine.lower() in ("aarch64", "arm64"):
        return "aarch64"
    raise UsageError(
        f"no generic device for a {machine or 'machine of unknown type'}.",
        hint="Choose one with --device; `joulecut devices` lists them.",
    )
