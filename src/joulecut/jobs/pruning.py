"""The pruning job: cut to a budget, exported, benchmarked, judged, and saved as a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.data.source import from_loader, load_data
from joulecut.errors import BudgetUnreachable, ModelError, TraceError, UsageError
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.finishing import Finish
from joulecut.jobs.judging import Evaluation, check_fits, chosen_judge
from joulecut.jobs.metering import chosen_meters
from joulecut.jobs.profiling import resolve_device
from joulecut.jobs.recovering import Recovery, chosen_recovery, recovered
from joulecut.jobs.result import PruneResult
from joulecut.jobs.source import loaded, traced
from joulecut.pruning.budget import check, parse_budget
from joulecut.pruning.measured import Meters
from joulecut.pruning.quality_records import TrainingCost
from joulecut.pruning.rankings import Ranking, WeightScore
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Judge, Progress, Pruned, Samples, prune_network, silent
from joulecut.pruning.settings import Effort, SearchSettings, Strategy, search_settings
from joulecut.pruning.weights.prices import declared_patterns
from joulecut.workload.from_torch import layer_works
from joulecut.workload.sources import LoadedModel
from joulecut.workload.trace import Traced, trace

__all__ = ["PruneResult", "prune"]


def prune(
    model: Any,
    example: Any = None,
    *,
    budget: str | Budget | None = None,
    device: str | DeviceSpec,
    data: Any,
    latency: str | None = None,
    memory: str | None = None,
    sensor: str | None = None,
    min_accuracy: float | None = None,
    confidence: float = 0.9,
    strategy: Strategy = "channels",
    layer: str = "",
    effort: Effort = "full",
    ranking: str | Ranking | WeightScore = "",
    fit_labels: bool = False,
    finetune_epochs: int = 0,
    recovery: Recovery | str | None = None,
    evaluation: Evaluation | str | None = None,
    seed: int = 0,
    force: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    also: tuple[str, ...] = (),
    trained: TrainingCost | None = None,
    settings: SearchSettings | None = None,
) -> PruneResult:
    """Cut a network to a budget in joules, and check what is left.

    Args:
        model: a torch module, or its name as on the command line.
        example: example inputs or their shapes; a sample of the data by default.
        budget: joules per inference (``"12 mJ"``) or a share of the original (``"50%"``); a record for more
            (joules of a training step, say). None where ``latency`` or ``memory`` is the budget.
        device: the device that prices.
        latency: the longest that one inference may take on the device, as ``"5 ms"``.
        memory: the most memory that one inference may need at once, as ``"256 kB"``.
        sensor: measures the joules of this machine (``rapl``, ``nvml``, ``auto`` ...), which then decide, the
            model being the guide; None: they are modelled. A latency that the device's file does not tell is
            measured in onnxruntime here in any case.
        data: a DataLoader, a pair (x, y), or the name of data as on the command line.
        min_accuracy: lowest validation accuracy allowed, 0 to 1.
        confidence: of the bound that must meet a budget given as text, 0.5 or 0.9; a record has its own.
        strategy: what may go: ``channels``, ``nodes``, ``blocks`` (and layers), ``weights`` or ``auto``, all.
        layer: only the channels, nodes or weights of this layer; "" for all.
        effort: ``full``, or ``quick``: along a ranking, in seconds.
        ranking: what ranks the channels, by name or as a function of the weights that write them
            (``pruning.rankings``); the search's own by default.
        fit_labels: the last layer may be solved on the calibration samples' labels, in rows of its own; no
            other weight ever is.
        finetune_epochs: epochs of training on the result; kept only where validation gains by it.
        recovery: a loop of your own in its place (``jobs.recovering.Recovery``), or its name.
        evaluation: judges networks on the way, in place of validation accuracy (``jobs.judging.Evaluation``).
        seed: of everything random.
        force: go on with fewer than 64 calibration samples.
        checkpoint: a file that holds the state of the search after every step; it stays when the run ends.
        resume: go on from that file.
        progress: ``progress(stage, done, total)``.
        also: further devices whose joules are reported beside.
        trained: what training the original took, where that is known.
        settings: of the search, in place of ``strategy`` to ``ranking`` and ``seed``.

    Raises:
        UsageError: bad input.
        BudgetUnreachable: with the best point found; its ``result`` is a ``PruneResult`` where something was
            cut (nothing is trained then).
        ModelError: the network cannot be captured or exported.
        SensorMissing, SensorDenied: no sensor of that name can be read.
    """
    spec = resolve_device(device)
    others = tuple(resolve_device(name) for name in also)
    limit = _budget(budget, min_accuracy, confidence, latency, memory)
    network = loaded(model)
    splits = load_data(data) if isinstance(data, str) else from_loader(data)
    graph = _first_sample(_traced(network, example, splits.calibration))
    check_fits(graph, splits)
    report = progress or silent
    chosen = chosen_recovery(finetune_epochs, recovery, seed=seed, progress=report)
    if chosen is not None and splits.train is None:
        raise UsageError("there are no training data to fine-tune on.", hint="Leave --finetune out.")
    search = settings or search_settings(
        effort, seed=seed, strategy=strategy, layer=layer, ranking=ranking, fit_labels=fit_labels
    )
    if sensor is not None and search.strategy in ("weights", "auto") and declared_patterns(spec):
        raise UsageError(
            f"zero weights save joules on {spec.name}, and the sensor measures networks without them.",
            hint="Leave --sensor out, or cut channels, nodes or blocks.",
        )
    kept = None if checkpoint is None else Path(checkpoint)
    judge = chosen_judge(evaluation, splits.validation)
    original = () if trained is None else (trained,)
    notes: tuple[str, ...] = ()
    if search.strategy == "auto" and not declared_patterns(spec):
        notes = (f"Zero weights save 0 J on {spec.name}, whose file declares nothing that skips them.",)

    def finished(
        pruned: Pruned, notes: tuple[str, ...], training: tuple[TrainingCost, ...] = ()
    ) -> PruneResult:
        return Finish(
            graph, pruned, spec, others, limit, splits, original, training, seed, report, notes
        ).result()

    try:
        with _kept(kept), chosen_meters(limit, spec, graph.inputs, sensor) as meters:
            pruned = _cut(graph, spec, limit, splits, judge, force, report, search, kept, resume, meters)
    except BudgetUnreachable as error:
        if isinstance(error.result, Pruned):
            error.result = finished(error.result, notes)
        raise
    training: tuple[TrainingCost, ...] = ()
    if chosen is not None:
        stage, loop = chosen
        with _kept(kept):
            found = recovered(
                pruned.module, loop, splits, graph.inputs, stage=stage, sparse=pruned.zeros, seed=seed
            )
        pruned = replace(pruned, module=found.module, rows=(*pruned.rows, found.row))
        training, notes = (found.cost,), (*notes, found.note)
    return finished(pruned, notes, training)


@contextmanager
def _kept(checkpoint: Path | None) -> Iterator[None]:
    """Say of bad input that is found on the way that the steps before it are not lost."""
    try:
        yield
    except UsageError as error:
        if checkpoint is None or not checkpoint.is_file():
            raise
        hint = f"{error.hint} The steps taken are kept: go on with --resume.".strip()
        raise UsageError(error.message, hint=hint) from error


def _cut(
    graph: Traced,
    device: DeviceSpec,
    budget: Budget,
    splits: Splits,
    judge: Judge,
    force: bool,
    progress: Progress,
    settings: SearchSettings,
    checkpoint: Path | None,
    resume: bool,
    meters: Meters | None,
) -> Pruned:
    try:
        return prune_network(
            graph,
            layer_works(graph),
            device=device,
            budget=budget,
            calibration=Samples(splits.calibration.inputs, splits.calibration.labels),
            judge=judge,
            force=force,
            progress=progress,
            settings=settings,
            checkpoint=checkpoint,
            resume=resume,
            meters=meters,
        )
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # public, and not in __all__
        raise ModelError(
            f"the layers of {graph.name} cannot be re-solved on {splits.calibration.name}.",
            hint="Check the scale of the inputs: float32 has overflowed.",
        ) from error


def _budget(
    budget: str | Budget | None,
    min_accuracy: float | None,
    confidence: float,
    latency: str | None,
    memory: str | None,
) -> Budget:
    if not isinstance(budget, Budget):
        return parse_budget(
            budget, min_accuracy=min_accuracy, confidence=confidence, latency=latency, memory=memory
        )
    if latency is not None or memory is not None:
        raise UsageError("a budget that is a record holds all its limits:", hint="write the others into it.")
    return check(budget if min_accuracy is None else replace(budget, min_accuracy=min_accuracy))


def _traced(network: LoadedModel, example: Any, data: Dataset) -> Traced:
    """Capture the network, for a sample of the data where the user gives no example."""
    try:
        return traced(network, example, data.inputs[:1])
    except TraceError as error:
        if example is not None:
            raise
        shape = list(data.inputs.shape[1:])
        where = f"The example was a sample of {data.name}, of shape {shape}."
        raise TraceError(error.message, hint=f"{error.hint} {where}".strip()) from error


def _first_sample(graph: Traced) -> Traced:
    """Prices are those of one sample."""
    if graph.batch == 1:
        return graph
    return trace(graph.module, tuple(t[:1] for t in graph.inputs), name=graph.name)
