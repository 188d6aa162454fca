"""From the whole network to the budget: greedy steps under a guard, then exchanges, all booked."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from joulecut.pruning.candidates.channels import statistics
from joulecut.pruning.candidates.sources import sources
from joulecut.pruning.elimination import propose
from joulecut.pruning.exchange import Exchange, Exchanger, Order, held_out_loss
from joulecut.pruning.greedy import Search, Step, loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.records import Candidate
from joulecut.pruning.refill import refilled
from joulecut.pruning.state import Run, stuck

__all__ = ["descend"]

_TABU = 5
"""Steps for which an option that the guard rejected is not tried again."""

_JUDGED = 8
"""Steps between two whose accuracy is asked for only to show the way."""


def descend(run: Run) -> Network:
    """Remove until the budget is met, then exchange channels for others while that lowers the loss.

    The search goes on from ``run.here``: from the whole network, from where a killed run stood, or from
    where the search for a larger budget ended.

    Raises:
        BudgetUnreachable: nothing more can go, or only below the lowest accuracy.
        ModelError: the loss is not finite.
    """
    samples = run.search_samples
    search = Search(
        teacher=run.teacher,
        labels=samples.labels,
        reference=run.folded(samples.inputs),
        pricer=run.pricer,
        step=run.device.channel_step,
        settings=run.settings,
        sources=sources(run),
        refit=run.refit_observed,
    )
    while not run.reached(run.here):
        step = search.next(run.here, run.limits.needs(run.here), run.is_banned, len(run.steps))
        if step is None:
            raise stuck(run, run.here)
        _take(run, step)
    if run.spared_j(run.here):
        return run.here  # exchanges and refills cut anew from the original, which has no zeros
    return refilled(run, _exchanged(run))


def _take(run: Run, step: Step) -> None:
    """Book a step, refitted where the lowest accuracy asks for it; ban it where that is not enough."""
    floor, network, accuracy = run.budget.min_accuracy, step.network, None
    if run.judge is not None and (floor is not None or len(run.steps) % _JUDGED == 0):
        accuracy = run.judge(network, True)
        if floor is not None and accuracy < floor:
            network = run.refit(network)
            accuracy = run.judge(network, True)
            if accuracy < floor:
                taken = step.candidates[0]
                run.banned[taken.kind, taken.group] = len(run.steps) + _TABU
                return
    run.book(
        network,
        step.candidates,
        reason=step.reason,
        loss=step.loss,
        accuracy=accuracy,
        duration_s=step.duration_s,
    )


def _exchanged(run: Run) -> Network:
    """Exchanges that lower the loss on held-out calibration samples and keep the lowest accuracy."""
    held_out = run.held_out_samples
    macs = len(run.teacher.inputs) + len(held_out)
    macs *= sum(layer.work.macs for layer in run.pricer.layers)
    trials = min(run.settings.exchange_trials, int(run.settings.exchange_macs / max(macs, 1)))
    rounds = run.settings.exchange_rounds - sum(step.put_back is not None for step in run.steps)
    if not len(held_out) or not trials or run.settings.strategy not in ("channels", "auto"):
        return run.here
    reference = run.folded(held_out.inputs)
    exchanger = Exchanger(
        replace(run.folded, dropped=run.here.dropped),
        run.teacher,
        run.settings.refit,
        held_out_loss(held_out.inputs, lambda logits: loss_against(logits, held_out.labels, reference)),
        run.device.channel_step,
        _order(run),
        trials,
    )
    network = exchanger.start(run.exchanged or run.here.kept)
    while rounds > 0 and run.trials * macs < run.settings.exchange_macs:
        started = time.perf_counter()
        exchange = exchanger.round(network, run.limits.fits)
        run.trials += exchanger.count
        if exchange is None or not run.reached(exchange.network):
            break
        accuracy = run.judge(exchange.network, True) if run.judge is not None else None
        floor = run.budget.min_accuracy
        if floor is not None and (accuracy or 0.0) < floor:
            break
        network = exchange.network
        _book_exchange(run, exchange, accuracy, time.perf_counter() - started)
        rounds -= 1
    return run.here if run.exchanged is None else network


def _order(run: Run) -> dict[str, Order]:
    """Channels of each group in the order in which they leave: as they left, then as they would."""
    network, teacher = run.here, run.teacher
    _, values = network.observe(teacher.inputs, teacher.sources)
    taken = [step.taken for step in run.steps if step.put_back is None]
    known = statistics(network, values, teacher, run.settings, len(taken))
    order: dict[str, Order] = {}
    for group in network.coupling.all_groups():
        living = network.kept[group.name]
        found = propose(network, group, teacher.layers, known, len(living) - 1)
        steps = [(t.channels, max(t.loss, 0.0)) for t in taken if t.group == group.name]
        steps += [((c,), cost) for c, cost in zip(found.channels, found.costs, strict=True)]
        steps.append((tuple(set(living) - set(found.channels)), math.inf))
        order[group.name] = Order(
            tuple(channel for channels, _ in steps for channel in channels),
            tuple(cost / len(channels) for channels, cost in steps for _ in channels),
        )
    return order


def _book_exchange(run: Run, exchange: Exchange, accuracy: float | None, duration_s: float) -> None:
    total = run.total(exchange.network)
    group, channels = exchange.cut
    back, restored = exchange.restored
    gone = exchange.network.gone
    returned_j = run.pricer.saving_j(exchange.network.widths, back, len(restored), gone)
    net_j = (run.steps[-1].total.value if run.steps else run.before.value) - total.value
    gain = exchange.after - exchange.before
    run.book(
        exchange.network,
        (Candidate(group, channels, net_j + returned_j, gain, gain),),
        reason=f"exchange: {len(restored)} channels of {back} put back, and the held-out loss falls "
        f"from {exchange.before:.4f} to {exchange.after:.4f}",
        loss=exchange.after,
        accuracy=accuracy,
        duration_s=duration_s,
        put_back=Candidate(back, restored, -returned_j, gain, gain),
    )
