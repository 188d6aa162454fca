"""Groups: sets of interchangeable channels, each channel with the slices of parameters that go with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from joulecut.pruning.coupling.identities import FIXED, Solution
from joulecut.pruning.coupling.propagate import Span, Use, Walk
from joulecut.pruning.coupling.slabs import every_label
from joulecut.pruning.coupling.tying import tensors
from joulecut.pruning.records import Refusal
from joulecut.workload.trace import source_line

__all__ = ["Group", "ParameterSlice", "find_groups", "find_refusals"]


@dataclass(frozen=True, slots=True, eq=False)
class ParameterSlice:
    """Where the channels of a group sit in one parameter.

    ``positions[i]`` are the indices along ``dim`` that go with channel i: int64 of shape
    [channels, k], k > 1 where a flatten repeats a channel over space.
    """

    parameter: str
    dim: int
    role: str
    node: str
    positions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Channels that can be removed one by one, each with everything that must go with it.

    Attributes:
        name: the parameter that first writes the channels, less ``.weight``.
        size: how many channels.
        slices: every parameter slice that goes with them.
        classes: the coupling class of each channel, int64 of shape [size].
        inexact: the operations that run over the channels (a norm, a mean), or "": removing channels of
            such a group is no longer the same as zeroing what reads them.
    """

    name: str
    size: int
    slices: tuple[ParameterSlice, ...]
    classes: Tensor
    inexact: str

    def of_role(self, role: str) -> tuple[ParameterSlice, ...]:
        """The slices with a role: writer, reader or through."""
        return tuple(s for s in self.slices if s.role == role)


_MULTIPLIER: Final = 6364136223846793005
"""Of a linear congruential generator (Knuth, MMIX): spreads the numbers of values over 64 bits."""


def find_groups(walk: Walk) -> tuple[Group, ...]:
    """Bundle classes that touch the same parameters in the same way into groups."""
    solution, uses = walk.ids.solve(), _uses(walk)
    members = _members(walk, solution, [use for use, _ in uses])
    bundle, rank = torch.full((2, walk.ids.count), -1)
    for i, found in enumerate(members):
        bundle[found], rank[found] = i, torch.arange(len(found))
    slices: dict[int, list[ParameterSlice]] = defaultdict(list)
    for use, span in uses:
        for number, at in _bundled(solution, bundle, rank, use.ids):
            if len(at) % len(members[number]) == 0:
                table = (use.ids - span.first)[at].reshape(len(members[number]), -1)
                slices[number].append(ParameterSlice(span.parameter, span.dim, use.role, use.node, table))
    inexact: dict[int, dict[str, None]] = defaultdict(dict)
    for label, reason in walk.inexact:
        for number, _ in _bundled(solution, bundle, rank, label.flatten()):
            inexact[number][reason.op] = None
    seen: dict[str, int] = defaultdict(int)
    groups: list[Group] = []
    for i, found in enumerate(members):
        first = next(part for part in slices[i] if part.role == "writer")
        name = first.parameter.removesuffix(".weight")
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}#{seen[name]}"
        groups.append(Group(name, len(found), tuple(slices[i]), found, ", ".join(inexact[i])))
    return tuple(groups)


def _members(walk: Walk, solution: Solution, uses: list[Use]) -> list[Tensor]:
    """The classes of each group, in the order in which they are written."""
    ways = _ways(walk, solution, uses).tolist()
    members: dict[int, list[int]] = {}
    met = {FIXED}
    for use in uses:
        for layer in solution.layers(use.ids) if use.role == "writer" else ():
            for number in layer.tolist():
                if number not in met:
                    members.setdefault(ways[number], []).append(number)
                    met.add(number)
    return [torch.tensor(found) for found in members.values()]


def _bundled(solution: Solution, bundle: Tensor, rank: Tensor, ids: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The bundles that some identities belong to, with the positions of their classes in order."""
    for layer in solution.layers(ids):
        owner = bundle[layer]
        for number in torch.unique(owner[owner >= 0]).tolist():
            at = torch.nonzero(owner == number).flatten()
            yield number, at[torch.argsort(rank[layer[at]], stable=True)]


def _uses(walk: Walk) -> list[tuple[Use, Span]]:
    """What is done with each dimension of a parameter; channels are written by parameters, not by buffers."""
    named = tensors(walk.module)
    found: list[tuple[Use, Span]] = []
    for use in walk.uses:
        span = walk.owner(use.ids)
        if span is not None:
            written = use.role != "writer" or isinstance(named[span.parameter], nn.Parameter)
            found.append((use if written else replace(use, role="through"), span))
    used = {span for _, span in found}
    nodes = {
        str(n.target): next(iter(n.users), n).name for n in walk.module.graph.nodes if n.op == "get_attr"
    }
    for span in (span for span in walk.spans if span not in used):
        ids = torch.arange(span.first, span.first + span.size)
        found.append((Use("through", ids, nodes.get(span.parameter, "")), span))
    return found


def _ways(walk: Walk, solution: Solution, uses: list[Use]) -> Tensor:
    """A number by class that two classes share when they go through the same values: int64 [classes].

    Channels of one layer that a split sends different ways are not interchangeable, though the same weights
    write and read them.
    """
    way = torch.zeros(walk.ids.count, dtype=torch.long)
    labels = [label for _, label in every_label(walk)] + [use.ids for use in uses]
    for count, ids in enumerate(labels, start=1):
        for number, layer in enumerate(solution.layers(ids), start=1):
            inside, counts = torch.unique(layer, return_counts=True)
            way[inside] = way[inside] * _MULTIPLIER + counts * 65537 + count * 16 + number
    return way


def find_refusals(walk: Walk) -> tuple[Refusal, ...]:
    """Every channel that a layer writes and that must stay; one record for each layer and reason.

    A layer's channels in groups and those refused add up to all that it writes. The source line is that of
    the operation to blame; for the network's output, which has none, that of the layer itself.
    """
    lines = {node.name: source_line(node) for node in walk.module.graph.nodes}
    solution, named = walk.ids.solve(), tensors(walk.module)
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    done: set[Span] = set()
    for use, span in _uses(walk):
        if use.role == "writer" and span not in done and named[span.parameter].ndim > 1:
            done.add(span)
            path = span.parameter.removesuffix(".weight")
            for number in solution.component[use.ids[solution.root[use.ids] == FIXED]].tolist():
                why = solution.reasons[number]
                counts[path, why.text, why.op, why.source or lines[use.node]] += 1
    for name, why in walk.lone.items():
        counts[name.removesuffix(".weight"), why.text, why.op, why.source] = 1
    return tuple(Refusal(path, n, text, op, source) for (path, text, op, source), n in counts.items())
