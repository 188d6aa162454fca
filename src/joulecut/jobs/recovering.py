"""Recovery: the cut network is trained further, and keeps what it learnt only where validation gains.

The gain is that of the same validation samples, before and after; its 90 % bootstrap interval must lie above
0, or else the weights before come back. A loop that fails leaves the cut network as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.quality import PairedDifference, evaluate, paired_difference
from joulecut.benchmarks.training import TrainingRun, finetune, set_training
from joulecut.errors import UsageError
from joulecut.jobs.authors import named_callable
from joulecut.jobs.training_cost import SensorOfTraining, costed
from joulecut.pruning.coupling.cut import copied
from joulecut.pruning.quality_records import TrainingCost
from joulecut.pruning.run import Progress
from joulecut.reports.text import points
from joulecut.workload.callables import AuthorsCode
from joulecut.workload.from_torch import workload

__all__ = ["Recovered", "Recovery", "bundled_loop", "chosen_recovery", "recovered"]

Recovery = Callable[[fx.GraphModule, Dataset], TrainingRun | None]
"""Trains a network in place on the training data; says how many steps that took, or nothing.

The network comes in training mode (batch norms and dropout). Only values may change: the names and shapes of
parameters and buffers stay.
"""

_FINETUNE_LR: Final = 0.05
"""Serves networks whose scales are even (``pruning.scales``) and, as well as 0.02, a small transformer."""


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """A cut network after recovery.

    Attributes:
        module: the cut network with the weights that validation prefers.
        row: name of the stage and validation accuracy of what the training gave, kept or not.
        cost: what the training took; ``kept`` says whether its weights are in ``module``.
        note: what came of it, in a sentence.
    """

    module: fx.GraphModule
    row: tuple[str, float]
    cost: TrainingCost
    note: str


def bundled_loop(epochs: int, *, seed: int, progress: Progress, lr: float = _FINETUNE_LR) -> Recovery:
    """The bundled fine-tune loop (``benchmarks.training.finetune``) as a recovery.

    Args:
        epochs: passes over the training data, at least 1.
        seed: of the order of the samples.
        progress: called with "fine-tuning", the steps done and the steps in all.
        lr: highest learning rate.
    """

    def loop(module: fx.GraphModule, dataset: Dataset) -> TrainingRun:
        return finetune(
            module,
            dataset,
            epochs=epochs,
            lr=lr,
            seed=seed,
            progress=lambda done, total: progress("fine-tuning", done, total),
        )

    loop.__name__ = f"fine-tune, {epochs} epoch{'s' if epochs != 1 else ''}"
    return loop


def chosen_recovery(
    epochs: int, own: Recovery | str | None, *, seed: int, progress: Progress
) -> tuple[str, Recovery] | None:
    """The recovery that the user asks for, and its stage in the report; None for none.

    Args:
        epochs: of the bundled loop; 0 for none.
        own: a loop of the user, or its name, as ``file.py:callable``.
        seed: of the bundled loop.
        progress: told by the bundled loop.

    Raises:
        UsageError: both are asked for, or there is no such callable.
    """
    if epochs and own is not None:
        raise UsageError("a recovery is either the bundled loop or one of your own.", hint="Leave one out.")
    if epochs:
        return "fine-tune", bundled_loop(epochs, seed=seed, progress=progress)
    if own is None:
        return None
    return "recovery", named_callable(own, "recovers a network") if isinstance(own, str) else own


def recovered(
    module: fx.GraphModule,
    recovery: Recovery,
    splits: Splits,
    example: tuple[Tensor, ...],
    *,
    stage: str = "recovery",
    sparse: Collection[str] = (),
    seed: int = 0,
    sensor: SensorOfTraining | None = None,
) -> Recovered:
    """Train a copy of a cut network, and keep it where validation gains.

    Args:
        module: the cut network; left as it is.
        recovery: trains the copy.
        splits: trains on ``train``, decides on ``validation``.
        example: inputs of one inference.
        stage: what to call it in the report.
        sparse: paths of layers whose zero weights stay zero.
        seed: of the bootstrap.
        sensor: measures the joules; that of the machine by default.

    Raises:
        UsageError: there are no training data; the loop fails, leaves NaN weights, or changes a shape.
    """
    if splits.train is None:
        raise UsageError("there are no training data to recover on.", hint="Leave the recovery out.")
    name = getattr(recovery, "__name__", type(recovery).__name__)
    data, candidate = splits.train, copied(module)

    def train() -> TrainingRun | None:
        set_training(candidate, True)
        with _zeros_held(candidate, sparse), AuthorsCode(f"the recovery {name}", UsageError):
            run = recovery(candidate, data)
        if run is not None and not isinstance(run, TrainingRun):
            raise UsageError(
                f"the recovery {name} returns a {type(run).__name__}, not a TrainingRun or None."
            )
        return run

    cost = costed(stage, train, workload(module, example), candidate, sensor)
    candidate.to(next(module.parameters()).device)
    set_training(candidate, False)
    _check_weights(name, module, candidate)
    before, after = (evaluate(one, splits.validation) for one in (module, candidate))
    change = paired_difference(before.correct, after.correct, seed=seed)
    kept = change.lo > 0
    title = name if name.startswith(stage) else f"{stage} {name}"
    row = (f"{title}{'' if kept else ', not kept'}", after.accuracy)
    note = _note(title, change, kept, len(splits.validation))
    return Recovered(candidate if kept else module, row, replace(cost, kept=kept), note)


@contextmanager
def _zeros_held(module: fx.GraphModule, layers: Collection[str]) -> Iterator[None]:
    """Give the zero weights of some layers no gradient, and set them to zero again at the end."""
    own = dict(module.named_parameters(remove_duplicate=False))
    masks = {name: own[name] != 0 for name in (f"{layer}.weight" for layer in layers) if name in own}
    with ExitStack() as stack:
        for name, keep in masks.items():
            masked = partial(_masked, keep=keep)
            handle = own[name].register_hook(masked)  # type: ignore[no-untyped-call]  # torch has no types here
            stack.callback(handle.remove)
        yield
    with torch.no_grad():
        for name, keep in masks.items():
            weight = module.get_parameter(name)
            weight.copy_(_masked(weight, keep))


def _masked(tensor: Tensor, keep: Tensor) -> Tensor:
    return tensor.where(keep.to(tensor.device), 0.0)


def _check_weights(name: str, before: fx.GraphModule, after: fx.GraphModule) -> None:
    """The same names and shapes, all finite."""
    old, new = before.state_dict(), after.state_dict()
    changed = sorted(old.keys() ^ new.keys()) or [key for key in old if old[key].shape != new[key].shape]
    if changed:
        raise UsageError(
            f"the recovery {name} has changed the shape of {changed[0][:120]}.",
            hint="It may change values of parameters and buffers, and nothing else.",
        )
    for key, tensor in new.items():
        if not bool(tensor.isfinite().all()):
            raise UsageError(
                f"the recovery {name} has left NaN or infinite values in {key[:120]}.",
                hint="Lower its learning rate.",
            )


def _note(name: str, change: PairedDifference, kept: bool, samples: int) -> str:
    low, high = points(change.lo, unit=False), points(change.hi, unit=False)
    moved = f"validation accuracy moved by {points(change.change)} [{low} to {high}] on {samples} samples"
    if kept:
        return f"The weights of the {name} are kept: {moved}."
    return f"The weights of the {name} were rolled back: {moved}, which shows no gain."
