"""Cost curves of groups, and the cheapest way down them to an energy.

A curve says, block after block, what the loss rises by when a group loses its next channels. Curves are
merged greedily: of all next blocks the one with the least price goes, until the energy is met; then blocks
are put back as far as the energy allows. Only widths are at play, so thousands of steps take a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor

from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.hw_models.widths import PricedLayer
from joulecut.pruning.obs import Block

__all__ = ["BY_SCORE", "PER_JOULE", "Curves", "Offer", "Path", "Price", "Taken", "merge", "ordered"]

Curves = Mapping[str, Sequence[Block]]
"""By group its blocks, in the order in which they leave."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The next block of a group; several at once where fewer save nothing.

    Attributes:
        group: whose it is.
        blocks: how many blocks of its curve.
        channels: original indices.
        cost: rise of the loss, or the sum of scores.
        saving_j: joules saved at this point, neighbours included.
    """

    group: str
    blocks: int
    channels: tuple[int, ...]
    cost: float
    saving_j: float


@dataclass(frozen=True, slots=True)
class Taken:
    """An offer that was taken, with its price, the next best with theirs, and the joules afterwards."""

    offer: Offer
    price: float
    beside: tuple[tuple[Offer, float], ...]
    total_j: float


@dataclass(frozen=True, slots=True)
class Path:
    """A way down.

    Attributes:
        taken: in order, without what was put back in the end.
        total_j: joules at the end.
    """

    taken: tuple[Taken, ...]
    total_j: float

    def channels(self) -> dict[str, tuple[int, ...]]:
        """Channels that are gone at the end, by group."""
        gone: dict[str, list[int]] = {}
        for step in self.taken:
            gone.setdefault(step.offer.group, []).extend(step.offer.channels)
        return {name: tuple(sorted(channels)) for name, channels in gone.items()}


@dataclass(frozen=True, slots=True)
class Price:
    """What decides between offers: the one of the least price goes.

    Attributes:
        reason: in words.
        of: the price of an offer, given the joules that are still to be saved.
    """

    reason: str
    of: Callable[[Offer, float], float]


PER_JOULE: Final = Price(
    "least loss per joule", lambda offer, needed_j: offer.cost / min(offer.saving_j, needed_j)
)
"""Joules saved beyond need do not count, so that a large last step must beat the small ones that would do."""

BY_SCORE: Final = Price("least mean score", lambda offer, _: offer.cost / len(offer.channels))
"""Whatever an offer saves: the one global order of magnitude rankings."""


def ordered(scores: Tensor, living: Sequence[int], step: int) -> tuple[Block, ...]:
    """The curve of a group whose channels have a score each, and whose scores add up.

    Each block leaves the width on a multiple of the step; one step is left. Ties break by index.

    Args:
        scores: float [width].
        living: original indices of the channels, [width].
        step: the device's channel step.

    >>> import torch
    >>> ordered(torch.tensor([3.0, 1.0, 2.0, 4.0, 0.5]), [0, 1, 2, 3, 7], 2)
    (Block(channels=(7,), cost=0.5), Block(channels=(1, 2), cost=3.0))
    """
    order = scores.argsort(stable=True).tolist()
    blocks = []
    start = 0
    while (count := (len(order) - start - 1) % step + 1) < len(order) - start:
        at = sorted(order[start : start + count])
        blocks.append(Block(tuple(living[i] for i in at), sum(float(scores[i]) for i in at)))
        start += count
    return tuple(blocks)


def merge(
    curves: Curves,
    energy: IncrementalEnergy,
    layers: Iterable[PricedLayer],
    limit_j: float,
    price: Price,
) -> Path:
    """Take the offer with the least price until the energy is met, then put back what still fits.

    Args:
        curves: of the groups that may lose channels.
        energy: the network now; it is resized on the way and ends at the path's end.
        layers: those of ``energy``, which say whose savings change together.
        limit_j: the energy to reach; the path ends above it where the curves end first.
        price: ``PER_JOULE`` or ``BY_SCORE``.
    """
    if energy.total_j <= limit_j:
        return Path((), energy.total_j)
    near = _neighbours(layers, curves)
    done = dict.fromkeys(curves, 0)
    offers = {name: _offer(name, curves[name], 0, energy) for name in curves}
    taken: list[Taken] = []
    while energy.total_j > limit_j:
        needed_j = energy.total_j - limit_j
        priced = sorted(
            ((_rounded(price.of(offer, needed_j)), offer) for offer in offers.values() if offer is not None),
            key=lambda item: (item[0], item[1].group),
        )
        if not priced:
            break
        first, offer = priced[0]
        total_j = energy.resize(offer.group, energy.widths[offer.group] - len(offer.channels))
        taken.append(Taken(offer, first, tuple((o, p) for p, o in priced[1:4]), total_j))
        done[offer.group] += offer.blocks
        for name in near[offer.group]:
            offers[name] = _offer(name, curves[name], done[name], energy)
    return _replayed(_refilled(taken, energy, limit_j), energy)


def _offer(name: str, blocks: Sequence[Block], done: int, energy: IncrementalEnergy) -> Offer | None:
    """The fewest next blocks that save something."""
    channels: tuple[int, ...] = ()
    cost = 0.0
    for count, block in enumerate(blocks[done:], start=1):
        channels += block.channels
        cost += block.cost
        saving_j = energy.saving_j(name, len(channels))
        if saving_j > 0:
            return Offer(name, count, channels, cost, saving_j)
    return None


def _neighbours(layers: Iterable[PricedLayer], curves: Curves) -> dict[str, list[str]]:
    """By group those that share a layer with it, itself first."""
    near: dict[str, dict[str, None]] = {name: {name: None} for name in curves}
    for layer in layers:
        for name in sorted(layer.groups & near.keys()):
            near[name].update(dict.fromkeys(sorted(layer.groups & near.keys())))
    return {name: list(found) for name, found in near.items()}


def _refilled(taken: Sequence[Taken], energy: IncrementalEnergy, limit_j: float) -> list[Taken]:
    """What stays taken when, of each group's last steps that fit the energy, the dearest are put back."""
    left = list(taken)
    while True:
        last = {step.offer.group: i for i, step in enumerate(left)}
        fits = [
            i
            for name, i in last.items()
            if energy.total_j - energy.saving_j(name, -len(left[i].offer.channels)) <= limit_j
        ]
        if not fits:
            return left
        back = left.pop(max(fits, key=lambda i: (left[i].offer.cost, -i))).offer
        energy.resize(back.group, energy.widths[back.group] + len(back.channels))


def _replayed(taken: Sequence[Taken], energy: IncrementalEnergy) -> Path:
    """The steps taken once more, so that each one's joules are those without what was put back."""
    for step in reversed(taken):
        energy.resize(step.offer.group, energy.widths[step.offer.group] + len(step.offer.channels))
    steps = []
    for step in taken:
        name, count = step.offer.group, len(step.offer.channels)
        offer = replace(step.offer, saving_j=energy.saving_j(name, count))
        total_j = energy.resize(name, energy.widths[name] - count)
        steps.append(replace(step, offer=offer, total_j=total_j))
    return Path(tuple(steps), energy.total_j)


def _rounded(price: float) -> float:
    """Nine digits, so that the last bits of a sum do not decide between equals."""
    return float(f"{price:.9g}")
