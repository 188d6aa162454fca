"""The pruning job: cut to a budget, exported, benchmarked, judged, and saved as a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from joulecut.benchmarks.compare import benchmark
from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.data.source import from_loader, load_data
from joulecut.benchmarks.export import export_onnx, export_pt2
from joulecut.benchmarks.quality import (
    Scores,
    check_scorable,
    evaluate,
    paired_difference,
    parameters,
    predictions,
)
from joulecut.benchmarks.records import Comparison, LatencyReport
from joulecut.benchmarks.training import TrainingRun, finetune
from joulecut.codec import to_json
from joulecut.errors import ModelError, UsageError
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.folder import write_folder
from joulecut.jobs.profiling import provenance, resolve_device
from joulecut.jobs.source import loaded, traced
from joulecut.pruning.budget import check, judge_budget, parse_budget
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.pricing import pricer
from joulecut.pruning.recipe import Recipe, recipe
from joulecut.pruning.records import Budget, PruneRecord, PruneStep, Quality, QualityPair, Refusal
from joulecut.pruning.run import Judge, Progress, Pruned, Samples, prune_channels, silent
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.staircase import staircases
from joulecut.units import format_percent
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, trace

__all__ = ["PruneResult", "prune"]

_QUICK = 2_000
_FINETUNE_LR = 0.02
_BENCH_SECONDS = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PruneResult:
    """A finished pruning run.

    Attributes:
        record: everything that is known of it.
        model: the smaller network, a plain torch module that needs no joulecut.
        recipe: what was kept.
        comparison: the onnxruntime benchmark of before and after.
        files: contents of the result folder by file name.
    """

    record: PruneRecord
    model: fx.GraphModule
    recipe: Recipe
    comparison: Comparison
    files: Mapping[str, bytes]

    @property
    def steps(self) -> tuple[PruneStep, ...]:
        """What was removed, in order."""
        return self.record.steps

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Channels that had to stay, with the reasons."""
        return self.record.refused

    def save(self, folder: str | Path) -> None:
        """Write the result folder, all of it or nothing.

        It holds ``result.json``, ``recipe.json``, ``bench.json``, ``weights.safetensors``, ``model.pt2``,
        ``model.onnx``, ``before.onnx`` and ``report.html``. Nothing in it is a pickle.

        Raises:
            OutputError: the folder cannot be written.
        """
        from joulecut.reports.html import render

        texts = {
            "result.json": to_json(self.record),
            "recipe.json": to_json(self.recipe),
            "bench.json": to_json(self.comparison),
            "report.html": render(self.record),
        }
        write_folder(Path(folder), {**self.files, **{name: text.encode() for name, text in texts.items()}})


def prune(
    model: Any,
    example: Any = None,
    *,
    budget: str | Budget,
    device: str | DeviceSpec,
    data: Any,
    min_accuracy: float | None = None,
    confidence: float = 0.9,
    finetune_epochs: int = 0,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    also: tuple[str, ...] = (),
    trained_s: float = 0.0,
    settings: SearchSettings | None = None,
) -> PruneResult:
    """Cut a network to a budget in joules, and check what is left.

    Args:
        model: a torch module, or its name as on the command line.
        example: example inputs or their shapes; a sample of the data by default.
        budget: joules per inference (``"12 mJ"``) or a share of the original (``"50%"``).
        device: the device that prices.
        data: a DataLoader, a pair (x, y), or the name of data as on the command line.
        min_accuracy: lowest validation accuracy allowed, 0 to 1.
        confidence: of the bound that must meet a budget given as text, 0.5 or 0.9; a record has its own.
        finetune_epochs: epochs of training on the result; kept only where validation gains by it.
        seed: of everything random.
        force: go on with fewer than 64 calibration samples.
        progress: ``progress(stage, done, total)``.
        also: further devices whose joules are reported beside.
        trained_s: seconds that training the original took, where they are known.
        settings: of the search.

    Raises:
        UsageError: bad input.
        BudgetUnreachable: with the best point found.
        ModelError: the network cannot be captured or exported.
    """
    spec = resolve_device(device)
    others = tuple(resolve_device(name) for name in also)
    limit = _budget(budget, min_accuracy, confidence)
    network = loaded(model)
    splits = load_data(data) if isinstance(data, str) else from_loader(data)
    graph = _first_sample(traced(network, example, splits.calibration.inputs[:1]))
    _check_fits(graph, splits)
    report = progress or silent
    works = layer_works(graph)
    try:
        pruned = prune_channels(
            graph,
            works,
            device=spec,
            budget=limit,
            calibration=Samples(splits.calibration.inputs, splits.calibration.labels),
            judge=_judge(splits.validation),
            force=force,
            progress=report,
            settings=settings or SearchSettings(seed=seed),
        )
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # public, and not in __all__
        raise ModelError(
            f"the layers of {graph.name} cannot be re-solved on {splits.calibration.name}.",
            hint="Check the scale of the inputs: float32 has overflowed.",
        ) from error
    pruned, training = _finetuned(pruned, splits, finetune_epochs, seed, report)
    finish = _Finish(graph, pruned, spec, others, limit, splits, training, trained_s, seed, report)
    return finish.result()


def _budget(budget: str | Budget, min_accuracy: float | None, confidence: float) -> Budget:
    if isinstance(budget, Budget):
        return check(budget if min_accuracy is None else replace(budget, min_accuracy=min_accuracy))
    return parse_budget(budget, min_accuracy=min_accuracy, confidence=confidence)


def _first_sample(graph: Traced) -> Traced:
    """Prices are those of one sample."""
    if graph.batch == 1:
        return graph
    return trace(graph.module, tuple(t[:1] for t in graph.inputs), name=graph.name)


def _check_fits(graph: Traced, splits: Splits) -> None:
    """The network takes the data's samples, tells their classes apart and can be scored on them."""
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


def _judge(validation: Dataset) -> Judge:
    def judge(network: Callable[[Tensor], Tensor], quick: bool) -> float:
        part = validation.take(0, _QUICK) if quick else validation
        with torch.no_grad():
            hits = [network(x).argmax(-1) for x in torch.split(part.inputs, 500)]
        return float((torch.cat(hits) == part.labels).float().mean())

    return judge


def _finetuned(
    pruned: Pruned, splits: Splits, epochs: int, seed: int, progress: Progress
) -> tuple[Pruned, TrainingRun | None]:
    """Train the result where asked; the weights before stay where validation does not gain."""
    if not epochs:
        return pruned, None
    if splits.train is None:
        raise UsageError("there are no training data to fine-tune on.", hint="Leave --finetune out.")
    from joulecut.pruning.coupling.cut import copied

    candidate = copied(pruned.module)
    training = finetune(
        candidate,
        splits.train,
        epochs=epochs,
        lr=_FINETUNE_LR,
        seed=seed,
        progress=lambda done, total: progress("fine-tuning", done, total),
    )
    judge = _judge(splits.validation)
    after = judge(candidate, False)
    row = (f"fine-tuned for {epochs} epochs", after)
    better = after >= judge(pruned.module, False)
    module = candidate if better else pruned.module
    return replace(pruned, module=module, rows=(*pruned.rows, row)), training


@dataclass(frozen=True, slots=True, eq=False)
class _Finish:
    """Everything after the cut: profiles, export, benchmark, quality."""

    graph: Traced
    pruned: Pruned
    device: DeviceSpec
    others: tuple[DeviceSpec, ...]
    budget: Budget
    splits: Splits
    training: TrainingRun | None
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
            "weights": "no gradient step"
            if self.training is None
            else f"fine-tuned, {self.training.steps} gradient steps",
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
