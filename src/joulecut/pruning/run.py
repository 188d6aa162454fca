"""One pruning run from a captured network to a smaller one that meets its budget."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, fx

from joulecut.errors import BudgetUnreachable, UsageError
from joulecut.hw_models.sparsity import Zeros
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.candidates.sources import narrowest
from joulecut.pruning.checkpoint import Checkpoint, identity
from joulecut.pruning.coupling.cut import check_runs, copied
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.descend import descend
from joulecut.pruning.folding import fold, set_parameter, unfold
from joulecut.pruning.measured import Meters, cut_module
from joulecut.pruning.network import Network
from joulecut.pruning.ranked import quick
from joulecut.pruning.rankings import find_ranking
from joulecut.pruning.readout import label_readout, readout_layer, soft_readout
from joulecut.pruning.records import Budget, LimitCheck, PruneStep, Refusal
from joulecut.pruning.recover import (
    batch_statistics,
    matched_moments,
    moments_and_output,
    output_moments,
)
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.scales import even_scales
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.staged import is_large, staged
from joulecut.pruning.state import Judge, Progress, Run, Samples, samples_that_fit, silent, stuck
from joulecut.pruning.training_step import budget_pricer
from joulecut.pruning.weights.options import refit_with_zeros
from joulecut.pruning.weights.prices import declared_patterns, zeros_of
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import Traced

__all__ = ["Judge", "Progress", "Pruned", "Samples", "prune_network", "prune_path", "silent"]

_FEWEST_SAMPLES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """What a run gives.

    Attributes:
        module: the smaller network, its batch norms in place, parameters under the author's names.
        kept: living channels (original indices) by group.
        sizes: original width by group.
        indices: kept indices by parameter name and dimension.
        blocks: blocks and layers that were left out.
        steps: what was removed, in order, and what else was at hand.
        refused: channels that had to stay.
        rows: validation accuracy by stage.
        limits: each limit of the budget held against it, as the search saw it: modelled, or measured.
        zeros: zero weights that save joules, by the path of their layer.
    """

    module: fx.GraphModule
    kept: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    indices: dict[str, dict[int, list[int]]]
    blocks: tuple[str, ...]
    steps: tuple[PruneStep, ...]
    refused: tuple[Refusal, ...]
    rows: tuple[tuple[str, float], ...]
    limits: tuple[LimitCheck, ...] = ()
    zeros: dict[str, Zeros] = field(default_factory=dict)


def prune_network(
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
    checkpoint: Path | None = None,
    resume: bool = False,
    meters: Meters | None = None,
) -> Pruned:
    """Remove channels, nodes, blocks or layers until a network meets its budget.

    The batch norms are recalibrated first, so that no later gain is theirs. Then, step by step, what has the
    least true loss per joule goes, and the rest is refitted in closed form. No gradient step is taken, and
    labels only choose: no weight is fitted to them, but for the last layer's with ``settings.fit_labels``.

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
        checkpoint: a file that holds the state of the search after every step.
        resume: go on from that file.
        meters: measure what the budget limits, and have the last word on it; None: all of it is modelled.

    Raises:
        UsageError: too few samples, a lowest accuracy without labelled validation data, or a checkpoint that
            is not of this run.
        BudgetUnreachable: with the best point found; its ``result`` is a ``Pruned`` where something was cut.
        ModelError: the loss on the calibration samples is not finite.
        OutputError: the checkpoint cannot be written.
    """
    chosen = settings or SearchSettings()
    run = _prepare(traced, works, device, budget, calibration, judge, force, progress, chosen, meters)
    if checkpoint is not None:
        given = identity(traced.module, calibration, device, budget, chosen)
        kept = Checkpoint(checkpoint, given)
        if resume:
            kept.resume(run)
        run.save = kept.save
    return _result(run, traced)


def prune_path(
    traced: Traced,
    works: dict[str, LayerWork],
    *,
    device: DeviceSpec,
    budgets: Sequence[Budget],
    calibration: Samples,
    judge: Judge | None = None,
    force: bool = False,
    progress: Progress = silent,
    settings: SearchSettings | None = None,
) -> Iterator[Pruned]:
    """The same for several budgets, the largest first: the search for each goes on where the last one ended.

    Args:
        budgets: in the order in which they are to be met.

    Raises:
        As ``prune_network``, when the budget's turn comes.
    """
    if not budgets:
        return
    chosen = settings or SearchSettings()
    run = _prepare(traced, works, device, budgets[0], calibration, judge, force, progress, chosen)
    for budget in budgets:
        run.aim(budget)
        yield _result(run, traced)


def _result(run: Run, traced: Traced) -> Pruned:
    """Search, refit a last time, and put the network together; also of the best point below a budget."""
    _check_reachable(run)
    try:
        found = _searched(run)
    except BudgetUnreachable as error:
        if run.steps:
            error.result = _put_together(run, run.here, traced)
        raise
    pruned = _put_together(run, found, traced)
    floor = run.budget.min_accuracy
    if floor is not None and run.rows[-1][1] < floor:  # the search asked only some of the samples
        missed = stuck(run, found)
        missed.result = pruned
        raise missed
    return pruned


def _put_together(run: Run, found: Network, traced: Traced) -> Pruned:
    """What a search has found, refitted a last time."""
    final = _finish(run, found)
    module = _unfolded(run, final, traced)
    run.note("pruned", module)
    left = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    groups = [g for g in run.coupling.all_groups() if any(part.parameter in left for part in g.slices)]
    indices = run.coupling.indices(final.kept)
    return Pruned(
        module=module,
        kept={group.name: final.kept[group.name] for group in groups},
        sizes={group.name: group.size for group in groups},
        indices={name: dims for name, dims in indices.items() if name in left},
        blocks=tuple(part.name for part in final.dropped),
        steps=tuple(run.steps),
        refused=run.coupling.refused(),
        rows=tuple(run.rows),
        limits=run.limits.checks(final),
        zeros=_zeros(run, final),
    )


def _zeros(run: Run, network: Network) -> dict[str, Zeros]:
    """The zeros that save joules, by the path of the layer."""
    if not run.zeroing:
        return {}
    found = zeros_of(network, run.teacher.layers, run.pricer)
    return {path: zeros for path, (zeros, price) in found.items() if price.saved_j > 0}


def _searched(run: Run) -> Network:
    """The network that the search of the settings ends with."""
    ranking = run.settings.ranking
    if run.settings.effort == "full" and not ranking:
        in_stages = run.settings.strategy in ("channels", "nodes") and is_large(run)
        return staged(run) if in_stages else descend(run)
    if math.isinf(run.allowed_j(run.here)):
        raise UsageError("a ranking cuts to a budget in joules.", hint="Leave other limits to --effort full.")
    if run.settings.strategy not in ("channels", "nodes"):
        raise UsageError(
            f"a ranking orders channels and nodes, not {run.settings.strategy}.",
            hint="Leave it to --effort full.",
        )
    return quick(run, find_ranking(ranking or "fisher"))


def _check_samples(calibration: Samples, budget: Budget, judge: Judge | None, force: bool) -> None:
    count = _different(calibration.inputs, _FEWEST_SAMPLES)
    if count < _FEWEST_SAMPLES and not force:
        what = f"{count} {'' if count == len(calibration) else 'different '}calibration samples"
        raise UsageError(
            f"{what} are too few to refit a network ({_FEWEST_SAMPLES} at least).",
            hint="Give more data, or --force to go on regardless.",
        )
    if budget.min_accuracy is not None and judge is None:
        raise UsageError("a lowest accuracy needs labelled validation data.", hint="Give --data with labels.")


def _different(inputs: Tensor, enough: int) -> int:
    """How many of the samples differ, counted as far as ``enough``."""
    seen: set[bytes] = set()
    for sample in inputs:
        seen.add(hashlib.sha256(sample.detach().cpu().flatten().view(torch.uint8).numpy().data).digest())
        if len(seen) >= enough:
            break
    return len(seen)


def _prepare(
    traced: Traced,
    works: dict[str, LayerWork],
    device: DeviceSpec,
    budget: Budget,
    calibration: Samples,
    judge: Judge | None,
    force: bool,
    progress: Progress,
    settings: SearchSettings,
    meters: Meters | None = None,
) -> Run:
    _check_samples(calibration, budget, judge, force)
    progress("recalibrating batch norms", 0, 1)
    fit = samples_that_fit(traced.module) * settings.final_samples // settings.samples
    coupling = Coupling(copied(traced.module))
    trained = Network.whole(coupling)
    norms = batch_statistics(trained, calibration.part(0, min(settings.final_samples, fit)).inputs)
    if not coupling.all_groups():
        reason = coupling.refused()[0].reason if coupling.refused() else "no layer writes channels"
        raise UsageError(f"{traced.name} has no channel that can be removed: {reason}.")
    for name, value in norms.items():
        set_parameter(coupling.module, name, value)
    folded_module, pairs = fold(coupling.module)
    folded = Network.whole(Coupling(folded_module))
    run = Run(
        device,
        budget,
        calibration,
        judge,
        progress,
        settings,
        coupling,
        folded,
        pairs,
        budget_pricer(traced, coupling, works, device, budget),
        folded,
        meters=meters,
    )
    _check_labels(run)
    with torch.no_grad():
        run.note("as trained", trained)
        run.note("batch norm recalibrated", folded)
    return run


def _check_labels(run: Run) -> None:
    """Whether the last layer can be solved on labels, where that is asked for."""
    if not run.settings.fit_labels:
        return
    reason = ""
    if run.calibration.labels is None or run.judge is None:
        reason = "the calibration and validation samples have none"
    elif readout_layer(run.folded) is None:
        reason = "it is no linear layer that writes the only output"
    elif run.zeroing:
        reason = "it may hold zeros that save joules"
    if reason:
        raise UsageError(
            f"the last layer cannot be fitted to labels: {reason}.", hint="Leave fit-labels out."
        )


def _check_reachable(run: Run) -> None:
    widths, parts = narrowest(run)
    narrow = replace(run.folded, kept={name: tuple(range(width)) for name, width in widths.items()})
    least = replace(narrow, dropped=parts)
    if run.settings.strategy in ("weights", "auto") or run.limits.fits(narrow) or run.limits.fits(least):
        return
    best = run.total(least)
    raise BudgetUnreachable(
        f"a budget of {run.budget} is out of reach on {run.device.name}: "
        f"even with all that can go removed the network takes {best}, down from {run.before}"
        f"{run.limits.missed(least)}.",
        best=best,
        hint="Raise the budget, or choose a smaller network.",
    )


def _finish(run: Run, network: Network) -> Network:
    """The last refit on more samples, and its variants: validation chooses.

    A large network's refit takes no more rows than those on the way, for time's and memory's sake, and no
    gradients; ``quick`` leaves the variant out that seldom wins, and asks only some validation samples. Of
    so many samples one drawn label each says as much as two (ResNet-8, 2 seeds, 50 to 20 %: 0.02 points).
    """
    run.progress("refitting", 0, 1)
    samples = run.final_samples
    refits = run.settings.refit
    large = is_large(run)
    settings = replace(refits, sensitivity=0.0) if large else replace(refits, rows=30_000, passes=4, draws=1)
    teacher, patterns = teach(run.folded, samples.inputs, settings), declared_patterns(run.device)
    plain = (
        refit_with_zeros(network, teacher, settings, patterns)
        if run.zeroing
        else refit(network, teacher, settings)
    )
    variants = {} if run.judge is None else _variants(run, plain)
    run.progress("refitting", 1, 1)
    if run.judge is None:
        return plain
    some = run.settings.effort == "quick" and not run.settings.fit_labels
    scores = {name: run.judge(variant, some) for name, variant in variants.items()}
    if not some:
        run.rows.extend(scores.items())
    return variants[max(scores, key=lambda name: scores[name])]


def _variants(run: Run, plain: Network) -> dict[str, Network]:
    """A refitted network and what else it may become, by the name of its row."""
    samples = run.final_samples
    variants = {"refit": plain}
    layers = frozenset(pair.layer for pair in run.pairs) if run.settings.effort == "full" else frozenset()
    solvable = readout_layer(plain) is not None and not run.spared_j(plain)
    if not layers and not solvable:
        return variants
    original, reference = moments_and_output(run.folded, samples.inputs, layers)
    if original:
        variants["refit, moments matched"] = matched_moments(plain, samples.inputs, run.pairs, original)
    if not solvable:
        return variants
    solved: dict[str, Network] = {}
    for name, variant in variants.items():
        solved[f"{name}, last layer to soft outputs"] = soft_readout(variant, samples.inputs, reference)
        if run.settings.fit_labels and samples.labels is not None:
            solved[f"{name}, last layer to labels"] = label_readout(variant, samples.inputs, samples.labels)
    return variants | solved


def _unfolded(run: Run, network: Network, traced: Traced) -> fx.GraphModule:
    """The searched weights in the cut network, batch norms restored."""
    module = cut_module(run.coupling, network)
    samples = run.final_samples
    moments = output_moments(network, samples.inputs, frozenset(pair.layer for pair in run.pairs))
    folded_names = {name for pair in run.pairs for name in (pair.weight, pair.bias)}
    own = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, tensor in network.weights.items():
        if name in own and name not in folded_names:
            set_parameter(module, name, tensor.contiguous())
    pairs = [pair for pair in run.pairs if pair.layer not in network.gone]
    for pair in pairs:
        weight, bias = (network.weights[name].contiguous() for name in (pair.weight, pair.bias))
        unfold(module, pair, weight, bias, *moments[pair.layer])
    even_scales(module, pairs)
    inputs = traced.inputs
    with torch.no_grad():
        expected = tuple(_first(traced.module(*inputs)).shape)
    check_runs(module, inputs, expected)
    return module


def _first(out: object) -> Tensor:
    first = out[0] if isinstance(out, (tuple, list)) else out
    assert isinstance(first, Tensor)
    return first
