"""``Option``: one removal that can be made now. ``View``: the network that it would be made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
        values: all values of its run on the calibration inputs.
        teacher: the original on the same inputs.
        pricer: joules by width.
        step: the device's channel step.
        count: removals before, for rhythms and seeds.
    """

    network: Network
    values: Values
    teacher: Teacher
    pricer: Pricer
    step: int
    count: int


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
        starts: the first nodes on each path that compute something else in it than slices of what they do now.
    """

    kind: Kind
    name: str
    channels: tuple[int, ...]
    saving_j: float
    cost: float
    build: Callable[[], Network]
    starts: frozenset[str]

    @property
    def key(self) -> tuple[str, str]:
        """What a guard bans: kind and name."""
        return self.kind, self.name


Source = Callable[[View], Iterable[Option]]
"""Offers the options of one kind."""
