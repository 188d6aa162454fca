"""From the whole network to the budget: greedy steps under a guard, then exchanges, all booked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import torch

from joulecut.pruning.budget import judge_budget
from joulecut.pruning.elimination import propose
from joulecut.pruning.exchange import Exchange, Exchanger, held_out_loss
from joulecut.pruning.greedy import Search, Step, loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.pruning.refit import Teacher, refit, teach
from joulecut.pruning.state import Run, stuck, widths

__all__ = ["descend"]


def descend(run: Run) -> Network:
    """Remove channels until the budget is met, then exchange some for others while that lowers the loss.

    Raises:
        BudgetUnreachable: nothing more can go, or only below the lowest accuracy.
    """
    samples = run.search_samples
    teacher = teach(run.folded, samples.inputs, run.settings.refit)
    reference = run.folded(samples.inputs)
    search = Search(teacher, samples.labels, reference, run.pricer, run.device.channel_step, run.settings)
    network = run.folded
    while not _reached(run, network):
        cut = _greedy(run, search, network)
        if cut is network and not run.rejected:
            raise stuck(run, network)
        network = cut
    return _exchanged(run, search, network)


def _reached(run: Run, network: Network) -> bool:
    return judge_budget(run.budget, run.before, run.pricer.total(widths(network))) == "yes"


def _greedy(run: Run, search: Search, network: Network) -> Network:
    """Steps until the budget allows the energy, or until the guard rejects one and bans its group."""
    run.rejected = False
    for step in search.steps(network, run.allowed_j, run.banned.__contains__, len(run.steps)):
        accepted, accuracy = _guarded(run, step, search.teacher)
        if not accepted:
            run.banned.add(step.candidates[0].group)
            run.rejected = True
            break
        network = accepted
        _book(run, replace(step, network=network), accuracy)
        if network is not step.network:
            break  # refitted: the steps go on from there
    return network


def _guarded(run: Run, step: Step, teacher: Teacher) -> tuple[Network | None, float | None]:
    """The network of a step, refitted where the lowest accuracy asks for it; None if it cannot be kept."""
    if run.judge is None:
        return step.network, None
    accuracy, floor = run.judge(step.network, True), run.budget.min_accuracy
    if floor is None or accuracy >= floor:
        return step.network, accuracy
    improved = refit(step.network, teacher, run.settings.refit)
    accuracy = run.judge(improved, True)
    return (improved if accuracy >= floor else None), accuracy


def _book(run: Run, step: Step, accuracy: float | None) -> None:
    before, total = run.before, run.pricer.total(widths(step.network))
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
    target = run.allowed_j(step.network)
    done = (before.value - total.value) / max(before.value - target, 1e-30)
    run.progress("pruning", min(round(100 * done), 100), 100)


def _exchanged(run: Run, search: Search, network: Network) -> Network:
    """Exchanges that lower the loss on held-out calibration samples and keep the lowest accuracy."""
    held_out = run.held_out_samples
    macs = len(search.teacher.inputs) + len(held_out)
    macs *= sum(layer.work.macs for layer in run.pricer.layers)
    trials = min(run.settings.exchange_trials, int(run.settings.exchange_macs / max(macs, 1)))
    if not len(held_out) or not trials or not run.settings.exchange_rounds:
        return network
    reference = run.folded(held_out.inputs)
    exchanger = Exchanger(
        run.folded,
        search.teacher,
        run.settings.refit,
        held_out_loss(held_out.inputs, lambda logits: loss_against(logits, held_out.labels, reference)),
        run.pricer,
        run.device.channel_step,
        _order(run, search, network),
        trials,
    )
    started = time.perf_counter()
    for exchange in exchanger.rounds(network, run.allowed_j, run.settings.exchange_rounds):
        accuracy = run.judge(exchange.network, True) if run.judge is not None else None
        floor = run.budget.min_accuracy
        if not _reached(run, exchange.network) or (floor is not None and (accuracy or 0.0) < floor):
            break
        network = exchange.network
        _book_exchange(run, exchange, accuracy, time.perf_counter() - started)
        started = time.perf_counter()
        run.progress("exchanging", len(run.steps), len(run.steps))
        if exchanger.count * macs >= run.settings.exchange_macs:
            break
    return network


def _order(run: Run, search: Search, network: Network) -> Mapping[str, tuple[int, ...]]:
    """Channels of each group in the order in which they leave: as they left, then as they would."""
    with torch.no_grad():
        _, values = network.run(search.teacher.inputs, keep=None)
    statistics = search.statistics(network, values, len(run.steps))
    order: dict[str, tuple[int, ...]] = {}
    for group in network.coupling.groups():
        left = tuple(c for step in run.steps if step.taken.group == group.name for c in step.taken.channels)
        next_out = propose(
            network, group, search.teacher.layers, statistics, len(network.kept[group.name]) - 1
        )
        last = set(network.kept[group.name]) - set(next_out.channels)
        order[group.name] = (*left, *next_out.channels, *sorted(last))
    return order


def _book_exchange(run: Run, exchange: Exchange, accuracy: float | None, duration_s: float) -> None:
    total = run.pricer.total(widths(exchange.network))
    group, channels = exchange.cut
    back, restored = exchange.restored
    after = widths(exchange.network)
    returned_j = run.pricer.saving_j(after, back, len(restored))
    net_j = (run.steps[-1].total.value if run.steps else run.before.value) - total.value
    gain = exchange.after - exchange.before
    run.steps.append(
        PruneStep(
            index=len(run.steps),
            taken=Candidate(group, channels, net_j + returned_j, gain, gain),
            runners_up=(),
            reason=f"exchange: {len(restored)} channels of {back} put back, and the held-out loss falls "
            f"from {exchange.before:.4f} to {exchange.after:.4f}",
            total=total,
            share=total.value / run.before.value,
            calibration_loss=exchange.after,
            accuracy=accuracy,
            duration_s=duration_s,
            put_back=Candidate(back, restored, -returned_j, gain, gain),
        )
    )
