"""Two profiles of one device held against each other: the ratio of their energies and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, ratio
from joulecut.hw_models.profile import EnergyProfile

__all__ = ["EnergyComparison", "compare"]


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
