"""What every method of perf.pruning is given: the same recalibrated network, data, device and price."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import fx, nn

from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.quality import evaluate
from joulecut.hw_models.catalogue import device
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.recover import recalibrated
from joulecut.workload.from_torch import workload
from joulecut.workload.trace import Traced, trace
from perf.pruning_bases import Base

__all__ = ["DEVICE", "Clock", "Field", "Point", "field_of"]

DEVICE: Final = "reference/edge/float32"
QUICK: Final = 2000
"""Validation images of a quick look."""


@dataclass
class Clock:
    """Seconds that a method took; pricing and scoring for the table stay outside."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_s += time.process_time() - cpu
            self.wall_s += time.perf_counter() - wall


@dataclass(frozen=True, eq=False)
class Point:
    """A cut network as a method leaves it, and what finding it took."""

    budget: float
    network: fx.GraphModule
    clock: Clock
    note: str = ""


@dataclass(frozen=True, eq=False)
class Field:
    """One network of one seed.

    Attributes:
        module: the network as its author wrote it, with the recalibrated statistics.
        graph: the same, captured.
        trained: the captured network as trained.
        energy_j: joules of one inference of it.
    """

    base: Base
    seed: int
    splits: Splits
    module: nn.Module
    graph: Traced
    trained: fx.GraphModule
    spec: DeviceSpec = field(default_factory=lambda: device(DEVICE))
    energy_j: float = 0.0

    @property
    def inputs(self) -> torch.Tensor:
        """Calibration images: all that a method may look at, with their labels, beside validation."""
        return self.splits.calibration.inputs

    @property
    def labels(self) -> torch.Tensor:
        return self.splits.calibration.labels

    def copied(self) -> nn.Module:
        """The author's module for a method that works in place."""
        return copy.deepcopy(self.module)

    def captured(self, network: nn.Module) -> Traced:
        return trace(network, self.graph.inputs, name=self.base.name)

    def share(self, network: nn.Module) -> float:
        """Energy of a cut network, captured and counted anew, as a share of the original's."""
        return joules(self.captured(network), self.spec) / self.energy_j

    def recalibrated(self, network: nn.Module) -> fx.GraphModule:
        """Captured, and batch norms set to the calibration images: what anyone does after a cut."""
        return recalibrated(self.captured(network).module, self.inputs)

    def judge(self, network: Callable[[torch.Tensor], torch.Tensor], quick: bool) -> float:
        """Validation accuracy of anything that maps images to logits."""
        part = self.splits.validation.take(0, QUICK if quick else None)
        with torch.no_grad():
            hits = torch.cat([network(images).argmax(-1) for images in torch.split(part.inputs, 500)])
        return float((hits == part.labels).float().mean())

    def quick_accuracy(self, network: nn.Module, count: int = QUICK) -> float:
        """Accuracy on the first validation images."""
        return evaluate(network, self.splits.validation.take(0, count)).accuracy


def joules(graph: Traced, spec: DeviceSpec) -> float:
    """Modelled joules of one inference."""
    return estimate(workload(graph), spec).total.value


def field_of(base: Base, seed: int, splits: Splits, network: nn.Module) -> Field:
    """Capture and recalibrate a trained network."""
    graph = trace(network, splits.calibration.inputs[:1], name=base.name)
    fresh = recalibrated(graph.module, splits.calibration.inputs)
    module = copy.deepcopy(network)
    module.load_state_dict(fresh.state_dict(), strict=False)
    again = trace(module, splits.calibration.inputs[:1], name=base.name)
    spec = device(DEVICE)
    return Field(base, seed, splits, module.eval(), again, graph.module, spec, joules(again, spec))
