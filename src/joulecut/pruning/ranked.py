"""Greedy by a ranking: channels are scored, cut in the order of their scores, and that a few times over.

The fast way to a budget: no candidate's loss is measured. Between two rounds the network is refitted and
scored anew, because a removal changes what the others are worth; the last refit is left to the caller.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.errors import ModelError
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.pruning.candidates.channels import kind_of
from joulecut.pruning.curves import BY_SCORE, PER_JOULE, Curves, Offer, Path, Price, merge, ordered
from joulecut.pruning.greedy import loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.rankings import Context, Ranking, Scores, check_per_joule
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.pruning.refit import refit
from joulecut.pruning.state import Run, stuck, widths

__all__ = ["Round", "cut_along", "next_goal_j", "quick", "ranked", "score_curves", "take_round", "way_down"]

_MACS = 2e12
"""Multiply-accumulate operations that the scores of all rounds may run."""

_MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round of a search: the network after it, the steps, how they were chosen, and the loss it has."""

    network: Network
    path: Path
    reason: str
    loss: float
    duration_s: float


def quick(run: Run, ranking: Ranking) -> Network:
    """``ranked`` by loss per joule where the ranking speaks of the loss, in as many rounds as cost little.

    Raises:
        As ``ranked``.
    """
    samples = len(_score_samples(run))
    macs = 3 * samples * sum(layer.work.macs for layer in run.pricer.layers)  # forward, and twice backward
    rounds = max(1, min(_MOST_ROUNDS, int(_MACS / max(macs, 1))))
    return ranked(run, ranking, price=PER_JOULE if ranking.nats else BY_SCORE, rounds=rounds)


def ranked(run: Run, ranking: Ranking, *, price: Price, rounds: int) -> Network:
    """Cut along a ranking until the budget is met.

    Args:
        run: the run; the search goes on from ``run.here``.
        ranking: scores the channels.
        price: ``PER_JOULE``, for rankings in nats, or ``BY_SCORE``.
        rounds: energies, evenly spaced as ratios, at which the network is refitted and scored anew.

    Returns:
        The cut network, its weights not refitted since the last round.

    Raises:
        UsageError: the ranking needs labels that are not there, or its scores are no losses.
        BudgetUnreachable: nothing more can go, or only below the lowest accuracy.
        ModelError: the loss is not finite.
    """
    if price is PER_JOULE:
        check_per_joule(ranking)
    while not run.reached(run.here):
        started = time.perf_counter()
        network = run.here
        if run.steps:
            network = _refitted(run, network)
        samples = _score_samples(run)
        context = Context(network, samples, _labels(run, len(samples)), run.settings.seed + len(run.steps))
        curves = score_curves(network, ranking.scores(context), run.device.channel_step)
        path = way_down(run, network, curves, price, rounds)
        if not path.taken:
            raise stuck(run, run.here)
        network = cut_along(network, path)
        reason = f"{price.reason}, as {ranking.name} scores it"
        take_round(run, Round(network, path, reason, _loss(run, network), time.perf_counter() - started))
    return run.here


def _refitted(run: Run, network: Network) -> Network:
    """The network of the last round refitted, if it keeps the lowest accuracy then."""
    refitted = refit(network, run.teacher, run.settings.refit)
    floor = run.budget.min_accuracy
    if floor is not None and run.judge is not None and run.judge(refitted, True) < floor:
        raise stuck(run, run.here)
    return refitted


def score_curves(network: Network, scores: Scores, step: int) -> Curves:
    """Curves of channels whose scores add up."""
    return {name: ordered(found, network.kept[name], step) for name, found in scores.items()}


def way_down(run: Run, network: Network, curves: Curves, price: Price, rounds: int) -> Path:
    """The path from a network to the next of the rounds' energies."""
    layers = [layer for layer in run.pricer.layers if layer.node not in network.gone]
    energy = IncrementalEnergy(run.device, layers, widths(network))
    return merge(curves, energy, layers, next_goal_j(run, network, rounds), price)


def next_goal_j(run: Run, network: Network, rounds: int) -> float:
    """The next lower of the rounds' energies: geometric from the original's to what is allowed."""
    now_j = run.total(network).value
    limit_j = run.allowed_j(network)
    ratio = limit_j / run.before.value
    goals = (run.before.value * ratio ** (k / rounds) for k in range(1, rounds))
    return next((goal for goal in goals if goal < now_j * (1 - 1e-3)), limit_j)


def cut_along(network: Network, path: Path) -> Network:
    """The network without the channels that a path takes."""
    groups = {group.name: group for group in network.coupling.groups()}
    for name, channels in path.channels().items():
        network = network.cut(groups[name], channels)
    return network


def take_round(run: Run, done: Round) -> None:
    """Book every step of a round and keep the state.

    The loss and the accuracy are measured once a round, after its last step, and stand at each.
    """
    accuracy = run.judge(done.network, True) if run.judge is not None else None
    at = widths(run.here)
    groups = {group.name: group for group in done.network.coupling.groups()}
    module = done.network.coupling.module
    each_s = done.duration_s / len(done.path.taken)

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
                share=total.value / run.before.value,
                calibration_loss=done.loss,
                accuracy=accuracy,
                duration_s=each_s,
            )
        )
    run.here = done.network
    run.save(run)
    before_j, now_j = run.before.value, run.total(run.here).value
    done_share = (before_j - now_j) / max(before_j - run.allowed_j(run.here), 1e-30)
    run.progress("pruning", min(round(100 * done_share), 100), 100)


def _score_samples(run: Run) -> Tensor:
    return run.calibration.inputs[: run.settings.gradient_samples]


def _labels(run: Run, count: int) -> Tensor | None:
    return None if run.calibration.labels is None else run.calibration.labels[:count]


def _loss(run: Run, network: Network) -> float:
    """The true loss on the search's samples."""
    samples = run.search_samples
    reference = run.folded(samples.inputs) if samples.labels is None else torch.zeros(())
    loss = loss_against(network(samples.inputs), samples.labels, reference)
    if loss != loss:
        raise ModelError("the loss of the cut network is not a number.", hint="Check the calibration data.")
    return loss
