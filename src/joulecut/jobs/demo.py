"""The demo: the whole job on real data, in seconds on bundled digits or in minutes on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.data.source import load_data
from joulecut.benchmarks.networks.digits_cnn import trained_digits_cnn
from joulecut.benchmarks.networks.dscnn import ds_cnn_fashion_mnist
from joulecut.benchmarks.networks.resnet8 import resnet8_fashion_mnist
from joulecut.benchmarks.records import Comparison
from joulecut.benchmarks.training import Augment, TrainingRun, build, train
from joulecut.codec import from_json, to_json, write_bytes, write_text
from joulecut.errors import SchemaError, UsageError
from joulecut.jobs.pruning import PruneResult, prune
from joulecut.jobs.training_cost import costed
from joulecut.pruning.quality_records import TrainingCost
from joulecut.pruning.records import PruneRecord
from joulecut.pruning.run import Progress, silent
from joulecut.workload.from_torch import workload

__all__ = ["DemoResult", "demo"]

DEVICE: Final = "reference/edge/float32"
REAL_DEVICE: Final = "nucleo-l4r5zi/x-cube-ai/int8"
_FASHION: Final = (("resnet8", resnet8_fashion_mnist, "50%"), ("dscnn", ds_cnn_fashion_mnist, "60%"))
_EPOCHS: Final = 10
_LR: Final = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class DemoResult:
    """What the demo made, one entry per network."""

    records: tuple[PruneRecord, ...]
    comparisons: tuple[Comparison, ...]
    folders: tuple[Path, ...]


def demo(
    out_dir: str | Path,
    *,
    data_dir: str | Path | None = None,
    finetune_epochs: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> DemoResult:
    """Run the whole job and leave a result folder per network.

    Without ``data_dir``: the bundled digits network, to 50 % of its energy. With Fashion-MNIST in IDX
    files: a ResNet-8 to 50 % and a DS-CNN to 60 %, which are trained first (their weights are kept in the
    folder and used again by a second run).

    Raises:
        UsageError: the data cannot be read or have another shape; weights in the folder are damaged.
        OutputError: the folder cannot be written.
    """
    folder, report = Path(out_dir), progress or silent
    if data_dir is None:
        digits = _Job(folder, trained_digits_cnn(), "50%", load_data("digits"), None, report)
        return _demo_result([digits.run(finetune_epochs, seed)])
    splits = _fashion_mnist(data_dir)
    done = []
    for name, factory, budget in _FASHION:
        network, cost = _trained(name, factory, splits, folder, seed, report)
        job = _Job(folder / name, network, budget, splits, cost, _prefixed(name, report))
        done.append(job.run(finetune_epochs, seed))
    return _demo_result(done)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One network of the demo."""

    folder: Path
    network: torch.nn.Module
    budget: str
    splits: Splits
    trained: TrainingCost | None
    progress: Progress

    def run(self, finetune_epochs: int, seed: int) -> tuple[PruneResult, Path]:
        """Prune it and save the result folder."""
        result = prune(
            self.network,
            budget=self.budget,
            device=DEVICE,
            data=self.splits,
            finetune_epochs=finetune_epochs,
            seed=seed,
            progress=self.progress,
            also=(REAL_DEVICE,),
            trained=self.trained,
        )
        result.save(self.folder)
        return result, self.folder


def _prefixed(name: str, progress: Progress) -> Progress:
    """The same progress, each stage with a name before it."""
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)


def _fashion_mnist(data_dir: str | Path) -> Splits:
    splits = load_data(str(data_dir))
    shape = None if splits.train is None else tuple(splits.train.inputs.shape[1:])
    if shape != (1, 28, 28) or splits.test.classes > 10:
        raise UsageError(
            f"{data_dir} does not hold images of 28x28 pixels in ten classes.",
            hint="Give the folder of Fashion-MNIST.",
        )
    return splits


def _demo_result(done: list[tuple[PruneResult, Path]]) -> DemoResult:
    return DemoResult(
        records=tuple(result.record for result, _ in done),
        comparisons=tuple(result.comparison for result, _ in done),
        folders=tuple(folder for _, folder in done),
    )


def _trained(
    name: str,
    factory: Callable[[], torch.nn.Module],
    splits: Splits,
    folder: Path,
    seed: int,
    progress: Progress,
) -> tuple[torch.nn.Module, TrainingCost]:
    """A trained network and what that took, from the folder where a run before left them."""
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    assert splits.train is not None
    network = build(factory, seed)
    weights, facts = folder / f"{name}-seed{seed}.safetensors", folder / f"{name}-seed{seed}.json"
    if weights.is_file() and facts.is_file():
        try:
            network.load_state_dict(load(weights.read_bytes()))
            return network.eval(), from_json(facts.read_bytes(), TrainingCost, where=str(facts))
        except (SafetensorError, RuntimeError, SchemaError) as error:
            raise UsageError(
                f"{weights} holds no weights of this network.", hint=f"Delete {weights.name} to train again."
            ) from error
    cost = _training(name, network, splits.train, seed, progress)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(weights, save({key: tensor.contiguous() for key, tensor in network.state_dict().items()}))
    write_text(facts, to_json(cost))
    return network.eval(), cost


def _training(
    name: str, network: torch.nn.Module, dataset: Dataset, seed: int, progress: Progress
) -> TrainingCost:
    """Train a network, and say what that took."""

    def run() -> TrainingRun:
        return train(
            network,
            dataset,
            epochs=_EPOCHS,
            lr=_LR,
            seed=seed,
            augment=Augment(shift=2, flip=True),
            progress=lambda done, total: progress(f"{name}: training", done, total),
        )

    forward = workload(network.eval(), dataset.inputs[:1])
    return costed("original", run, forward, network)
