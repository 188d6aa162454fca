"""How good a classifier is: accuracy and F1 with their intervals, and the paired difference of two.

Predictions are made once (``predictions``); everything else is a plain function of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import torch

from joulecut.benchmarks.data.records import Dataset
from joulecut.errors import UsageError

__all__ = [
    "PairedDifference",
    "Scores",
    "accuracy",
    "channels_last",
    "check_pair",
    "check_scorable",
    "evaluate",
    "macro_f1",
    "paired_difference",
    "parameters",
    "per_class_f1",
    "predictions",
    "wilson_interval",
]

_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How well one network does on one data set.

    Attributes:
        accuracy: share of samples whose class is the predicted one, 0 to 1.
        accuracy_lo: lower bound of its 90 % interval.
        accuracy_hi: upper bound.
        macro_f1: mean F1 over the classes.
        correct: bool [N], which samples are right.
        predicted: int64 [N], the class of each sample as the network sees it.
    """

    accuracy: float
    accuracy_lo: float
    accuracy_hi: float
    macro_f1: float
    correct: torch.Tensor
    predicted: torch.Tensor


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A score (accuracy, macro-F1) after less the one before, on the same samples, with its 90 % interval."""

    change: float
    lo: float
    hi: float


def evaluate(model: torch.nn.Module, dataset: Dataset, *, batch: int = 500) -> Scores:
    """Predict a whole data set and score it.

    Raises:
        UsageError: the data are empty or hold one class only, or the network's output is not usable (see
            ``predictions``).
    """
    check_scorable(dataset)
    predicted = predictions(model, dataset.inputs, batch=batch)
    correct = predicted == dataset.labels
    low, high = wilson_interval(int(correct.sum()), len(dataset))
    share, mean_f1 = accuracy(predicted, dataset.labels), macro_f1(predicted, dataset.labels)
    return Scores(share, low, high, mean_f1, correct, predicted)


def check_scorable(dataset: Dataset) -> None:
    """Refuse data of one class: any constant answer is right on them.

    Raises:
        UsageError: all labels are the same.
    """
    if len(dataset) and len(set(dataset.labels.tolist())) < 2:
        raise UsageError(
            f"all {len(dataset)} samples of {dataset.name} are of one class; their accuracy means nothing.",
            hint="Give data with at least two classes.",
        )


def predictions(model: torch.nn.Module, inputs: torch.Tensor, *, batch: int = 500) -> torch.Tensor:
    """The class of each input, in evaluation mode; the mode that the model was in is restored.

    Args:
        model: gives logits [N, classes]; runs on the device of its parameters.
        inputs: [N, ...].
        batch: inputs at a time.

    Returns:
        int64 [N] on the CPU.

    Raises:
        UsageError: no inputs, an output that is not [N, at least 2 classes], or logits that are NaN.
    """
    if not len(inputs):
        raise UsageError("there are no samples to predict.")
    device = next((p.device for p in model.parameters()), inputs.device)
    modes = [(module, module.training) for module in model.modules()]
    torch.nn.Module.train(model, False)  # by this name, as graphs of torch.export refuse eval()
    try:
        with torch.no_grad():
            layout = channels_last if runs_channels_last(model, inputs[:2].to(device)) else _unchanged
            parts = [
                _classes(model(layout(part.to(device))), len(part)) for part in torch.split(inputs, batch)
            ]
    finally:
        for module, mode in modes:
            module.training = mode
    return torch.cat(parts)


def _classes(logits: object, count: int) -> torch.Tensor:
    if not isinstance(logits, torch.Tensor):
        raise UsageError(
            f"the network returns a {type(logits).__name__}; accuracy needs logits [N, classes]."
        )
    if logits.ndim != 2 or logits.shape[0] != count or logits.shape[1] < 2:
        raise UsageError(
            f"the network returns shape {list(logits.shape)} for {count} samples; accuracy needs logits "
            "[N, classes] with at least two classes."
        )
    broken = logits.isnan().any(1)
    if broken.any():
        raise UsageError(
            f"the network returns NaN logits for {int(broken.sum())} of {count} samples.",
            hint="Check its weights and the data's scale.",
        )
    return logits.argmax(1).cpu()


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Images [N, C, H, W] with the channels innermost in memory; other tensors as they are.

    Depthwise convolutions run several times faster so on CPUs. ``Tensor.to(memory_format=...)`` is not
    enough: it leaves images of one channel alone, and all layers that follow then run the slow way.
    """
    if images.ndim != 4:
        return images
    count, channels, height, width = images.shape
    inner = images.new_empty((count, height, width, channels))
    return inner.copy_(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def runs_channels_last(model: torch.nn.Module, images: torch.Tensor) -> bool:
    """Whether a network in evaluation mode takes channels-last images (one that calls ``view`` may not)."""
    if images.ndim != 4:
        return False
    try:
        with torch.no_grad():
            model(channels_last(images))
    except RuntimeError:
        return False
    return True


def _unchanged(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


def accuracy(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of equal entries, 0 to 1.

    Raises:
        UsageError: no samples, or different lengths.

    >>> accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 0]))
    0.75
    """
    check_pair(predicted, labels)
    return int((predicted == labels).sum()) / len(labels)


def per_class_f1(predicted: torch.Tensor, labels: torch.Tensor) -> dict[int, float]:
    """F1 of each class that occurs in the labels or the predictions; 0 where it is never right.

    F1 = 2 TP / (2 TP + FP + FN), and 2 TP + FP + FN is the number of labels and predictions of the class.

    Raises:
        UsageError: no samples, or different lengths.

    >>> per_class_f1(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 0]))[2]
    0.6666666666666666
    """
    check_pair(predicted, labels)
    classes = int(max(predicted.max(), labels.max())) + 1
    right = predicted[predicted == labels].bincount(minlength=classes)
    seen = predicted.bincount(minlength=classes) + labels.bincount(minlength=classes)
    return {k: 2 * int(right[k]) / int(seen[k]) for k in range(classes) if seen[k]}


def macro_f1(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Unweighted mean of ``per_class_f1``, as ``sklearn.metrics.f1_score(average="macro", zero_division=0)``.

    Raises:
        UsageError: no samples, or different lengths.
    """
    scores = per_class_f1(predicted, labels)
    return math.fsum(scores.values()) / len(scores)


