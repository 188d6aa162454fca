"""Records of what a training loop cost: epochs, steps and the parts of a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from joulecut.estimate import Estimate
from joulecut.profiler.records import Fact, Quality

__all__ = ["PARTS", "PartEnergy", "TrainingEnergy", "TrainingWindow"]

PARTS: Final = ("forward", "backward", "optimizer")
"""Parts of a step that can be marked; what is left of it is called ``rest``."""


@dataclass(frozen=True, slots=True)
class PartEnergy:
    """One part of all steps of a window: ``forward``, ``backward``, ``optimizer`` or ``rest``.

    Attributes:
        name: which.
        energy: joules; ``attributed`` where the part is too short for the counter, by its time then, with
            bounds that hold everything from nothing to the whole.
        duration_s: its time in all.
    """

    name: str
    energy: Estimate
    duration_s: float


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """An epoch, or one or more steps in a row.

    Attributes:
        label: ``epoch 0``, ``step 3``, or ``steps 3 to 7`` where single ones are too short for the counter.
        energy: joules; None where invalid.
        duration_s: from begin to end.
        steps: how many steps it holds.
        parts: of its steps, and the rest; their joules add up to ``energy``.
        quality, reason: how much to believe.
    """

    label: str
    energy: Estimate | None
    duration_s: float
    steps: int
    parts: tuple[PartEnergy, ...]
    quality: Quality
    reason: str


@dataclass(frozen=True, slots=True)
class TrainingEnergy:
    """What a training loop cost.

    Attributes:
        epochs: each epoch.
        steps: each step, or each run of steps that is long enough for the counter.
        reasons: every doubt about the devices, and what was merged or attributed, and why.
        sensor: which sensor answered.
        provenance: how it was measured: sensor and why, machine, versions.
    """

    epochs: tuple[TrainingWindow, ...]
    steps: tuple[TrainingWindow, ...]
    reasons: tuple[str, ...]
    sensor: str = ""
    provenance: dict[str, Fact] = field(default_factory=dict)
