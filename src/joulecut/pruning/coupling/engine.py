"""``couple``: which channels of a network go together, and the network without some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.errors import UsageError
from joulecut.pruning.captured import tensors
from joulecut.pruning.coupling.cut import Cutter
from joulecut.pruning.coupling.groups import Group, find_groups, find_refusals
from joulecut.pruning.coupling.propagate import walk
from joulecut.pruning.coupling.rules_values import rule_of
from joulecut.pruning.coupling.trial import make_slabs, trouble
from joulecut.pruning.records import Refusal
from joulecut.workload.trace import Traced, trace

__all__ = ["Coupling", "couple"]

_TRIED: Final = 0.4
"""Share of every group that the first trial cut removes."""


class Coupling:
    """The groups of channels of a captured network; those that break it in a trial cut are refused."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self._walk = walk(module, rule_of)
        make_slabs(self._walk)
        frozen = True
        while frozen:
            self._groups = find_groups(self._walk)
            self._solution = self._walk.ids.solve()
            self.cutter = Cutter(self._walk)
            frozen = self._refuse_troubled()
        self._refused = find_refusals(self._walk)

    def _refuse_troubled(self) -> bool:
        """Freeze the groups that trial cuts show to be in the way of an operation; if any."""
        cuts, frozen = self._trials(self._groups), set[str]()
        for node in self.module.graph.nodes:
            if why := trouble(self.cutter, node, cuts):
                around = (node, *node.all_input_nodes, *node.users)
                seen = torch.cat([self.cutter.all_classes(n) for n in around])
                near = [g for g in self._groups if bool(torch.isin(g.classes, seen).any())] or self._groups
                if frozen & {group.name for group in near}:
                    continue
                alone = [group for group in near if trouble(self.cutter, node, self._trials([group]))]
                self._walk.freeze(tuple(group.classes for group in alone or near), node, why)
                frozen |= {group.name for group in alone or near}
        return bool(frozen)

    def _trials(self, groups: Sequence[Group]) -> list[Tensor]:
        """Trial cuts: some channels of every group, then its first, its last, every second, all but one."""
        generator = torch.Generator().manual_seed(0)
        cuts: list[dict[str, Sequence[int]]] = [{} for _ in range(6)]
        for group in groups:
            order = torch.randperm(group.size, generator=generator).tolist()
            every, count = range(group.size), max(1, int(group.size * (1 - _TRIED)))
            kept = (order[:count], every[1:], every[:-1], every[::2], every[1:2], order[-count:])
            for cut, left in zip(cuts, kept, strict=True):
                cut[group.name] = left or [0]
        return [self.alive(cut) for cut in cuts]

    def groups(self) -> tuple[Group, ...]:
        """The groups that can be cut exactly, in the order of the network's parameters.

        The network without some of their channels is the same function as with what reads these zeroed.
        """
        return tuple(group for group in self._groups if not group.inexact)

    def all_groups(self) -> tuple[Group, ...]:
        """Also the groups marked inexact: a norm, a mean or a softmax runs over fewer channels."""
        return self._groups

    def refused(self) -> tuple[Refusal, ...]:
        """Channels that must stay, with the reason, the operation and the source line."""
        return self._refused

    def alive(self, kept: Mapping[str, Sequence[int]]) -> Tensor:
        """Which classes live when groups keep these channels: bool by class; groups not named keep all.

        Raises:
            UsageError: an unknown group, an index out of range, or a group that would keep nothing.
        """
        alive = torch.ones(len(self._solution.root), dtype=torch.bool)
        by_name = {group.name: group for group in self._groups}
        for name, channels in kept.items():
            group = by_name.get(name)
            if group is None:
                raise UsageError(f"no group of channels is called {name[:120]!r}.")
            if not channels:
                raise UsageError(f"the group {name} must keep at least one channel.")
            if wrong := [c for c in channels if not 0 <= c < group.size]:
                raise UsageError(f"the group {name} has channels 0 to {group.size - 1}, not {wrong[0]}.")
            alive[group.classes] = False
            alive[group.classes[torch.tensor(channels)]] = True
        return self._solution.spread(alive)

    def apply(self, kept: Mapping[str, Sequence[int]]) -> fx.GraphModule:
        """A copy of the network in which each named group keeps only these channels (original indices).

        Parameters are sliced, sizes in the graph rewritten; parameter names stay the author's.
        """
        return self.cutter.cut(self.alive(kept))

    def indices(self, kept: Mapping[str, Sequence[int]]) -> dict[str, dict[int, list[int]]]:
        """The kept indices by parameter name and dimension, for every dimension that is cut."""
        alive, found = self.alive(kept), dict[str, dict[int, list[int]]]()
        for name, tensor in tensors(self.module).items():
            for dim, mask in enumerate(self.cutter.parameter_masks(name, tuple(tensor.shape), alive)):
                if not bool(mask.all()):
                    found.setdefault(name, {})[dim] = torch.nonzero(mask).flatten().tolist()
        return found


def couple(model: torch.nn.Module | Traced, example: Tensor | Sequence[Tensor] | None = None) -> Coupling:
    """Find the channels of a network that go together.

    Args:
        model: a module, with an ``example`` input, or a network that is captured already.
        example: one tensor or one per argument; the first dimension is the batch.

    Raises:
        TraceError: torch.export cannot capture the network.
        UsageError: a module without an example.

    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> coupling = couple(net, torch.zeros(1, 3))
    >>> [(group.name, group.size) for group in coupling.groups()]
    [('0', 8)]
    >>> coupling.apply({"0": [1, 2]})(torch.zeros(1, 3)).shape
    torch.Size([1, 2])
    """
    if isinstance(model, Traced):
        return Coupling(model.module)
    if example is None:
        raise UsageError("couple needs an example input for a module.")
    return Coupling(trace(model, example).module)
