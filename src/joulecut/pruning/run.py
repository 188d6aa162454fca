"""One pruning run from a captured network to a smaller one that meets its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx

from joulecut.errors import BudgetUnreachable, UsageError
from joulecut.estimate import Estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.budget import allowed_j, judge_budget
from joulecut.pruning.coupling.cut import check_runs
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import FoldedNorm, fold, set_parameter, unfold
from joulecut.pruning.greedy import Search, SearchSettings, Step, chunk
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.pruning.records import Budget, PruneStep, Refusal
from joulecut.pruning.recover import matched_moments, output_moments, recalibrated
from joulecut.pruning.refit import RefitSettings, Teacher, refit, teach
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import Traced

__all__ = ["Judge", "Progress", "Pruned", "Samples", "prune_channels"]

Judge = Callable[[Callable[[Tensor], Tensor], bool], float]
"""Validation accuracy (0 to 1) of anything that maps a batch of inputs to logits; a quick answer, from a part
of the samples, is enough where the second argument is true."""

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``."""

_SMALLEST_CALIBRATION = 64
_SEARCH_SAMPLES = 1024
_FINAL_SAMPLES = 4096
_CACHE_BYTES = 2 << 30
"""Most memory for the activations that a search step keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Calibration data: inputs [n, ...] and, where known, their classes [n]."""

    inputs: Tensor
    labels: Tensor | None

    def first(self, count: int) -> Samples:
        """The first ``count`` samples."""
        return Samples(self.inputs[:count], None if self.labels is None else self.labels[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """What a run gives.

    Attributes:
        module: the smaller network, its batch norms in place, parameters under the author's names.
        kept: living channels (original indices) by group.
        sizes: original width by group.
        indices: kept indices by parameter name and dimension.
        steps: what was removed, in order, and what else was at hand.
        refused: channels that had to stay.
        rows: validation accuracy by stage.
    """

    module: fx.GraphModule
    kept: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    indices: dict[str, dict[int, list[int]]]
    steps: tuple[PruneStep, ...]
    refused: tuple[Refusal, ...]
    rows: tuple[tuple[str, float], ...]


@dataclass(slots=True, eq=False)
class _Run:
    """State of a run."""

    device: DeviceSpec
    budget: Budget
    calibration: Samples
    judge: Judge | None
    progress: Progress
    settings: SearchSettings
    coupling: Coupling
    folded: Network
    pairs: tuple[FoldedNorm, ...]
    pricer: Pricer
    rows: list[tuple[str, float]] = field(default_factory=list)
    steps: list[PruneStep] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)

    @property
    def before(self) -> Estimate:
        """The original's energy."""
        return self.pricer.total(self.pricer.sizes)

    def note(self, stage: str, network: Callable[[Tensor], Tensor]) -> None:
        """Book the validation accuracy of a stage."""
        if self.judge is not None:
            self.rows.append((stage, self.judge(network, False)))


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def prune_channels(
    traced: Traced,
    works: dict[str, LayerWork],
    *,
    device: DeviceSpec,
    budget: Budget,
    calibration: Samples,
    judge: Judge | None = None,
    force: bool = False,
    progress: Progress = silent,
    settings: SearchSettings | None = None,
) -> Pruned:
    """Remove channels until a network meets its budget.

    The batch norms are recalibrated first, so that no later gain is theirs. Then, step by step, the group
    with the least true loss per joule loses one device step of channels, and the rest is refitted in closed
    form. No gradient step is taken, and labels only choose: no weight is fitted to them.

    Args:
        traced: the network.
        works: its counted work by node (``workload.from_torch.layer_works``).
        device: prices joules and sets the channel step.
        budget: joules or a share, with an optional lowest validation accuracy.
        calibration: samples for statistics, refits and the loss that chooses.
        judge: validation accuracy, for the report, the guard and the choice between final variants.
        force: go on with fewer than 64 calibration samples.
        progress: called with stage, done and total.
        settings: of the search.

    Raises:
        UsageError: too few samples, or a lowest accuracy without labelled validation data.
        BudgetUnreachable: with the best point found.
    """
    _check_samples(calibration, budget, judge, force)
    run = _prepare(traced, works, device, budget, calibration, judge, progress, settings or SearchSettings())
    _check_reachable(run)
    searched = _search(run)
    final = _finish(run, searched)
    module = _unfolded(run, final, traced)
    run.note("pruned", module)
    _check_accuracy(run, final)
    return Pruned(
        module=module,
        kept=dict(final.kept),
        sizes=dict(run.pricer.sizes),
        indices=run.coupling.indices(final.kept),
        steps=tuple(run.steps),
        refused=run.coupling.refused(),
        rows=tuple(run.rows),
    )


def _check_samples(calibration: Samples, budget: Budget, judge: Judge | None, force: bool) -> None:
    count = len(calibration.inputs)
    if count < _SMALLEST_CALIBRATION and not force:
        raise UsageError(
            f"{count} calibration samples are too few to refit a network ({_SMALLEST_CALIBRATION} at least).",
            hint="Give more data, or --force to go on regardless.",
        )
    if budget.min_accuracy is not None and judge is None:
        raise UsageError("a lowest accuracy needs labelled validation data.", hint="Give --data with labels.")


def _prepare(
    traced: Traced,
    works: dict[str, LayerWork],
    device: DeviceSpec,
    budget: Budget,
    calibration: Samples,
    judge: Judge | None,
    progress: Progress,
    settings: SearchSettings,
) -> _Run:
    progress("recalibrating batch norms", 0, 1)
    module = recalibrated(traced.module, calibration.first(_FINAL_SAMPLES).inputs)
    coupling = Coupling(module)
    if not coupling.groups():
        reason = coupling.refused()[0].reason if coupling.refused() else "no layer writes channels"
        raise UsageError(f"{traced.name} has no channel that can be removed: {reason}.")
    folded_module, pairs = fold(module)
    folded = Network.whole(Coupling(folded_module))
    run = _Run(
        device,
        budget,
        calibration,
        judge,
        progress,
        settings,
        coupling,
        folded,
        pairs,
        pricer(coupling, works, device),
    )
    with torch.no_grad():
        run.note("as trained", traced.module)
        run.note("batch norm recalibrated", folded)
    return run


def _smallest(run: _Run) -> dict[str, int]:
    """The narrowest widths: one device step in each group."""
    widths = {}
    for name, size in run.pricer.sizes.items():
        while taken := chunk(size, run.device.channel_step):
            size -= taken
        widths[name] = size
    return widths


def _check_reachable(run: _Run) -> None:
    best = run.pricer.total(_smallest(run))
    if judge_budget(run.budget, run.before, best) == "yes":
        return
    raise BudgetUnreachable(
        f"a budget of {run.budget} is out of reach on {run.device.name}: "
        f"even at the narrowest widths the network takes {best}, down from {run.before}.",
        best=best,
        hint="Raise the budget, or choose a smaller network.",
    )


def _widths(network: Network) -> dict[str, int]:
    return {name: len(kept) for name, kept in network.kept.items()}


def _search(run: _Run) -> Network:
    """Remove channels until the budget is met; the guard may take back steps and ban their groups."""
    samples = run.calibration.first(_sample_count(run))
    teacher = teach(run.folded, samples.inputs, run.settings.refit)
    reference = run.folded(samples.inputs)
    search = Search(teacher, samples.labels, reference, run.pricer, run.device.channel_step, run.settings)
    network = run.folded
    before = run.before

    def allowed(current: Network) -> float:
        return allowed_j(run.budget, before, run.pricer.total(_widths(current)))

    while True:
        rejected = False
        for step in search.steps(network, allowed, run.banned.__contains__, len(run.steps)):
            accuracy = run.judge(step.network, True) if run.judge is not None else None
            floor = run.budget.min_accuracy
            if floor is not None and accuracy is not None and accuracy < floor:
                improved = refit(step.network, teacher, run.settings.refit)
                accuracy = run.judge(improved, True) if run.judge is not None else accuracy
                if accuracy < floor:
                    run.banned.add(step.candidates[0].group)
                    rejected = True
                    break
                step = replace(step, network=improved)
            network = step.network
            _book(run, step, before, accuracy)
        if rejected:
            continue
        if judge_budget(run.budget, before, run.pricer.total(_widths(network))) == "yes":
            return network
        raise _stuck(run, network)


def _sample_count(run: _Run) -> int:
    """Samples for the search: as many as fit the cache of activations."""
    values = [n.meta.get("val") for n in run.folded.coupling.module.graph.nodes if n.op == "call_function"]
    per_sample = sum(value.numel() * 4 for value in values if isinstance(value, Tensor))
    return max(_SMALLEST_CALIBRATION, min(_SEARCH_SAMPLES, _CACHE_BYTES // max(per_sample, 1)))


def _check_accuracy(run: _Run, network: Network) -> None:
    """The guard on all validation samples: the search asked only some of them."""
    floor = run.budget.min_accuracy
    if floor is not None and run.rows[-1][1] < floor:
        raise _stuck(run, network)


def _final_samples(run: _Run) -> Samples:
    """Samples for the last refit: four times those of the search."""
    return run.calibration.first(_FINAL_SAMPLES // _SEARCH_SAMPLES * _sample_count(run))


def _book(run: _Run, step: Step, before: Estimate, accuracy: float | None) -> None:
    total = run.pricer.total(_widths(step.network))
    taken, *others = step.candidates
    run.steps.append(
        PruneStep(
            index=len(run.steps),
            taken=taken,
            runners_up=tuple(others[:3]),
            reason=step.reason,
            total=total,
            share=total.value / before.value,
            calibration_loss=step.loss,
            accuracy=accuracy,
            duration_s=step.duration_s,
        )
    )
    target = allowed_j(run.budget, before, total)
    done = (before.value - total.value) / max(before.value - target, 1e-30)
    run.progress("pruning", min(round(100 * done), 100), 100)


def _stuck(run: _Run, network: Network) -> BudgetUnreachable:
    total = run.pricer.total(_widths(network))
    floor = run.budget.min_accuracy
    without = f" without falling below {floor:.1%} validation accuracy" if floor is not None else ""
    return BudgetUnreachable(
        f"a budget of {run.budget} cannot be met on {run.device.name}{without}: "
        f"the best point found takes {total}, {total.value / run.before.value:.1%} of the original.",
        best=total,
        hint="Allow a lower accuracy or a larger budget.",
    )


def _finish(run: _Run, network: Network) -> Network:
    """The last refit on more samples, as is or with moments matched: validation chooses."""
    run.progress("refitting", 0, 1)
    samples = _final_samples(run)
    settings = RefitSettings(rows=30_000, ridge=run.settings.refit.ridge, passes=4)
    teacher: Teacher = teach(run.folded, samples.inputs, settings)
    plain = refit(network, teacher, settings)
    variants = {"refit": plain}
    if run.pairs:
        original = output_moments(run.folded, samples.inputs, frozenset(pair.layer for pair in run.pairs))
        variants["refit, moments matched"] = matched_moments(plain, samples.inputs, run.pairs, original)
    if run.judge is None:
        return plain
    scores = {name: run.judge(variant, False) for name, variant in variants.items()}
    run.rows.extend(scores.items())
    return variants[max(scores, key=lambda name: scores[name])]


def _unfolded(run: _Run, network: Network, traced: Traced) -> fx.GraphModule:
    """The searched weights in the cut network, batch norms restored."""
    module = run.coupling.apply(network.kept)
    samples = _final_samples(run)
    moments = output_moments(network, samples.inputs, frozenset(pair.layer for pair in run.pairs))
    folded_names = {name for pair in run.pairs for name in (pair.weight, pair.bias)}
    own = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, tensor in network.weights.items():
        if name in own and name not in folded_names:
            set_parameter(module, name, tensor.contiguous())
    for pair in run.pairs:
        weight, bias = (network.weights[name].contiguous() for name in (pair.weight, pair.bias))
        unfold(module, pair, weight, bias, *moments[pair.layer])
    inputs = traced.inputs
    with torch.no_grad():
        expected = tuple(_first(traced.module(*inputs)).shape)
    check_runs(module, inputs, expected)
    return module


def _first(out: object) -> Tensor:
    first = out[0] if isinstance(out, (tuple, list)) else out
    assert isinstance(first, Tensor)
    return first
