"""The refill at the end of a search: what the budget still has room for comes back."""

from __future__ import annotations

import time
from dataclasses import replace

from joulecut.pruning.exchange import rebuilt
from joulecut.pruning.greedy import loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.pruning.refit import refit
from joulecut.pruning.state import Run

__all__ = ["refilled"]

_Kept = dict[str, tuple[int, ...]]


def refilled(run: Run, network: Network) -> Network:
    """A network with every device step of channels put back that its limits have room for.

    Of each group those come back that left last; among the groups the one whose last step was the dearest is
    first. No trial is run, so that this costs one refit however large the network is. Where what comes back
    breaks a limit or the lowest accuracy after all, the network stays as it was.

    What it does follows from the end of the search, which is what a run is resumed from; so its step is
    booked and not saved.
    """
    started = time.perf_counter()
    kept = dict(network.kept)
    while (wider := _wider(run, network, kept)) is not None:
        kept = wider
    if kept == dict(network.kept):
        return network
    full = refit(rebuilt(replace(run.folded, dropped=network.dropped), kept), run.teacher, run.settings.refit)
    floor, accuracy = run.budget.min_accuracy, None
    if run.judge is not None:
        accuracy = run.judge(full, True)
    if not run.reached(full) or (floor is not None and accuracy is not None and accuracy < floor):
        return network
    _book(run, network, full, accuracy, time.perf_counter() - started)
    return full


def _wider(run: Run, network: Network, kept: _Kept) -> _Kept | None:
    """What is kept when one more step comes back; None where nothing fits."""
    best: tuple[float, str] | None = None
    found: _Kept | None = None
    for name, size in run.pricer.sizes.items():
        width, step = len(kept[name]), run.device.channel_step
        back = min(width // step * step + step, size) - width
        if not back:
            continue
        price, missing = _left(run, name, kept[name])
        wider = {**kept, name: tuple(sorted((*kept[name], *missing[:back])))}
        if (best is None or (price, name) > best) and run.limits.fits(replace(network, kept=wider)):
            best, found = (price, name), wider
    return found


def _left(run: Run, group: str, kept: tuple[int, ...]) -> tuple[float, list[int]]:
    """The price of a group's last step, and its channels that are gone, the last to leave first."""
    steps = [step.taken for step in run.steps if step.taken.group == group]
    order = [channel for step in reversed(steps) for channel in step.channels]
    gone = set(range(run.pricer.sizes[group])) - set(kept)
    missing = [*dict.fromkeys(channel for channel in order if channel in gone), *sorted(gone - set(order))]
    return (steps[-1].price if steps else 0.0), missing


def _book(run: Run, before: Network, after: Network, accuracy: float | None, duration_s: float) -> None:
    """One step for all that came back, as it was refitted together."""
    samples = run.held_out_samples if len(run.held_out_samples) else run.search_samples
    reference = run.folded(samples.inputs)
    old, new = (loss_against(net(samples.inputs), samples.labels, reference) for net in (before, after))
    back = {name: sorted(set(after.kept[name]) - set(kept)) for name, kept in before.kept.items()}
    back = {name: channels for name, channels in back.items() if channels}
    total, cost_j = run.total(after), run.total(after).value - run.total(before).value
    alone = next(iter(back.values())) if len(back) == 1 else ()
    words = ", ".join(f"{len(channels)} channels of {name}" for name, channels in back.items())
    run.steps.append(
        PruneStep(
            index=len(run.steps),
            taken=Candidate("", (), 0.0, new - old, new - old),
            runners_up=(),
            reason=f"refill: the budget has room for {words}, and the held-out loss goes from {old:.4f} "
            f"to {new:.4f}",
            total=total,
            share=total.value / run.before.value,
            calibration_loss=new,
            accuracy=accuracy,
            duration_s=duration_s,
            put_back=Candidate(", ".join(back), tuple(alone), -cost_j, new - old, new - old),
        )
    )
