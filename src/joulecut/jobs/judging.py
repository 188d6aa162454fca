"""Who judges a network: accuracy on validation data, or a callable of the user; and which data will do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.quality import check_scorable, predictions
from joulecut.errors import UsageError
from joulecut.jobs.authors import named_callable
from joulecut.pruning.run import Judge
from joulecut.workload.callables import AuthorsCode
from joulecut.workload.trace import Traced

__all__ = ["Evaluation", "authors_judge", "check_fits", "chosen_judge", "data_judge"]

Evaluation = Callable[[Callable[[Tensor], Tensor]], float]
"""How good a network is, 0 to 1 and higher is better; the network maps a batch of inputs to logits."""

_QUICK: Final = 2_000


def data_judge(validation: Dataset) -> Judge:
    """Accuracy on validation data; quick answers come from the first 2,000 samples.

    A sample whose logits are NaN is wrong.
    """

    def judge(network: Callable[[Tensor], Tensor], quick: bool) -> float:
        part = validation.take(0, _QUICK) if quick else validation
        with torch.no_grad():
            classes = [_classes(network(x)) for x in torch.split(part.inputs, 500)]
        return float((torch.cat(classes) == part.labels).float().mean())

    return judge


def _classes(logits: Tensor) -> Tensor:
    """The class of each sample; -1, which no label is, where a logit is NaN (``argmax`` would choose it)."""
    return torch.where(logits.isnan().any(-1), -1, logits.argmax(-1))


def authors_judge(evaluation: Evaluation) -> Judge:
    """A callable of the user as the judge.

    The judge raises a ``UsageError`` where the callable raises, or gives no number from 0 to 1.
    """
    name = getattr(evaluation, "__name__", type(evaluation).__name__)

    def judge(network: Callable[[Tensor], Tensor], quick: bool) -> float:  # noqa: ARG001 - it has one answer
        with torch.no_grad(), AuthorsCode(f"the evaluation {name}", UsageError):
            score = float(evaluation(network))
        if not 0 <= score <= 1:
            found = "NaN" if math.isnan(score) else f"{score:g}"
            raise UsageError(f"the evaluation {name} gives {found}; it must give a share from 0 to 1.")
        return score

    return judge


def chosen_judge(evaluation: Evaluation | str | None, validation: Dataset) -> Judge:
    """The user's judge, given itself or by its name, as ``file.py:callable``; else accuracy.

    Raises:
        UsageError: there is no such callable.
    """
    if evaluation is None:
        return data_judge(validation)
    if isinstance(evaluation, str):
        return authors_judge(named_callable(evaluation, "evaluates a network"))
    return authors_judge(evaluation)


def check_fits(graph: Traced, splits: Splits) -> None:
    """Refuse data that the network does not take, or on which it cannot be scored.

    Raises:
        UsageError: several inputs, samples of another shape, data of one class, labels beyond the network's
            classes, or NaN logits for any sample that the run looks at.
    """
    data = splits.calibration
    if len(graph.inputs) != 1:
        raise UsageError(
            f"{graph.name} takes {len(graph.inputs)} inputs; data with one input can be pruned on."
        )
    wanted, given = tuple(graph.inputs[0].shape[1:]), tuple(data.inputs.shape[1:])
    if wanted != given:
        raise UsageError(
            f"{graph.name} takes samples of shape {list(wanted)}, and {data.name} holds {list(given)}."
        )
    predictions(graph.module, data.inputs[:2])
    with torch.no_grad():
        classes = int(graph.module(data.inputs[:2]).shape[1])
    check_scorable(splits.validation)
    check_scorable(splits.test)
    for part in (data, splits.validation, splits.test):
        highest = int(part.labels.max())
        if highest >= classes:
            raise UsageError(
                f"{part.name} holds the label {highest}, and {graph.name} tells {classes} classes apart.",
                hint=f"Labels must be 0 to {classes - 1}.",
            )
    for part in (data, splits.validation, splits.test):
        predictions(graph.module, part.inputs)
