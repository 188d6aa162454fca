"""Greedy by a ranking: channels are scored, cut in the order of their scores, and that a few times over.

The fast way to a budget: no candidate's loss is measured. Between two rounds the network is refitted and
scored anew, because a removal changes what the others are worth; the last refit is left to the caller.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.errors import ModelError
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.pruning.candidates.channels import kind_of
from joulecut.pruning.candidates.sources import wanted_groups
from joulecut.pruning.curves import BY_SCORE, PER_JOULE, Curves, Offer, Path, Price, merge, ordered
from joulecut.pruning.greedy import loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.rankings import Context, Ranking, Scores, check_per_joule
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.pruning.refit import refit
from joulecut.pruning.state import Run, Samples, stuck

__all__ = [
    "Round",
    "cut_along",
    "next_goal_j",
    "quick",
    "ranked",
    "reference_on",
    "score_curves",
    "take_round",
    "tell",
    "true_loss",
    "way_down",
]

_MACS = 2e12
"""Multiply-accumulate operations that the scores of all rounds may run."""

_MOST_ROUNDS = 4
"""On a ResNet-8 six and eight rounds measured no better (2 seeds, 70 to 20 % of the energy)."""

_FEWEST_SAMPLES = 64
_BEYOND = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round of a search: the network after it, the steps, how they were chosen, its loss and accuracy."""

    network: Network
    path: Path
    reason: str
    loss: float
    accuracy: float | None
    duration_s: float


def quick(run: Run, ranking: Ranking) -> Network:
    """``ranked`` by loss per joule where the ranking speaks of the loss, in as many rounds as cost little.

    Raises:
        As ``ranked``.
    """
    rounds = max(1, min(_MOST_ROUNDS, int(_MACS / (_macs(run) * len(_score_samples(run))))))
    return ranked(run, ranking, price=PER_JOULE if ranking.nats else BY_SCORE, rounds=rounds)


def _macs(run: Run) -> int:
    """Multiply-accumulate operations of one sample, forward and twice as many backward."""
    return max(3 * sum(layer.work.macs for layer in run.pricer.layers), 1)


def ranked(run: Run, ranking: Ranking, *, price: Price, rounds: int) -> Network:
    """Cut along a ranking until the budget is met.

    Args:
        run: the run; the search goes on from ``run.here``.
        ranking: scores the channels.
        price: ``PER_JOULE``, for rankings in nats, or ``BY_SCORE``.
        rounds: energies, evenly spaced as ratios, at which the network is refitted and scored anew.

    Returns:
        The cut network; without a lowest accuracy, its weights are not refitted since the last round.

    Raises:
        UsageError: the ranking needs labels that are not there, or its scores are no losses.
        BudgetUnreachable: nothing more can go, or only below the lowest accuracy.
        ModelError: the loss is not finite.
    """
    if price is PER_JOULE:
        check_per_joule(ranking)
    searched = run.search_samples
    reference, floor = reference_on(run, searched), run.budget.min_accuracy
    while not run.reached(run.here):
        tell(run)
        started = time.perf_counter()
        network = run.here
        if run.steps and floor is None:
            network = refit(network, run.teacher, run.settings.refit)
        samples = _score_samples(run)
        context = Context(network, samples, _labels(run, len(samples)), run.settings.seed + len(run.steps))
        curves = score_curves(network, ranking.scores(context), run.device.channel_step)
        path = way_down(run, network, curves, price, rounds)
        if not path.taken:
            raise stuck(run, run.here)
        network, accuracy = _guarded(run, cut_along(network, path))
        reason = f"{price.reason}, as {ranking.name} scores it"
        take_round(
            run,
            Round(
                network,
                path,
                reason,
                true_loss(network, searched, reference),
                accuracy,
                time.perf_counter() - started,
            ),
        )
    return run.here


def _guarded(run: Run, network: Network) -> tuple[Network, float | None]:
    """The network of a round, refitted and judged where a lowest accuracy has to be kept."""
    floor = run.budget.min_accuracy
    if floor is None or run.judge is None:
        return network, None
    network = refit(network, run.teacher, run.settings.refit)
    accuracy = run.judge(network, True)
    if accuracy < floor:
        raise stuck(run, run.here)
    return network, accuracy


