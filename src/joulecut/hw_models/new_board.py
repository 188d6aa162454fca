"""A board of which no joule was measured, from what its data sheet says and a device of the same runtime.

A joule on a Linux board is either switched or idled away:

    energy = d x vector instructions + idle power x time,  time = r x vector instructions / (cores x clock)

What an instruction costs, d, hardly differs between boards, nor does r, how many it takes beyond the ideal;
idle power, cores, clock and the MACs that one vector instruction holds do, and a data sheet states them. Both
parts of the prior's prices are carried over by these ratios. Armv8-A's FMLA holds 4 float32 MACs, SMLAL 8 of
int8, and SDOT, where /proc/cpuinfo says ``asimddp``, 16 (Arm Architecture Reference Manual, A64 SIMD).
Boards left out in turn are predicted with a mean error of 25 % so, of 44 % without (``python -m
perf.energy_models``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from joulecut.errors import UsageError
from joulecut.hw_models.checks import NAME
from joulecut.hw_models.figures import FIGURES, TERMS
from joulecut.hw_models.resolve import respecified, si
from joulecut.hw_models.spec import DeviceSpec, Figure, Source

__all__ = ["BoardFacts", "board_facts", "on_board"]

FACTOR_90: Final = 2.0
"""What such a device is worth at 90 %: boards left out lie within 1.8 (95 % of their networks within 2.0)."""
_KEYS: Final = ("cores", "clock_mhz", "idle_w", "macs_per_instruction")


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What is known of a board before any joule is measured on it.

    Attributes:
        cores: cores that the runtime uses, the big ones where there are two kinds.
        clock_hz: their clock.
        idle_w: power of the whole board while nothing runs, at the boundary of the prior.
        macs_per_instruction: MACs that one vector instruction holds in the device's number type.
    """

    cores: float
    clock_hz: float
    idle_w: float
    macs_per_instruction: float

    @property
    def macs_per_s(self) -> float:
        """MACs of one vector instruction a cycle on every core."""
        return self.cores * self.clock_hz * self.macs_per_instruction


def board_facts(device: DeviceSpec) -> BoardFacts:
    """The facts that a device file states.

    Raises:
        UsageError: one of them is not stated.
    """
    values = [si(device.figures, key) for key in _KEYS]
    lacking = [key for key, value in zip(_KEYS, values, strict=True) if not value]
    if lacking or not device.coefficients.active_w:
        raise UsageError(
            f"{device.name} does not state {', '.join(lacking or ['active_w'])}, so no other board follows "
            "from it.",
            hint="Take a measured Linux board or a generic one of the same runtime.",
        )
    return BoardFacts(*values)


def on_board(prior: DeviceSpec, facts: BoardFacts, *, chip: str, core: str = "") -> DeviceSpec:
    """A device with the prior's runtime and number type, on another board.

    Args:
        prior: a measured Linux board or a generic one; it must state the same facts and an active power.
        facts: the new board's.
        chip: its name.
        core: its processor, the prior's text by default.

    Returns:
        The device in mode ``scaled``, ``prior_only`` as long as nothing was measured on it.

    Raises:
        UsageError: a prior without facts, a fact that is not positive, a bad name.

    >>> from joulecut.hw_models.catalogue import device as named
    >>> pi4 = named("raspberry-pi-4b/tflite/float32")
    >>> slower = on_board(pi4, BoardFacts(4, 900e6, 2.82, 4), chip="pi-at-half-the-clock")
    >>> joules = [each.coefficients.j_per_mac_dense for each in (slower, pi4)]
    >>> round(joules[0] / joules[1], 3)  # 1 + 2.82 W / 5.831 W: twice the time for the idle power
    1.484
    """
    if not NAME.fullmatch(chip):
        raise UsageError(
            f"{chip!r} is no name of a device.",
            hint="Names hold lower-case letters, digits, '-', '_' and '.'.",
        )
    values = (facts.cores, facts.clock_hz, facts.idle_w, facts.macs_per_instruction)
    for key, value in zip(_KEYS, values, strict=True):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{key} of {chip} is {value}, which is not a positive number.")
    known = board_facts(prior)
    active_w = prior.coefficients.active_w
    idle_share = known.idle_w / active_w
    slower = known.macs_per_s / facts.macs_per_s
    switched = (1 - idle_share) * known.macs_per_instruction / facts.macs_per_instruction
    factor = switched + idle_share * slower * facts.idle_w / known.idle_w
    source = Source(
        "facts",
        f"carried over from {prior.name} by cores, clock, idle power and MACs per vector instruction",
        "assumed",
    )
    stated = Source("board", "facts of the board, as given", "read")
    changes = dict(zip(_KEYS, values, strict=True)) | {
        "active_w": active_w * factor / slower,
        "factor_90": FACTOR_90,
    }
    figures = {key: each for key, each in prior.figures.items() if key in ("channel_step", "onchip_kib")}
    for key, value in changes.items():
        figures[key] = _figure(key, value, stated if key in _KEYS else source)
    for keys in (*TERMS.values(), ("pj_per_offchip_byte", "")):
        if keys[0] in prior.figures:
            figures[keys[0]] = _figure(keys[0], si(prior.figures, keys[0]) * factor, source)
    return respecified(
        prior,
        {key: figures[key] for key in FIGURES if key in figures},
        mode="scaled",
        chip=chip,
        core=core,
        prior_only=True,
        note=f"No joule of it was measured: {prior.name}, carried over by what its data sheet says.",
    )


def _figure(key: str, value: float, source: Source) -> Figure:
    unit, si_unit = FIGURES[key]
    return Figure(key, value / si_unit, unit, source)
