"""Records of how good, how big and how costly a network is: ``Quality``, ``ClassScore``, ``TrainingCost``."""

from __future__ import annotations

from dataclasses import dataclass

from joulecut.estimate import Estimate

__all__ = ["ClassScore", "Quality", "QualityPair", "TrainingCost"]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is told from the others.

    Attributes:
        label: its number.
        support: samples of it.
        f1: its F1, 0 to 1.
        f1_lo: lower bound of its 90 % interval.
        f1_hi: upper bound.
    """

    label: int
    support: int
    f1: float
    f1_lo: float
    f1_hi: float


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What one training took.

    Attributes:
        stage: what was trained: "original", "fine-tune", "recovery".
        duration_s: seconds of wall-clock time.
        energy: joules of the machine that trained, or None where they are not known.
        source: where the joules come from (a sensor, or a device model), or why they are not known.
        steps: optimiser steps; None where the one who trained did not say.
        batch: samples in a step; None where he did not say.
        kept: whether its weights are in the result.
    """

    stage: str
    duration_s: float
    energy: Estimate | None
    source: str
    steps: int | None = None
    batch: int | None = None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Quality:
    """How good, how big and how costly one network is.

    Attributes:
        accuracy: top-1, 0 to 1, on ``split``.
        accuracy_lo: lower bound of its 90 % interval.
        accuracy_hi: upper bound.
        macro_f1: mean of the per-class F1.
        split: what it was measured on ("test" or "validation"), with the number of samples.
        size_bytes: bytes of the exported .onnx file.
        parameters: number of parameters.
        training_s: seconds spent on training it, as far as known (0: none); for the network after pruning,
            on top of those of the network before.
        inference_energy: joules of one inference.
        latency: seconds of one inference in onnxruntime, or None when not benchmarked.
        macro_f1_lo: lower bound of its 90 % interval; None in files of earlier versions.
        macro_f1_hi: upper bound.
        classes: the F1 of each class.
        memory_peak: most bytes that one inference needs at once, or None where that is not known.
        training: the trainings behind ``training_s``, those included whose weights were not kept.
        training_energy: their joules together; None where nothing was trained or one is not known.
    """

    accuracy: float
    accuracy_lo: float
    accuracy_hi: float
    macro_f1: float
    split: str
    size_bytes: int
    parameters: int
    training_s: float
    inference_energy: Estimate
    latency: Estimate | None
    macro_f1_lo: float | None = None
    macro_f1_hi: float | None = None
    classes: tuple[ClassScore, ...] = ()
    memory_peak: Estimate | None = None
    training: tuple[TrainingCost, ...] = ()
    training_energy: Estimate | None = None


@dataclass(frozen=True, slots=True)
class QualityPair:
    """Before and after, with the paired differences on the same samples and their 90 % intervals.

    Attributes:
        before: the original.
        after: the result.
        accuracy_change: accuracy after less accuracy before.
        accuracy_change_lo: lower bound.
        accuracy_change_hi: upper bound.
        macro_f1_change: macro-F1 after less macro-F1 before; None in files of earlier versions.
        macro_f1_change_lo: lower bound.
        macro_f1_change_hi: upper bound.
        latency_ratio: time of an inference after over before in onnxruntime, measured call by call in
            turns; on a busy machine that of the CPU time. None when not benchmarked.
    """

    before: Quality
    after: Quality
    accuracy_change: float
    accuracy_change_lo: float
    accuracy_change_hi: float
    macro_f1_change: float | None = None
    macro_f1_change_lo: float | None = None
    macro_f1_change_hi: float | None = None
    latency_ratio: Estimate | None = None
