"""What follows a cut: profiles, exports with their parity gate, the benchmark, and the quality."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from joulecut.benchmarks.compare import benchmark
from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.export import export_onnx, export_pt2
from joulecut.benchmarks.quality import Scores, evaluate, paired_difference, parameters
from joulecut.benchmarks.records import Comparison, LatencyReport
from joulecut.benchmarks.training import TrainingRun
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.profiling import provenance
from joulecut.jobs.result import PruneResult
from joulecut.pruning.budget import judge_budget
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.pricing import pricer
from joulecut.pruning.recipe import recipe
from joulecut.pruning.records import Budget, PruneRecord, Quality, QualityPair
from joulecut.pruning.run import Pruned
from joulecut.pruning.staircase import staircases
from joulecut.pruning.state import Progress
from joulecut.units import format_percent
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, trace

__all__ = ["Finish"]

_BENCH_SECONDS = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """Everything after the cut: profiles, export, benchmark, quality."""

    graph: Traced
    pruned: Pruned
    device: DeviceSpec
    others: tuple[DeviceSpec, ...]
    budget: Budget
    splits: Splits
    training: TrainingRun | None
    tuned: bool
    trained_s: float
    seed: int
    progress: Progress

    def result(self) -> PruneResult:
        """Put the result together."""
        after_graph = trace(self.pruned.module, self.graph.inputs, name=self.graph.name)
        before, after = self._profiles(after_graph)
        with tempfile.TemporaryDirectory(prefix="joulecut-") as name:
            files, comparison = self._exports(Path(name))
        quality = self._quality(before, after, files, comparison)
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
            met=judge_budget(self.budget, before.total, after.total),
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
        )
        made = recipe(
            self.graph.name,
            self.graph.module,
            device=self.device.name,
            budget=str(self.budget),
            seed=self.seed,
            groups=self.pruned.kept,
            indices=self.pruned.indices,
            inputs=self.graph.inputs,
        )
        return PruneResult(record, self.pruned.module, made, comparison, files)

    def _profiles(self, after_graph: Traced) -> tuple[EnergyProfile, EnergyProfile]:
        found = []
        for graph in (self.graph, after_graph):
            coupling = Coupling(graph.module)
            profile = estimate(workload(graph), self.device)
            steps = staircases(coupling, pricer(coupling, layer_works(graph), self.device))
            found.append(replace(profile, filters=steps, provenance={**profile.provenance, **provenance()}))
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
        self, before: EnergyProfile, after: EnergyProfile, files: Mapping[str, bytes], comparison: Comparison
    ) -> QualityPair:
        test = self.splits.test
        old, new = evaluate(self.graph.module, test), evaluate(self.pruned.module, test)
        change = paired_difference(old.correct, new.correct, seed=self.seed)
        split = f"test, {len(test)} samples"
        seconds = self.training.seconds if self.training else 0.0
        return QualityPair(
            before=_quality(
                old,
                split,
                self.graph.module,
                files["before.onnx"],
                self.trained_s,
                before,
                comparison.models[0],
            ),
            after=_quality(
                new, split, self.pruned.module, files["model.onnx"], seconds, after, comparison.models[1]
            ),
            accuracy_change=change.change,
            accuracy_change_lo=change.lo,
            accuracy_change_hi=change.hi,
        )

    def _also(self, after_graph: Traced) -> dict[str, tuple[Any, Any]]:
        works = (workload(self.graph), workload(after_graph))
        return {
            spec.name: (estimate(works[0], spec).total, estimate(works[1], spec).total)
            for spec in self.others
        }

    def _weights(self) -> str:
        """How the weights came about."""
        if self.training is None:
            return "no gradient step"
        if not self.tuned:
            return f"no gradient step: {self.training.steps} did not gain on validation and were dropped"
        return f"fine-tuned, {self.training.steps} gradient steps"

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


def _quality(
    scores: Scores,
    split: str,
    module: torch.nn.Module,
    file: bytes,
    training_s: float,
    profile: EnergyProfile,
    latency: LatencyReport,
) -> Quality:
    return Quality(
        accuracy=scores.accuracy,
        accuracy_lo=scores.accuracy_lo,
        accuracy_hi=scores.accuracy_hi,
        macro_f1=scores.macro_f1,
        split=split,
        size_bytes=len(file),
        parameters=parameters(module),
        training_s=training_s,
        inference_energy=profile.total,
        latency=latency.p50_s,
    )
