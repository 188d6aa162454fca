"""Battery life: how often and how long a network runs on one charge, with the bounds of its joules.

    mean power = joules of one inference / period + sleep power x (1 - time of one inference / period)
    life       = ln(1 + k x capacity / mean power) / k,   k = -ln(1 - self-discharge) / month

which is the time in which a charge is drained that also decays by itself, by a share a month of what is left
(dE/dt = -mean power - k E); without self-discharge it is capacity / mean power. All of the capacity counts:
give what the battery yields at the temperature and the cut-off voltage of the board. What waking up, sensing
and sending take is not in a network's joules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread
from joulecut.hw_models.profile import Boundary, EnergyProfile
from joulecut.units import format_quantity

__all__ = ["BatteryLife", "battery_life"]

_MONTH_S: Final = 365.25 / 12 * 86_400
"""A twelfth of a Julian year."""
_PART_OF_IT: Final[dict[Boundary, str]] = {
    "soc_rail": "only the rail of the chip is counted: regulators and the rest of the board drain it too",
    "cpu_package": "only the processor package is counted: the rest of the machine drains it too",
}


@dataclass(frozen=True, slots=True)
class BatteryLife:
    """What one charge is worth.

    Attributes:
        model: name of the network.
        device: what it runs on.
        boundary: where its joules are counted.
        batch: samples in one inference.
        capacity_j: joules in a full battery.
        period_s: seconds from one inference to the next.
        sleep_w: power between inferences.
        self_discharge: share of the charge lost by itself in a month.
        inference: joules of one inference.
        power: mean power drawn.
        life: seconds on one charge.
        inferences: inferences on one charge.
        notes: what is not counted.
    """

    model: str
    device: str
    boundary: Boundary
    batch: int
    capacity_j: float
    period_s: float
    sleep_w: float
    self_discharge: float
    inference: Estimate
    power: Estimate
    life: Estimate
    inferences: Estimate
    notes: tuple[str, ...] = ()


def battery_life(
    profile: EnergyProfile,
    capacity_j: float,
    period_s: float | None = None,
    sleep_w: float = 0.0,
    self_discharge: float = 0.0,
) -> BatteryLife:
    """Inferences and time on one charge.

    Args:
        profile: joules of one inference, modelled or measured.
        capacity_j: joules in a full battery.
        period_s: seconds from one inference to the next; None: one after the other without a pause.
        sleep_w: power between inferences.
        self_discharge: share of the charge lost by itself in a month, 0 to below 1.

    Raises:
        UsageError: joules counted at the wall, a figure out of range, an inference that takes longer than its
            period or, without one, has no time.
    """
    seconds = profile.duration.value
    period_s = _checked(profile, capacity_j, period_s, sleep_w, self_discharge)
    asleep_w = sleep_w * max(1 - seconds / period_s, 0.0)
    rate = -math.log1p(-self_discharge) / _MONTH_S

    def power_w(energy_j: float) -> float:
        return energy_j / period_s + asleep_w

    def life_s(energy_j: float) -> float:
        decay = rate * capacity_j / power_w(energy_j)
        return math.log1p(decay) / rate if decay else capacity_j / power_w(energy_j)

    notes = []
    if not seconds and sleep_w:
        notes.append("the time of one inference is not known: sleep power is counted all the time")
    if profile.boundary in _PART_OF_IT:
        notes.append(_PART_OF_IT[profile.boundary])
    return BatteryLife(
        model=profile.model,
        device=profile.device,
        boundary=profile.boundary,
        batch=profile.batch,
        capacity_j=capacity_j,
        period_s=period_s,
        sleep_w=sleep_w,
        self_discharge=self_discharge,
        inference=profile.total,
        power=_mapped(profile.total, power_w, "W", "mean over a period"),
        life=_mapped(profile.total, life_s, "s", "capacity over mean power"),
        inferences=_mapped(
            profile.total, lambda energy_j: life_s(energy_j) / period_s, "1", "life over period"
        ),
        notes=tuple(notes),
    )


def _checked(
    profile: EnergyProfile, capacity_j: float, period_s: float | None, sleep_w: float, self_discharge: float
) -> float:
    """The period, once everything makes sense."""
    if profile.boundary == "wall_ac":
        raise UsageError(
            f"the joules of {profile.model} on {profile.device} are counted at the wall, not at a battery.",
            hint="Choose a device whose joules are counted at the board or the chip.",
        )
    for name, figure in (("capacity", capacity_j), ("energy of one inference", profile.total.bounds(0.9)[0])):
        if not 0 < figure < math.inf:
            raise UsageError(f"the {name} must be above 0 J, not {format_quantity(figure, 'J')}.")
    if not 0 <= sleep_w < math.inf or not 0 <= self_discharge < 1:
        raise UsageError("sleep power must be 0 W or more, and self-discharge from 0 to below 1 a month.")
    seconds = profile.duration.value
    if period_s is None and not seconds:
        raise UsageError(
            f"{profile.device} has no time for {profile.model}:",
            hint="say how often it runs, as --every '10 s'.",
        )
    period = seconds if period_s is None else period_s
    if not max(seconds, 0.0) <= period < math.inf or period <= 0:
        raise UsageError(
            f"one inference takes {format_quantity(seconds, 's')}, longer than its period of "
            f"{format_quantity(period, 's')}."
        )
    return period


def _mapped(energy: Estimate, function: Callable[[float], float], unit: str, method: str) -> Estimate:
    """A monotone function of an energy: its bounds are those of the energy.

    The spread is split between what is common to the device and what is not as that of the energy is.
    """
    value = function(energy.value)
    common: list[float] = []
    own: list[float] = []
    for at, confidence in ((0, 0.5), (2, 0.9)):
        ends = [(function(bound), side) for side, bound in enumerate(energy.bounds(confidence))]
        for end, side in sorted(ends):
            parts = energy.common.parts()[at + side], energy.own.parts()[at + side]
            whole = math.hypot(*parts)
            for found, part in zip((common, own), parts, strict=True):
                found.append(abs(end - value) * part / whole if whole else 0.0)
    return Estimate(
        value,
        unit,
        energy.origin,
        method,
        n=energy.n,
        common=Spread(*common),
        own=Spread(*own),
        common_with=energy.common_with,
    )
