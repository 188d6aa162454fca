"""Groups: sets of interchangeable channels, each channel with the slices of parameters that go with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

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


_MULTIPLIER = 6364136223846793005
"""Of a linear congruential generator (Knuth, MMIX): spreads the numbers of values over 64 bits."""


def find_groups(walk: Walk) -> tuple[Group, ...]:
    """Bundle classes that touch the same parameters in the same way into groups."""
    solution = walk.ids.solve()
    spans = _Spans(walk)
    ways = _ways(walk, solution, spans)
    bundle = torch.full((walk.ids.count,), -1)
    rank = torch.zeros(walk.ids.count, dtype=torch.long)
    members: list[list[int]] = []
    by_way: dict[int, int] = {}
    for use in spans.uses:
        if use.role == "writer":
            for layer in solution.layers(use.ids):
                for number in layer.tolist():
                    if number != FIXED and bundle[number] < 0:
                        key = by_way.setdefault(int(ways[number]), len(members))
                        if key == len(members):
                            members.append([])
                        rank[number] = len(members[key])
                        bundle[number] = key
                        members[key].append(number)
    slices = _slices(solution, spans, bundle, rank, [len(found) for found in members])
    inexact = _inexact(walk, solution, bundle)
    groups = [
        Group("", len(numbers), tuple(slices[i]), torch.tensor(numbers), ", ".join(inexact[i]))
        for i, numbers in enumerate(members)
    ]
    return _named(groups)


class _Spans:
    """The parameters' identities and what uses them; channels are written by parameters, not by buffers."""

    def __init__(self, walk: Walk) -> None:
        named = tensors(walk.module)
        self.spans = walk.spans
        self.first = torch.tensor([span.first for span in walk.spans] or [0])
        uses = [use for use in walk.uses if len(use.ids) and self._owned(use.ids)]
        self.uses = [u if self._written(u, named) else replace(u, role="through") for u in uses]
        covered = {int(i) for use in uses for i in torch.unique(self.of(use.ids))}
        nodes = {
            str(n.target): next(iter(n.users)).name
            for n in walk.module.graph.nodes
            if n.op == "get_attr" and n.users
        }
        for i, span in enumerate(walk.spans):
            if i not in covered:
                ids = torch.arange(span.first, span.first + span.size)
                self.uses.append(Use("through", ids, nodes.get(span.parameter, "")))

    def of(self, ids: Tensor) -> Tensor:
        """The number of the span of each identity."""
        return torch.searchsorted(self.first, ids, right=True) - 1

    def at(self, use: Use) -> Span:
        """The span of the first identity of a use."""
        return self.spans[int(self.of(use.ids[:1]))]

    def _owned(self, ids: Tensor) -> bool:
        span = self.spans[int(self.of(ids[:1]))]
        return bool(((ids >= span.first) & (ids < span.first + span.size)).all())

    def _written(self, use: Use, named: dict[str, Tensor]) -> bool:
        return use.role != "writer" or isinstance(named[self.at(use).parameter], nn.Parameter)


def _ways(walk: Walk, solution: Solution, spans: _Spans) -> Tensor:
    """A number by class that two classes share when they go through the same values: int64 [classes].

    Channels of one layer that a split sends different ways are not interchangeable, though the same weights
    write and read them.
    """
    way = torch.zeros(walk.ids.count, dtype=torch.long)
    labels = [label for _, label in every_label(walk)]
    for count, ids in enumerate([*labels, *(use.ids for use in spans.uses)], start=1):
        for number, layer in enumerate(solution.layers(ids), start=1):
            inside, counts = torch.unique(layer, return_counts=True)
            way[inside] = way[inside] * _MULTIPLIER + counts * 65537 + count * 16 + number
    return way


def _slices(
    solution: Solution, spans: _Spans, bundle: Tensor, rank: Tensor, sizes: list[int]
) -> dict[int, list[ParameterSlice]]:
    """The parameter slices of each bundle, in the order of the operations."""
    found: dict[int, list[ParameterSlice]] = defaultdict(list)
    for use in spans.uses:
        span = spans.at(use)
        positions = use.ids - span.first
        for layer in solution.layers(use.ids):
            owner = bundle[layer]
            for number in torch.unique(owner[owner >= 0]).tolist():
                mine = torch.nonzero(owner == number).flatten()
                order = torch.argsort(rank[layer[mine]] * (int(positions.max()) + 1) + positions[mine])
                if len(mine) % sizes[number] == 0:
                    table = positions[mine][order].reshape(sizes[number], -1)
                    found[number].append(ParameterSlice(span.parameter, span.dim, use.role, use.node, table))
    return found


def _inexact(walk: Walk, solution: Solution, bundle: Tensor) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for label, reason in walk.inexact:
        for layer in solution.layers(label):
            owner = bundle[layer]
            for number in torch.unique(owner[owner >= 0]).tolist():
                if reason.op not in found[number]:
                    found[number].append(reason.op)
    return found


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Groups with unique names: several families written by one layer are numbered."""
    seen: dict[str, int] = defaultdict(int)
    out: list[Group] = []
    for group in groups:
        name = group.of_role("writer")[0].parameter.removesuffix(".weight")
        seen[name] += 1
        out.append(replace(group, name=name if seen[name] == 1 else f"{name}#{seen[name]}"))
    return tuple(out)


def find_refusals(walk: Walk) -> tuple[Refusal, ...]:
    """Every channel that a layer writes and that must stay; one record for each layer and reason.

    A layer's channels in groups and those refused add up to all that it writes. The source line is that of
    the operation to blame; for the network's output, which has none, that of the layer itself.
    """
    lines = {node.name: source_line(node) for node in walk.module.graph.nodes}
    solution, spans, named = walk.ids.solve(), _Spans(walk), tensors(walk.module)
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    done: set[tuple[str, int]] = set()
    for use in spans.uses:
        name, dim = spans.at(use).parameter, spans.at(use).dim
        if use.role != "writer" or (name, dim) in done or named[name].ndim < 2:
            continue
        done.add((name, dim))
        frozen = solution.component[use.ids[solution.root[use.ids] == FIXED]]
        for number in frozen.tolist():
            why = solution.reasons[number]
            counts[name.removesuffix(".weight"), why.text, why.op, why.source or lines[use.node]] += 1
    for name, why in walk.lone.items():
        counts[name.removesuffix(".weight"), why.text, why.op, why.source] = 1
    return tuple(Refusal(path, n, text, op, source) for (path, text, op, source), n in counts.items())