def score_curves(network: Network, scores: Scores, step: int) -> Curves:
    """Curves of channels whose scores add up."""
    return {name: ordered(found, network.kept[name], step) for name, found in scores.items()}


def way_down(run: Run, network: Network, curves: Curves, price: Price, rounds: int) -> Path:
    """The path from a network to the next of the rounds' energies, through the groups that may be cut."""
    wanted = {group.name: curves[group.name] for group in wanted_groups(run) if group.name in curves}
    layers = [layer for layer in run.pricer.layers if layer.node not in network.gone]
    energy = IncrementalEnergy(run.pricer.device, layers, network.widths)
    return merge(wanted, energy, layers, next_goal_j(run, network, rounds), price)


def next_goal_j(run: Run, network: Network, rounds: int) -> float:
    """The energy at which the next round ends: geometric from the original's to what is allowed.

    Where joules are not what is still missing (a limit on the time, the memory, or what a meter reads), they
    go down by 5 % a round until the limit is met.
    """
    now_j, limit_j = run.pricer.total_j(network.widths, network.gone), run.allowed_j(network)
    if now_j <= limit_j:
        return now_j * (1 - _BEYOND)
    ratio = limit_j / run.before.value
    goals = (run.before.value * ratio ** (k / rounds) for k in range(1, rounds))
    return next((goal for goal in goals if goal < now_j * (1 - 1e-3)), limit_j)


def cut_along(network: Network, path: Path) -> Network:
    """The network without the channels that a path takes."""
    groups = {group.name: group for group in network.coupling.all_groups()}
    for name, channels in path.channels().items():
        network = network.cut(groups[name], channels)
    return network


def take_round(run: Run, done: Round) -> None:
    """Book every step of a round and keep the state.

    The loss and the accuracy (where it was asked for) are those after its last step, and stand at each.
    """
    at = run.here.widths
    groups = {group.name: group for group in done.network.coupling.all_groups()}
    module = done.network.coupling.module
    before_j, each_s = run.before.value, done.duration_s / len(done.path.taken)

    def candidate(offer: Offer, price: float) -> Candidate:
        kind = kind_of(groups[offer.group], module)
        return Candidate(offer.group, offer.channels, offer.saving_j, offer.cost, price, kind)

    for step in done.path.taken:
        at[step.offer.group] -= len(step.offer.channels)
        total = run.pricer.total(at, done.network.gone)
        run.steps.append(
            PruneStep(
                index=len(run.steps),
                taken=candidate(step.offer, step.price),
                runners_up=tuple(candidate(offer, price) for offer, price in step.beside),
                reason=done.reason,
                total=total,
                share=total.value / before_j,
                calibration_loss=done.loss,
                accuracy=done.accuracy,
                duration_s=each_s,
            )
        )
    run.here = done.network
    run.save(run)
    tell(run)


def tell(run: Run) -> None:
    """Report how far on the way to the energy that is allowed the search is."""
    before_j, now_j, limit_j = run.before.value, run.total(run.here).value, run.allowed_j(run.here)
    share = (before_j - now_j) / max(before_j - limit_j, 1e-30)
    run.progress("pruning", max(0, min(round(100 * share), 100)), 100)


def _score_samples(run: Run) -> Tensor:
    most = max(_FEWEST_SAMPLES, int(_MACS / _macs(run)))
    return run.calibration.inputs[: min(run.settings.gradient_samples, most)]


def _labels(run: Run, count: int) -> Tensor | None:
    return None if run.calibration.labels is None else run.calibration.labels[:count]


def reference_on(run: Run, samples: Samples) -> Tensor:
    """The original's logits on samples without labels, for ``true_loss``; with labels it needs none."""
    return run.folded(samples.inputs) if samples.labels is None else torch.zeros(())


def true_loss(network: Network, samples: Samples, reference: Tensor) -> float:
    """The loss of a network on samples: cross-entropy, or without labels the divergence from the original.

    Args:
        network: of any widths.
        samples: to run.
        reference: of the original on them (``reference_on``).

    Raises:
        ModelError: it is not finite.
    """
    loss = loss_against(network(samples.inputs), samples.labels, reference)
    if not math.isfinite(loss):
        raise ModelError("the loss of the cut network is not finite.", hint="Check the calibration data.")
    return loss
