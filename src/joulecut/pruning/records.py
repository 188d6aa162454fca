"""Records of a pruning run: ``Budget``, ``Candidate``, ``PruneStep``, ``PruneRecord``, ``Quality``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joulecut.estimate import Estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.quality_records import Quality, QualityPair

__all__ = [
    "Budget",
    "Candidate",
    "Kind",
    "LimitCheck",
    "Met",
    "Per",
    "PruneRecord",
    "PruneStep",
    "Quality",
    "QualityPair",
    "Refusal",
]

Met = Literal["yes", "no", "unsure"]
Per = Literal["inference", "training step"]

Kind = Literal["channels", "nodes", "block", "layer", "weights"]
"""What a removal takes: nodes are channels that only linear layers write."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a network may cost: any of these limits, all of which must be met.

    Attributes:
        energy_j: joules per inference (or training step), met on the absolute upper bound.
        share: share of the original's energy, met on the upper bound of the ratio; not beside ``energy_j``.
        min_accuracy: lowest validation accuracy allowed, 0 to 1, or None.
        confidence: confidence of the bounds, 0.5 or 0.9.
        latency_s: seconds of one inference.
        memory_bytes: peak memory of one inference (see ``pruning.memory``).
        per: what the joules are counted over: one inference, or one training step.
        step_samples: samples in a training step.
    """

    energy_j: float | None = None
    share: float | None = None
    min_accuracy: float | None = None
    confidence: float = 0.9
    latency_s: float | None = None
    memory_bytes: float | None = None
    per: Per = "inference"
    step_samples: int = 1

    def __str__(self) -> str:
        from joulecut.units import format_percent, format_quantity

        over = ""
        if self.per == "training step":
            over = f" per training step of {self.step_samples}"
        limits = []
        if self.share is not None:
            limits.append(f"{format_percent(self.share)} of the original{over}")
        if self.energy_j is not None:
            limits.append(f"{format_quantity(self.energy_j, 'J')}{over}")
        if self.latency_s is not None:
            limits.append(f"{format_quantity(self.latency_s, 's')} of latency")
        if self.memory_bytes is not None:
            limits.append(f"{format_quantity(self.memory_bytes, 'B')} of memory")
        return " and ".join(limits)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A removal that was considered.

    Attributes:
        group: the group of channels that go together, the block or the layer.
        channels: original indices of the channels that would go; () where something else would.
        saving_j: joules saved, neighbours included.
        loss: rise of the calibration loss when applied: measured in the full search; as the ranking predicts
            it in one along a ranking or in stages, and the score where the ranking is no loss.
        price: loss per joule saved that is still missing to the budget (per second or byte where those are
            missing, per share of it where several limits are): the figure that decides.
        kind: what would go.
    """

    group: str
    channels: tuple[int, ...]
    saving_j: float
    loss: float
    price: float
    kind: Kind = "channels"


@dataclass(frozen=True, slots=True)
class PruneStep:
    """One step: what was taken, why, and what else was at hand.

    Late steps are exchanges: ``put_back`` then holds the channels that came back for those taken, its saving
    below 0, and the losses are those on held-out calibration samples.
    """

    index: int
    taken: Candidate
    runners_up: tuple[Candidate, ...]
    reason: str
    total: Estimate
    share: float
    calibration_loss: float
    accuracy: float | None
    duration_s: float
    put_back: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Channels that stay, with the reason, the operation and the line of the user's model."""

    path: str
    channels: int
    reason: str
    op: str
    source: str


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit of a budget held against what was reached.

    Attributes:
        what: what is limited: "energy of one inference", "latency", "memory peak", "validation accuracy", ...
        asked: the limit in words, as "at most 5.00 ms".
        figure: what was reached, or None where that is not known.
        met: whether the limit is kept, at the confidence of the budget.
    """

    what: str
    asked: str
    figure: Estimate | None
    met: Met


@dataclass(frozen=True, slots=True)
class PruneRecord:
    """All that is known of a finished pruning run, as saved in ``result.json``.

    Attributes:
        model: name of the network.
        device: device that priced it.
        met: yes, no or unsure.
        budget: what was asked for.
        before: profile of the original.
        after: profile of the result.
        steps: in order.
        refused: channels that had to stay.
        kept: kept and original width by group.
        rows: validation accuracy after each stage of the work ("as trained", "batch norm recalibrated",
            "pruned", ...), so that no gain is booked twice.
        quality: before and after, or None without labelled data.
        comparison: verdict of the onnxruntime benchmark in a sentence, or "".
        also: the totals before and after on other devices, by device name.
        provenance: versions, seed, data, durations.
        notes: what a reader should know beside the figures, a sentence each.
        limits: every limit of the budget, each judged by itself.
    """

    model: str
    device: str
    met: Met
    budget: Budget
    before: EnergyProfile
    after: EnergyProfile
    steps: tuple[PruneStep, ...]
    refused: tuple[Refusal, ...]
    kept: dict[str, tuple[int, int]]
    rows: tuple[tuple[str, float], ...]
    quality: QualityPair | None = None
    comparison: str = ""
    also: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    limits: tuple[LimitCheck, ...] = ()
