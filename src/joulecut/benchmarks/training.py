"""Training in plain torch: one loop for new networks and for graphs captured by ``torch.export``.

Deterministic for one seed, machine and number of threads; leaves no global state changed (the random
number generator is forked, the number of threads stays).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch.nn import functional

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.quality import channels_last, runs_channels_last
from joulecut.errors import UsageError
from joulecut.estimate import Estimate
from joulecut.workload.modes import set_training

__all__ = ["Augment", "TrainingRun", "build", "finetune", "set_training", "train"]

BATCH: Final = 128
MOMENTUM: Final = 0.9
WEIGHT_DECAY: Final = 5e-4
WARM_UP: Final = 0.2
"""Share of the steps over which the learning rate rises."""

Module = TypeVar("Module", bound=torch.nn.Module)
Progress = Callable[[int, int], None]
"""Called after each step with the steps done and the steps in all."""


@dataclass(frozen=True, slots=True)
class Augment:
    """Random changes of images [N, C, H, W], drawn for each sample anew.

    Attributes:
        shift: farthest shift in pixels, in both directions; edges repeat outwards.
        flip: mirror left and right half of the time (wrong for digits and letters).
    """

    shift: int = 2
    flip: bool = False


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a training took and where it ended.

    Attributes:
        seconds: wall-clock time.
        steps: optimiser steps.
        final_loss: mean cross-entropy over the last epoch, in nats.
        batch: samples in a step; None where a loop of the user does not say.
        energy: joules of it, where a loop of the user has measured them.
    """

    seconds: float
    steps: int
    final_loss: float
    batch: int | None = None
    energy: Estimate | None = None


def build(factory: Callable[[], Module], seed: int) -> Module:
    """Make a network with initial weights drawn from ``seed``; the global generator is left alone."""
    with _seeded(seed):
        return factory()


def train(
    model: torch.nn.Module,
    dataset: Dataset,
    *,
    epochs: int,
    lr: float,
    seed: int,
    augment: Augment | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a classifier in place and leave it in evaluation mode.

    Cross-entropy; SGD with Nesterov momentum 0.9, weight decay 5e-4, batches of 128; the learning rate
    rises to ``lr`` over the first fifth of the steps and falls back to 0, both along a cosine (one cycle:
    L. N. Smith and N. Topin 2018, "Super-convergence", arXiv:1708.07120).

    Args:
        model: gives logits [N, classes]; a module, or a graph captured by ``torch.export``.
        dataset: what to train on; samples that fill no batch are left out of an epoch, others each time.
        epochs: passes over the data, at least 1.
        lr: highest learning rate.
        seed: of the order of the samples, the augmentation and dropout.
        augment: random shifts and flips, or None.
        progress: called after each step.

    Raises:
        UsageError: fewer than 2 samples, no epoch, a learning rate that is not positive, no parameter to
            train, images to augment that are none, or a loss that is not finite.
    """
    _check(model, dataset, epochs, lr, augment)
    began = time.perf_counter()
    set_training(model, False)
    layout = channels_last if runs_channels_last(model, dataset.inputs[:2].to(_device(model))) else None
    set_training(model, True)
    try:
        with _seeded(seed), torch.enable_grad():
            losses = list(_steps(model, dataset, epochs, lr, augment, layout, progress))
    finally:
        set_training(model, False)
    last = losses[-(len(losses) // epochs) :]
    seconds, batch = time.perf_counter() - began, min(BATCH, len(dataset))
    return TrainingRun(seconds, len(losses), math.fsum(last) / len(last), batch)


def finetune(
    module: torch.nn.Module,
    dataset: Dataset,
    *,
    epochs: int,
    lr: float,
    seed: int,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a pruned network further, in place: ``train`` without augmentation.

    Args:
        module: a graph captured by ``torch.export``, or any module.
        dataset: what the original was trained on.
        epochs: passes over the data.
        lr: highest learning rate; a quarter of the one that trained the original is a fair start.
        seed: of the order of the samples and dropout.
        progress: called after each step.

    Raises:
        UsageError: as ``train``.
    """
    return train(module, dataset, epochs=epochs, lr=lr, seed=seed, progress=progress)


def _check(model: torch.nn.Module, dataset: Dataset, epochs: int, lr: float, augment: Augment | None) -> None:
    if len(dataset) < 2:
        raise UsageError(f"{dataset.name} holds {len(dataset)} samples; training needs at least 2.")
    if epochs < 1 or not 0 < lr < math.inf:
        raise UsageError(
            f"training needs at least 1 epoch and a positive learning rate, not {epochs} and {lr}."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError(f"{type(model).__name__} has no parameter that can be trained.")
    if augment is not None and dataset.inputs.ndim != 4:
        raise UsageError(
            f"samples of {dataset.name} have shape {list(dataset.inputs.shape[1:])}; "
            "only images [C, H, W] can be shifted and flipped."
        )


def _steps(
    model: torch.nn.Module,
    dataset: Dataset,
    epochs: int,
    lr: float,
    augment: Augment | None,
    layout: Callable[[torch.Tensor], torch.Tensor] | None,
    progress: Progress | None,
) -> Iterator[float]:
    """Train step by step and yield the loss of each."""
    batch = min(BATCH, len(dataset))
    total = epochs * (len(dataset) // batch)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    device = _device(model)
    orders = (torch.randperm(len(dataset)) for _ in range(epochs))
    batches = (order[at : at + batch] for order in orders for at in range(0, len(dataset) - batch + 1, batch))
    for step, chosen in enumerate(batches):
        images = dataset.inputs[chosen]
        if augment is not None:
            images = _augmented(images, augment)
        if layout is not None:
            images = layout(images)
        loss = functional.cross_entropy(model(images.to(device)), dataset.labels[chosen].to(device))
        value = loss.item()
        if not math.isfinite(value):
            raise UsageError(
                f"the loss is {value} after {step} of {total} steps.", hint="Lower the learning rate."
            )
        optimizer.param_groups[0]["lr"] = _rate(step, total, lr)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if progress is not None:
            progress(step + 1, total)
        yield value


def _rate(step: int, total: int, highest: float) -> float:
    """One cycle of the learning rate: half a cosine up, half a cosine down, sampled amid each step."""
    at = (step + 0.5) / total
    way = at / WARM_UP if at < WARM_UP else (1 - at) / (1 - WARM_UP)
    return highest * (1 - math.cos(math.pi * way)) / 2


def _augmented(images: torch.Tensor, augment: Augment) -> torch.Tensor:
    """Shift and flip each image by draws of its own: one gather of rows and columns."""
    count, _, height, width = images.shape
    reach = augment.shift
    down, right = torch.randint(-reach, reach + 1, (2, count, 1))
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    if augment.flip:
        columns = torch.where(torch.rand(count, 1) < 0.5, columns, columns.flip(1))
    sample = torch.arange(count)[:, None, None]
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators and put them back afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
