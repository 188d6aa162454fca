"""``Option``: one removal that can be made now. ``View``: the network that it would be made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Kind
from joulecut.pruning.refit import Teacher

__all__ = ["Option", "Source", "View"]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A network in the middle of a search.

    Attributes:
        network: the network now.
        values: values of its run on the calibration inputs; those that reruns and refits read at least.
        teacher: the original on the same inputs.
        pricer: joules by width.
        step: the device's channel step.
        count: removals before, for rhythms and seeds.
        loss: of logits on the calibration inputs.
        now: the loss of the network now.
    """

    network: Network
    values: Values
    teacher: Teacher
    pricer: Pricer
    step: int
    count: int
    loss: Callable[[Tensor], float]
    now: float

    def rerun(self, network: Network, starts: frozenset[str] | None) -> Tensor:
        """The logits of a network like this one, but for what some nodes and all behind them compute.

        Args:
            network: this one with something removed; channels may be gone from any value.
            starts: the first nodes on each path that compute something else than slices of their values now;
                None where any may.
        """
        with torch.no_grad():
            if starts is None:
                return network(self.teacher.inputs)
            return network.rerun(self.teacher.inputs, self.network, self.values, starts)


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A removal that can be made now.

    Attributes:
        kind: what goes.
        name: group, block or layer.
        channels: original indices of the channels that go; () for other kinds.
        saving_j: joules saved, neighbours included; above 0.
        cost: predicted rise of the loss; only its order among options of a step counts.
        build: makes the network without it.
        starts: see ``View.rerun``.
    """

    kind: Kind
    name: str
    channels: tuple[int, ...]
    saving_j: float
    cost: float
    build: Callable[[], Network]
    starts: frozenset[str] | None

    @property
    def key(self) -> tuple[str, str]:
        """What a guard bans: kind and name."""
        return self.kind, self.name


class Source(Protocol):
    """Offers the options of one kind."""

    @property
    def most(self) -> int:
        """How many of them may have their true loss measured at one step."""
        ...

    def __call__(self, view: View) -> Iterable[Option]:
        """The options now."""
        ...
