"""The search for large networks: cost curves merged in stages, and the true loss decides between end points.

Measuring the loss of every candidate at every step would take days on a ResNet-50. Here one joint elimination
for each group gives all that its removals cost; the curves are merged to an intermediate energy, the network
is refitted there and measured anew. No single measure of cost is the best on every network, so each stage
ends at several points, and the one whose refitted network loses least on samples that no refit has seen wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import torch

from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.curves import BY_SCORE, PER_JOULE, Curves, Path, Price
from joulecut.pruning.network import Network
from joulecut.pruning.obs import Block, Moments, eliminate, measure_moments
from joulecut.pruning.ranked import (
    Round,
    cut_along,
    reference_on,
    score_curves,
    take_round,
    tell,
    true_loss,
    way_down,
)
from joulecut.pruning.rankings import RANKINGS, Context
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.solvable import solvable_layers
from joulecut.pruning.state import Run, Samples, stuck
from joulecut.pruning.threads import one_thread

__all__ = ["STAGES", "full_search_macs", "is_large", "joint_curves", "staged"]

STAGES: Final = 4
"""Energies, evenly spaced as ratios, at which everything is measured anew."""

_LARGE_MACS = 1e13
"""What a full search may run before stages take its place: some ten minutes of two cores."""

_GRADIENT_MACS = 1e12
"""Multiply-accumulate operations of one measurement of gradients."""

_FEWEST_GRADIENTS = 32


def full_search_macs(run: Run) -> float:
    """Multiply-accumulate operations of the full search (``descend``), roughly: what tells a large network.

    Every step runs the samples of the search once, and from the middle on average for each candidate of the
    shortlist; there are as many steps as the groups have device steps.
    """
    macs = sum(layer.work.macs for layer in run.pricer.layers)
    steps = sum(size // run.device.channel_step for size in run.pricer.sizes.values())
    return float(macs * len(run.search_samples) * (1 + run.settings.shortlist / 2) * steps)


def is_large(run: Run) -> bool:
    """Whether the full search would take too long, so that stages are the better default."""
    return full_search_macs(run) > _LARGE_MACS


def staged(run: Run) -> Network:
    """Remove channels along cost curves until the budget is met, in stages.

    The search goes on from ``run.here``; each stage depends on nothing else.

    Returns:
        The cut network, refitted.

    Raises:
        BudgetUnreachable: nothing more can go, or only below the lowest accuracy.
        ModelError: the loss is not finite.
    """
    if run.reached(run.here):
        return run.here
    tell(run)
    fitted, held_out = _divided(run.calibration)
    settings = replace(run.settings.refit, sensitivity=0.0)
    teacher, reference = teach(run.folded, fitted.inputs, settings), reference_on(run, held_out)
    while not run.reached(run.here):
        started = time.perf_counter()
        ends: list[_End] = []
        for name, price, curves in _portfolio(run, run.here, fitted):
            path = way_down(run, run.here, curves, price, STAGES)
            if path.taken:
                network = refit(cut_along(run.here, path), teacher, settings)
                ends.append(_End(name, price, path, network, true_loss(network, held_out, reference)))
        if not ends:
            raise stuck(run, run.here)
        best = min(ends, key=lambda end: end.loss)
        accuracy = _accuracy(run, best.network)
        duration_s = time.perf_counter() - started
        take_round(run, Round(best.network, best.path, _reason(best, ends), best.loss, accuracy, duration_s))
    return run.here


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """Where a member of the portfolio ends a stage, and the loss there on held-out samples."""

    name: str
    price: Price
    path: Path
    network: Network
    loss: float


def _divided(calibration: Samples) -> tuple[Samples, Samples]:
    """Two thirds to fit to, one third to decide by; where there are too few, all for both."""
    count = -(-2 * len(calibration) // 3)
    if count == len(calibration):
        return calibration, calibration
    return calibration.part(0, count), calibration.part(count, len(calibration))


def _portfolio(run: Run, network: Network, fitted: Samples) -> Iterator[tuple[str, Price, Curves]]:
    """The ways to say what a removal costs: joint OBS, per-sample Fisher, and the norm of the weights."""
    seed = run.settings.seed + len(run.steps)
    macs = sum(work.macs for work in run.pricer.works(network.widths, network.gone).values())
    most = max(_FEWEST_GRADIENTS, int(_GRADIENT_MACS / max(3 * macs, 1)))
    gradients = min(run.settings.gradient_samples, most)
    few = fitted.part(0, gradients)
    step = run.device.channel_step
    fisher = RANKINGS["fisher"].scores(Context(network, few.inputs, few.labels, seed))
    moments = measure_moments(network, fitted.inputs, gradient_samples=gradients, seed=seed)
    by_fisher = score_curves(network, fisher, step)
    yield "joint OBS", PER_JOULE, {**by_fisher, **joint_curves(network, moments, step)}
    yield "fisher", PER_JOULE, by_fisher
    norms = RANKINGS["l2"].scores(Context(network, few.inputs))
    yield "l2", BY_SCORE, score_curves(network, norms, step)


def joint_curves(network: Network, moments: Moments, step: int) -> Curves:
    """The whole cost curve of each group that dense layers read, by one joint elimination each."""
    layers, groups = solvable_layers(network.coupling.module), network.coupling.all_groups()

    def curve(group: Group) -> tuple[Block, ...]:
        return tuple(eliminate(network, group, layers, moments, step))

    workers = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(workers) as pool:  # the same bits, however many there are
        found = dict(zip((group.name for group in groups), pool.map(curve, groups), strict=True))
    return {name: blocks for name, blocks in found.items() if blocks}


def _accuracy(run: Run, network: Network) -> float | None:
    """Accuracy on some validation samples, not below the lowest allowed; None without a judge."""
    if run.judge is None:
        return None
    accuracy, floor = run.judge(network, True), run.budget.min_accuracy
    if floor is not None and accuracy < floor:
        raise stuck(run, run.here)
    return accuracy


def _reason(best: _End, ends: list[_End]) -> str:
    others = ", ".join(f"{end.loss:.4f} by {end.name}" for end in ends if end is not best)
    beside = f" against {others}" if others else ""
    return f"{best.price.reason} on curves by {best.name}, whose end has the loss {best.loss:.4f}{beside}"
