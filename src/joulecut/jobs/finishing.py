"""What follows a cut: profiles, exports with their parity gate, the benchmark, and the quality."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from joulecut.benchmarks.compare import benchmark
from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.export import export_onnx, export_pt2
from joulecut.benchmarks.quality import evaluate
from joulecut.benchmarks.records import Comparison
from joulecut.estimate import Estimate, exact
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.limits import accuracy_check
from joulecut.jobs.profiling import provenance
from joulecut.jobs.qualities import Side, quality_pair
from joulecut.jobs.result import PruneResult
from joulecut.pruning.budget import all_of
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.memory import peak_memory
from joulecut.pruning.pricing import pricer
from joulecut.pruning.quality_records import QualityPair, TrainingCost
from joulecut.pruning.recipe import recipe
from joulecut.pruning.records import Budget, LimitCheck, PruneRecord
from joulecut.pruning.run import Pruned
from joulecut.pruning.staircase import staircases
from joulecut.pruning.state import Progress
from joulecut.units import format_percent
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, trace

__all__ = ["Finish"]

_BENCH_SECONDS = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class _Priced:
    """A network on the device: its profile, and the most bytes that one inference needs at once."""

    profile: EnergyProfile
    memory_peak: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """Everything after the cut: profiles, export, benchmark, quality.

    Attributes:
        graph: the original.
        pruned: what is left of it, with the weights that it keeps.
        device: prices both.
        others: further devices whose joules are reported beside.
        budget: what was asked for.
        splits: the data; ``test`` is looked at here, once.
        original: what training the original took, as far as known.
        training: what was trained after the cut, kept or not.
        seed: of the run.
        progress: who is told.
        notes: what a reader should know.
    """

    graph: Traced
    pruned: Pruned
    device: DeviceSpec
    others: tuple[DeviceSpec, ...]
    budget: Budget
    splits: Splits
    original: tuple[TrainingCost, ...]
    training: tuple[TrainingCost, ...]
    seed: int
    progress: Progress
    notes: tuple[str, ...] = ()

    def result(self) -> PruneResult:
        """Put the result together."""
        after_graph = trace(self.pruned.module, self.graph.inputs, name=self.graph.name)
        old, new = self._priced(after_graph)
        before, after = old.profile, new.profile
        with tempfile.TemporaryDirectory(prefix="joulecut-") as name:
            files, comparison = self._exports(Path(name))
        quality = self._quality(old, new, files, comparison)
        limits = self._limits()
        pair = comparison.pairs[0]
        low, high = pair.ratio.bounds(0.9)
        busy = ", on a busy machine" if pair.contended else ""
        sentence = (
            f"{pair.verdict}: {pair.ratio.value:.3f} [{low:.3f} to {high:.3f}] of the time before in "
            f"onnxruntime, {pair.cpu_ratio.value:.3f} of the CPU time{busy}"
        )
        record = PruneRecord(
            model=self.graph.name,
            device=self.device.name,
            met=all_of(check.met for check in limits),
            budget=self.budget,
            before=before,
            after=after,
            steps=self.pruned.steps,
            refused=self.pruned.refused,
            kept={name: (len(kept), self.pruned.sizes[name]) for name, kept in self.pruned.kept.items()},
            rows=self.pruned.rows,
            quality=quality,
            comparison=sentence,
            also=self._also(after_graph),
            provenance=self._provenance(),
            notes=self.notes,
            limits=limits,
        )
        made = recipe(
            self.graph.name,
            self.graph.module,
            device=self.device.name,
            budget=str(self.budget),
            seed=self.seed,
            groups=self.pruned.kept,
            indices=self.pruned.indices,
            blocks=self.pruned.blocks,
            inputs=self.graph.inputs,
        )
        return PruneResult(record, self.pruned.module, made, comparison, files)

    def _priced(self, after_graph: Traced) -> tuple[_Priced, _Priced]:
        found = []
        for graph, zeros in ((self.graph, {}), (after_graph, self.pruned.zeros)):
            coupling = Coupling(graph.module)
            prices = pricer(coupling, layer_works(graph), self.device)
            profile = estimate(workload(graph), self.device, zeros=zeros)
            steps = staircases(coupling, prices)
            peak = peak_memory(coupling, prices.layers, self.device).at(prices.sizes)
            found.append(
                _Priced(
                    replace(profile, filters=steps, provenance={**profile.provenance, **provenance()}),
                    exact(peak, "B", "modelled", "activations alive at once, and weights that lie beside"),
                )
            )
        return found[0], found[1]

    def _exports(self, folder: Path) -> tuple[dict[str, bytes], Comparison]:
        from safetensors.torch import save

        inputs = self.graph.inputs
        for i, (name, module) in enumerate(
            (("before.onnx", self.graph.module), ("model.onnx", self.pruned.module))
        ):
            self.progress("exporting", i, 3)
            export_onnx(module, inputs, folder / name)
        self.progress("exporting", 2, 3)
        export_pt2(self.pruned.module, inputs, folder / "model.pt2")
        self.progress("exporting", 3, 3)
        comparison = benchmark(
            [folder / "before.onnx", folder / "model.onnx"],
            max_seconds=_BENCH_SECONDS,
            progress=lambda share: self.progress("benchmarking in onnxruntime", round(100 * share), 100),
        )
        named = tuple(replace(model, file=Path(model.file).name) for model in comparison.models)
        pairs = tuple(replace(pair, a=Path(pair.a).name, b=Path(pair.b).name) for pair in comparison.pairs)
        files = {name: (folder / name).read_bytes() for name in ("before.onnx", "model.onnx", "model.pt2")}
        state = {name: tensor.contiguous() for name, tensor in self.pruned.module.state_dict().items()}
        files["weights.safetensors"] = save(state)
        return files, replace(comparison, models=named, pairs=pairs)

    def _quality(
        self, old: _Priced, new: _Priced, files: dict[str, bytes], comparison: Comparison
    ) -> QualityPair:
        sides = [
            Side(
                module,
                len(files[name]),
                priced.profile.total,
                latency.p50_s,
                priced.memory_peak,
                training,
            )
            for module, name, priced, latency, training in zip(
                (self.graph.module, self.pruned.module),
                ("before.onnx", "model.onnx"),
                (old, new),
                comparison.models,
                (self.original, self.training),
                strict=True,
            )
        ]
        pair = comparison.pairs[0]
        decides = pair.cpu_ratio if pair.contended else pair.ratio
        return quality_pair(sides[0], sides[1], self.splits.test, latency_ratio=decides, seed=self.seed)

    def _limits(self) -> tuple[LimitCheck, ...]:
        """Each limit as the search saw it, and the lowest accuracy on all validation samples."""
        least = self.budget.min_accuracy
        if least is None:
            return self.pruned.limits
        validation = self.splits.validation
        accuracy = evaluate(self.pruned.module, validation).accuracy
        return (*self.pruned.limits, accuracy_check(least, accuracy, len(validation)))

    def _also(self, after_graph: Traced) -> dict[str, tuple[Any, Any]]:
        works = (workload(self.graph), workload(after_graph))
        return {
            spec.name: (estimate(works[0], spec).total, estimate(works[1], spec).total)
            for spec in self.others
        }

    def _weights(self) -> str:
        """How the weights came about."""
        steps = [one.steps for one in self.training]
        count = "an unknown number of" if None in steps else str(sum(step or 0 for step in steps))
        if not self.training:
            return "no gradient step"
        if not any(one.kept for one in self.training):
            return f"no gradient step: {count} did not gain on validation and were dropped"
        return f"fine-tuned, {count} gradient steps"

    def _provenance(self) -> dict[str, str]:
        data = self.splits
        counts = (
            f"{len(data.calibration)} calibration, {len(data.validation)} validation, {len(data.test)} test"
        )
        return {
            **provenance(),
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "data": f"{data.test.name}: {counts}",
            "seed": str(self.seed),
            "search": f"{sum(step.duration_s for step in self.pruned.steps):.1f} s",
            "channel step": str(self.device.channel_step),
            "confidence": format_percent(self.budget.confidence, 0),
            "weights": self._weights(),
        }
