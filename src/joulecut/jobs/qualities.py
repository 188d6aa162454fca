"""The quality report: two networks on the same test samples, with what each of them costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.f1 import f1_scores, macro_f1_difference
from joulecut.benchmarks.quality import Scores, evaluate, paired_difference, parameters
from joulecut.estimate import Estimate, total
from joulecut.pruning.quality_records import ClassScore, Quality, QualityPair, TrainingCost

__all__ = ["Side", "quality_pair"]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two networks, and what is known of its cost.

    Attributes:
        module: the network.
        size_bytes: bytes of its .onnx file.
        inference_energy: joules of one inference.
        latency: seconds of one inference in onnxruntime, or None.
        memory_peak: bytes that one inference needs at once, or None.
        training: what was trained to get it, the other network's trainings aside.
    """

    module: fx.GraphModule
    size_bytes: int
    inference_energy: Estimate
    latency: Estimate | None
    memory_peak: Estimate | None
    training: tuple[TrainingCost, ...] = ()


def quality_pair(
    before: Side, after: Side, test: Dataset, *, latency_ratio: Estimate | None = None, seed: int = 0
) -> QualityPair:
    """Score both networks on the same samples.

    Args:
        before: the original.
        after: the result.
        test: samples that no choice was made on.
        latency_ratio: time after over before, paired.
        seed: of the bootstraps.

    Raises:
        UsageError: samples of one class only, or outputs that are no usable logits.
    """
    old, new = evaluate(before.module, test), evaluate(after.module, test)
    change = paired_difference(old.correct, new.correct, seed=seed)
    f1_change = macro_f1_difference(old.predicted, new.predicted, test.labels, seed=seed)
    return QualityPair(
        before=_quality(before, old, test, seed),
        after=_quality(after, new, test, seed),
        accuracy_change=change.change,
        accuracy_change_lo=change.lo,
        accuracy_change_hi=change.hi,
        macro_f1_change=f1_change.change,
        macro_f1_change_lo=f1_change.lo,
        macro_f1_change_hi=f1_change.hi,
        latency_ratio=latency_ratio,
    )


def _quality(side: Side, scores: Scores, test: Dataset, seed: int) -> Quality:
    f1 = f1_scores(scores.predicted, test.labels, seed=seed)
    return Quality(
        accuracy=scores.accuracy,
        accuracy_lo=scores.accuracy_lo,
        accuracy_hi=scores.accuracy_hi,
        macro_f1=f1.macro,
        split=f"test, {len(test)} samples",
        size_bytes=side.size_bytes,
        parameters=parameters(side.module),
        training_s=sum(one.duration_s for one in side.training),
        inference_energy=side.inference_energy,
        latency=side.latency,
        macro_f1_lo=f1.macro_lo,
        macro_f1_hi=f1.macro_hi,
        classes=tuple(ClassScore(k.label, k.support, k.f1, k.f1_lo, k.f1_hi) for k in f1.classes),
        memory_peak=side.memory_peak,
        training=side.training,
        training_energy=_joules(side.training),
    )


def _joules(trainings: Iterable[TrainingCost]) -> Estimate | None:
    """The joules of all trainings, where each is known."""
    energies = [one.energy for one in trainings]
    known = [energy for energy in energies if energy is not None]
    if not known or len(known) < len(energies):
        return None
    return known[0] if len(known) == 1 else total(known, unit="J", method="sum of the trainings")
