"""Exchanges at the end of a search: channels of one group put back for channels of another.

A greedy path decides early and never looks back. Here whole end points are compared: each trial is cut anew
from the original, refitted, and scored on calibration samples that no refit has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from joulecut.pruning.candidates.channels import chunk
from joulecut.pruning.network import Network
from joulecut.pruning.refit import Teacher, refit
from joulecut.pruning.settings import RefitSettings

__all__ = ["Exchange", "Exchanger", "Order", "held_out_loss", "rebuilt"]

_LEAST_GAIN = 1e-4
"""Smallest fall of the held-out loss, in nats, that an exchange is worth."""


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """An accepted exchange.

    Attributes:
        network: the network after it.
        cut: the group that lost channels, with their original indices; ("", ()) for a refill.
        restored: the group that got channels back, with their original indices.
        before: held-out loss before.
        after: held-out loss after.
    """

    network: Network
    cut: tuple[str, tuple[int, ...]]
    restored: tuple[str, tuple[int, ...]]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which a group's channels leave.

    Attributes:
        channels: original indices, all of the group; those that left first are first.
        costs: rise of the loss as each leaves: measured where it has left, else predicted.
    """

    channels: tuple[int, ...]
    costs: tuple[float, ...]

    def kept(self, width: int) -> tuple[int, ...]:
        """The channels that stay at a width."""
        return tuple(sorted(self.channels[len(self.channels) - width :]))

    def rise(self, before: int, after: int) -> float:
        """Rise of the loss from one width to another; negative where channels come back."""
        if after > before:
            return -self.rise(after, before)
        count = len(self.channels)
        return sum(self.costs[count - before : count - after])


@dataclass(frozen=True, slots=True)
class _Move:
    """Chunks of one group for chunks of another."""

    cut: str
    restored: str
    widths: Mapping[str, int]


def rebuilt(original: Network, kept: Mapping[str, tuple[int, ...]]) -> Network:
    """The original cut to these channels, its weights untouched otherwise."""
    network = original
    for group in original.coupling.all_groups():
        gone = sorted(set(original.kept[group.name]) - set(kept[group.name]))
        if gone:
            network = network.cut(group, gone)
    return network


class Exchanger:
    """Local search over end points.

    Args:
        original: the network before any cut, without the blocks and layers that are left out.
        teacher: its pre-activations on the samples of the refit.
        settings: of the refits.
        loss: held-out loss of a network.
        step: the device's channel step.
        order: in which channels leave, by group.
        trials: most trials in a round: the moves that promise most.

    ``count`` is how many the last round took.
    """

    def __init__(
        self,
        original: Network,
        teacher: Teacher,
        settings: RefitSettings,
        loss: Callable[[Network], float],
        step: int,
        order: Mapping[str, Order],
        trials: int,
    ) -> None:
        self.original = original
        self.teacher = teacher
        self.settings = settings
        self.loss = loss
        self.step = step
        self.order = order
        self.trials = trials
        self.count = 0

    def round(self, network: Network, fits: Callable[[Network], bool]) -> Exchange | None:
        """The best exchange from a network at hand, or None where none gains.

        Args:
            network: where to start, as ``start`` or an exchange gave it.
            fits: whether a network of some widths meets the budget; its weights do not matter.
        """
        best, self.count = self.loss(network), 0
        scored = [(self._score(move), move) for move in self._moves(network.widths, fits)]
        if not scored:
            return None
        loss, move = min(scored, key=lambda item: (item[0], item[1].cut, item[1].restored))
        if not loss <= best - _LEAST_GAIN:
            return None
        after = refit(self._narrowed(move.widths), self.teacher, self.settings)
        return Exchange(
            after,
            (move.cut, _difference(network, after, move.cut)),
            (move.restored, _difference(after, network, move.restored)),
            best,
            loss,
        )

    def start(self, kept: Mapping[str, tuple[int, ...]]) -> Network:
        """The original cut to the widths of what is kept, the channels as the order has them, refitted."""
        widths = {name: len(channels) for name, channels in kept.items()}
        return refit(self._narrowed(widths), self.teacher, self.settings)

    def _narrowed(self, widths: Mapping[str, int]) -> Network:
        return rebuilt(self.original, self._kept(widths))

    def _score(self, move: _Move) -> float:
        self.count += 1
        return self.loss(refit(self._narrowed(move.widths), self.teacher, self.settings))

    def _moves(self, widths: Mapping[str, int], fits: Callable[[Network], bool]) -> list[_Move]:
        """The moves that promise the lowest loss, up to the number of trials.

        Measured on a ResNet-8 and a DS-CNN at four budgets: where any of about 16 moves lowered the held-out
        loss, the best of them was among the first five of this order; in the order of the energy used it
        could be anywhere.
        """
        found: list[tuple[float, _Move]] = []
        for restored in self.order:
            for cut in ("", *self.order):
                if cut != restored:
                    found.extend(self._filled(dict(widths), cut, restored, fits))
        found.sort(key=lambda item: (item[0], item[1].cut, item[1].restored))
        return [move for _, move in found[: self.trials]]

    def _filled(
        self, widths: dict[str, int], cut: str, restored: str, fits: Callable[[Network], bool]
    ) -> Iterator[tuple[float, _Move]]:
        """Cut one chunk, then put back as many of the other group as the budget allows."""
        before = dict(widths)
        if cut:
            taken = chunk(widths[cut], self.step)
            if not taken:
                return
            widths[cut] -= taken
        best: dict[str, int] | None = None
        most = len(self.order[restored].channels)
        while widths[restored] < most:
            widths[restored] = min(_next(widths[restored], self.step), most)
            if not fits(replace(self.original, kept=self._kept(widths))):
                break
            best = dict(widths)
        if best is not None:
            rise = sum(self.order[name].rise(before[name], best[name]) for name in (cut, restored) if name)
            yield rise, _Move(cut, restored, best)

    def _kept(self, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The channels that stay at some widths."""
        return {name: order.kept(widths[name]) for name, order in self.order.items()}


def _next(width: int, step: int) -> int:
    """The next wider width on the grid."""
    return width // step * step + step


def _difference(wide: Network, narrow: Network, group: str) -> tuple[int, ...]:
    return tuple(sorted(set(wide.kept[group]) - set(narrow.kept[group]))) if group else ()


def held_out_loss(inputs: Tensor, loss: Callable[[Tensor], float]) -> Callable[[Network], float]:
    """The loss of a network on held-out inputs."""

    def score(network: Network) -> float:
        with torch.no_grad():
            return loss(network(inputs))

    return score
