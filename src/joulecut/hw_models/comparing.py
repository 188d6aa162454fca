"""Two profiles of one device held against each other: the ratio of their energies and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, ratio, total
from joulecut.hw_models.profile import EnergyProfile

__all__ = ["EnergyComparison", "compare", "total_of"]


@dataclass(frozen=True, slots=True)
class EnergyComparison:
    """The energy of ``b`` as a ratio of that of ``a``.

    ``verdict``: ``same`` where the 90 % interval lies within the margin around 1, else ``less`` or ``more``
    where it lies on one side of 1, else ``inconclusive``.
    """

    a: str
    b: str
    device: str
    ratio: Estimate
    margin: float
    verdict: Literal["less", "more", "same", "inconclusive"]


def compare(a: EnergyProfile, b: EnergyProfile, *, margin: float = 0.02) -> EnergyComparison:
    """Compare two profiles of the same device, boundary and batch.

    Raises:
        UsageError: they are not of one kind, so their joules cannot be compared; or the first has none.
    """
    for what, mine, theirs in (
        ("devices", a.device, b.device),
        ("boundaries", a.boundary, b.boundary),
        ("batches", a.batch, b.batch),
    ):
        if mine != theirs:
            raise UsageError(
                f"the profiles are of different {what} ({mine}, {theirs}): their joules cannot be compared.",
                hint="Profile both in the same way.",
            )
    if a.total.value <= 0:
        raise UsageError(f"the profile of {a.model} holds no energy to compare with.")
    found = ratio(b.total, a.total)
    low, high = found.bounds(0.9)
    if 1 - margin <= low and high <= 1 + margin:
        verdict: Literal["less", "more", "same", "inconclusive"] = "same"
    elif high < 1:
        verdict = "less"
    else:
        verdict = "more" if low > 1 else "inconclusive"
    return EnergyComparison(a.model, b.model, a.device, found, margin, verdict)


def total_of(profiles: Sequence[EnergyProfile]) -> Estimate:
    """The energy of several networks that run one after another.

    Raises:
        UsageError: no profile, or joules that were counted at different boundaries: what a rail takes is a
            part of what the wall gives, and no model of the power supply tells which.
    """
    if not profiles:
        raise UsageError("there is no profile to add up.")
    for profile in profiles[1:]:
        if profile.boundary != profiles[0].boundary:
            raise UsageError(
                f"joules at {profiles[0].boundary} ({profiles[0].device}) and at {profile.boundary} "
                f"({profile.device}) cannot be added.",
                hint="Profile all networks on devices of one boundary.",
            )
    return total((profile.total for profile in profiles), unit="J", method="sum of profiles")
