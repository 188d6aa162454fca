"""Records of labelled data: ``Dataset`` and ``Splits``, the checks that make one and the split of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from joulecut.errors import UsageError

__all__ = ["CALIBRATION_SAMPLES", "Dataset", "Splits", "labelled", "split"]

CALIBRATION_SAMPLES: Final = 8192
"""The most training samples that serve as calibration data."""

_LARGEST: Final = 1e15
"""Largest input: 10^8 squares of it still add up within float32."""

_FEWEST: Final = 20
"""Fewest samples that are split: a fifth of them still holds 4."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs and the class of each.

    Attributes:
        name: what to call it in reports and errors.
        inputs: float32 [N, ...], ready for the network.
        labels: int64 [N], 0 to ``classes`` - 1.
        classes: number of classes.
    """

    name: str
    inputs: torch.Tensor
    labels: torch.Tensor
    classes: int

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def take(self, start: int, stop: int | None = None) -> Dataset:
        """Samples ``start`` to ``stop``, sharing memory with this set."""
        return Dataset(self.name, self.inputs[start:stop], self.labels[start:stop], self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """One body of data by purpose.

    Attributes:
        train: what weights may be trained on, or None where there is nothing to train on.
        calibration: inputs for batch-norm recalibration and refit; may be a part of ``train``.
        validation: decides during pruning; shares no sample with ``train`` and ``calibration``.
        test: looked at once, at the end; shares no sample with any other part.
    """

    train: Dataset | None
    calibration: Dataset
    validation: Dataset
    test: Dataset

    @staticmethod
    def of(train: Dataset, validation: Dataset, test: Dataset) -> Splits:
        """Splits whose calibration data are the first ``CALIBRATION_SAMPLES`` of the training data."""
        return Splits(train, train.take(0, CALIBRATION_SAMPLES), validation, test)


def labelled(name: str, x: object, y: object, *, classes: int | None = None) -> Dataset:
    """Check inputs and labels and make a ``Dataset`` of them.

    Args:
        name: what to call the data in an error.
        x: inputs [N, ...], an array or tensor of numbers; becomes float32 and is not rescaled.
        y: labels [N], whole numbers from 0.
        classes: number of classes; the highest label + 1 by default.

    Raises:
        UsageError: wrong rank or type, different lengths, no samples, an input that is not finite or beyond
            1e15, a label out of range.

    >>> labelled("two points", [[0.0], [1.0]], [0, 1]).classes
    2
    """
    inputs, labels = _tensor(name, "x", x), _tensor(name, "y", y)
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise UsageError(
            f"y of {name} must be one whole number per sample, not {_shown(labels)}.",
            hint="Give class numbers from 0 as integers, shape [N].",
        )
    if inputs.ndim < 2:
        raise UsageError(
            f"x of {name} must have two dimensions or more, the samples first, not {_shown(inputs)}."
        )
    if len(inputs) != len(labels):
        raise UsageError(
            f"x of {name} holds {len(inputs)} samples and y {len(labels)}; they must be as many."
        )
    if inputs.numel() == 0:
        raise UsageError(f"{name} holds no samples: x is {_shown(inputs)}.")
    return _checked(name, inputs.to(torch.float32), labels.to(torch.int64), classes)


def _checked(name: str, inputs: torch.Tensor, labels: torch.Tensor, classes: int | None) -> Dataset:
    finite = inputs.isfinite()
    if not finite.all():
        first = int((~finite.flatten(1).all(1)).nonzero()[0])
        raise UsageError(f"x of {name} holds NaN or infinite values, first in sample {first}.")
    largest = float(inputs.abs().max())
    if largest > _LARGEST:
        raise UsageError(f"x of {name} reaches {largest:.3g}, beyond {_LARGEST:g}.", hint="Scale the inputs.")
    lowest, highest = int(labels.min()), int(labels.max())
    known = highest + 1 if classes is None else classes
    if lowest < 0 or highest >= known:
        wrong = lowest if lowest < 0 else highest
        allowed = "0 or more" if classes is None else f"0 to {known - 1}"
        raise UsageError(f"y of {name} holds the label {wrong}; labels must be {allowed}.")
    return Dataset(name, inputs, labels, known)


def _tensor(name: str, key: str, value: object) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{key} of {name} holds {array.dtype} values; it must hold numbers.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _shown(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def split(dataset: Dataset, *, seed: int = 0) -> tuple[Dataset, Dataset, Dataset]:
    """Split at random into 60, 20 and 20 %, the same way for one seed.

    Raises:
        UsageError: fewer than 20 samples.
    """
    count = len(dataset)
    if count < _FEWEST:
        raise UsageError(f"{dataset.name} holds {count} samples; a split needs at least {_FEWEST}.")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    shuffled = Dataset(dataset.name, dataset.inputs[order], dataset.labels[order], dataset.classes)
    fifth = count // 5
    first = count - 2 * fifth
    return shuffled.take(0, first), shuffled.take(first, first + fifth), shuffled.take(first + fifth)
