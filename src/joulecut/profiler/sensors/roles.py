"""Which of a processor's energy counters add up to its total, and what the others are."""

from __future__ import annotations

from typing import Final

from joulecut.hw_models.profile import Boundary

__all__ = ["COUNTED", "GAIN", "boundary_of", "role_of"]

COUNTED: Final = ("package", "dram")
"""The parts that add up to the total; every other one is contained in them, or contains them."""
GAIN: Final = 0.05
"""Systematic error of RAPL, assumed: no processor maker states one."""
_MODELLED: Final = "computed by the processor from its activity, not measured"
"""Schöne et al., "Energy Efficiency Aspects of the AMD Zen 2 Architecture", IEEE CLUSTER 2021."""


def boundary_of(part: str) -> Boundary:
    """Where the meter of a part sits."""
    return "board_dc" if part == "psys" else "cpu_package"


def role_of(part: str, place: str, repeats: str, amd: bool) -> tuple[bool, str]:
    """Whether a counter is part of the total, and what a reader should know.

    Args:
        part: ``package``, ``dram``, ``core``, ``uncore``, ``psys`` or another name.
        place: number of its socket and die; "" unknown.
        repeats: name of the counter that it shows once more; "" for none.
        amd: whether AMD made the processor.

    >>> role_of("dram", "0", "", amd=False), role_of("core", "0", "", amd=False)
    ((True, ''), (False, 'contained in package:0'))
    """
    counted, note = False, f"contained in package:{place}"
    if repeats:
        note = f"shows the same counter as {repeats}"
    elif part in COUNTED:
        counted, note = True, ""
    elif part == "psys":
        note = "the whole platform: contains the packages, and what else depends on the board"
    elif amd and part == "core":
        note = f"the register of one core, {note}"
    return counted, "; ".join(filter(None, (note, _MODELLED if amd else "")))