def check_pair(predicted: torch.Tensor, labels: torch.Tensor) -> None:
    """Refuse predictions and labels that do not belong together.

    Raises:
        UsageError: no samples, or different lengths.
    """
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise UsageError(
            f"predictions {list(predicted.shape)} and labels {list(labels.shape)} must be [N] and as many."
        )
    if not len(labels):
        raise UsageError("there are no samples to score.")


def wilson_interval(correct: int, total: int, *, confidence: float = 0.9) -> tuple[float, float]:
    """Score interval of a share: the shares from which ``correct`` of ``total`` is not surprising.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927), 209-212.

    Raises:
        UsageError: ``total`` below 1, ``correct`` outside 0 to ``total``, or a confidence outside (0, 1).

    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.84, 0.939)
    """
    if total < 1 or not 0 <= correct <= total or not 0 < confidence < 1:
        raise UsageError(f"no interval for {correct} of {total} at confidence {confidence}.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, pull = correct / total, z * z / total
    middle = (share + pull / 2) / (1 + pull)
    half = math.sqrt(share * (1 - share) * pull + pull * pull / 4) / (1 + pull)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def paired_difference(
    before_correct: torch.Tensor, after_correct: torch.Tensor, *, seed: int = 0
) -> PairedDifference:
    """How accuracy changed, on the same samples, with a 90 % percentile bootstrap interval.

    A sample is won (+1), lost (-1) or unchanged (0). To draw N of them with replacement is to draw their
    numbers from a multinomial distribution, which gives all 2,000 resamples at once. Where no sample is
    won or lost, the interval has no width: the data then cannot tell the two networks apart.

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Args:
        before_correct: bool [N].
        after_correct: bool [N], of the same samples in the same order.
        seed: of the resampling.

    Raises:
        UsageError: no samples, or different lengths.

    >>> ones = torch.ones(100, dtype=torch.bool)
    >>> paired_difference(ones, ones).change
    0.0
    """
    check_pair(after_correct, before_correct)
    count = len(before_correct)
    won = int((after_correct & ~before_correct).sum())
    lost = int((before_correct & ~after_correct).sum())
    shares = [won / count, lost / count, (count - won - lost) / count]
    draws = np.random.default_rng(seed).multinomial(count, shares, size=_RESAMPLES)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / count, (0.05, 0.95))
    return PairedDifference((won - lost) / count, float(low), float(high))


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters; one that is used twice counts once.

    >>> parameters(torch.nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters())
