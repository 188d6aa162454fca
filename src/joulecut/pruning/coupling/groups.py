"""Groups: sets of interchangeable channels, each channel with the slices of parameters that go with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import Span, Use, Walk
from joulecut.pruning.coupling.tying import tensors
from joulecut.pruning.records import Refusal
from joulecut.workload.trace import source_line

__all__ = ["Group", "ParameterSlice", "find_groups", "find_refusals"]

_MULTIPLIER: Final = 6364136223846793005
"""Of a linear congruential generator (Knuth, MMIX): spreads the numbers of values over 64 bits."""


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


def find_groups(walk: Walk) -> tuple[Group, ...]:
    """Bundle classes that touch the same parameters in the same way into groups."""
    uses = _uses(walk)
    members = _members(walk, [use for use, _ in uses])
    bundle, rank = torch.full((2, walk.ids.count), -1)
    for i, found in enumerate(members):
        bundle[found], rank[found] = i, torch.arange(len(found))

    def bundled(ids: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The bundles that some identities belong to, with the positions of their classes in order."""
        for layer in walk.ids.solve().layers(ids):
            owner = bundle[layer]
            for number in torch.unique(owner[owner >= 0]).tolist():
                at = torch.nonzero(owner == number).flatten()
                yield number, at[torch.argsort(rank[layer[at]], stable=True)]

    slices: dict[int, list[ParameterSlice]] = defaultdict(list)
    for use, span in uses:
        for number, at in bundled(use.ids):
            if len(at) % len(members[number]) == 0:
                table = (use.ids - span.first)[at].reshape(len(members[number]), -1)
                slices[number].append(ParameterSlice(span.parameter, span.dim, use.role, use.node, table))
    inexact: dict[int, dict[str, None]] = defaultdict(dict)
    for label, reason in walk.inexact:
        for number, _ in bundled(label.flatten()):
            inexact[number][reason.op] = None
    names = _names([next(part for part in slices[i] if part.role == "writer") for i in range(len(members))])
    return tuple(
        Group(name, len(found), tuple(slices[i]), found, ", ".join(inexact[i]))
        for i, (name, found) in enumerate(zip(names, members, strict=True))
    )


def _names(writers: list[ParameterSlice]) -> list[str]:
    """Names of groups, numbered where a parameter writes the channels of several."""
    plain = [part.parameter.removesuffix(".weight") for part in writers]
    counts = [plain[: i + 1].count(name) for i, name in enumerate(plain)]
    return [name if n == 1 else f"{name}#{n}" for name, n in zip(plain, counts, strict=True)]


def _members(walk: Walk, uses: list[Use]) -> list[Tensor]:
    """The classes of each group, in the order in which they are written.

    Classes of a group go through the same values: channels of one layer that a split sends different ways
    are not interchangeable, though the same weights write and read them. Their ways are hashed.
    """
    solution = walk.ids.solve()
    way = torch.zeros(walk.ids.count, dtype=torch.long)
    labels = [label for _, label in walk.every()] + [use.ids for use in uses]
    for count, ids in enumerate(labels, start=1):
        for number, layer in enumerate(solution.layers(ids), start=1):
            inside, counts = torch.unique(layer, return_counts=True)
            way[inside] = way[inside] * _MULTIPLIER + counts * 65537 + count * 16 + number
    written = [x for use in uses if use.role == "writer" for x in solution.layers(use.ids)]
    members: dict[int, dict[int, None]] = defaultdict(dict)
    for layer in written:
        for number, own in zip(layer.tolist(), way[layer].tolist(), strict=True):
            if number != FIXED:
                members[own][number] = None
    return [torch.tensor(list(found)) for found in members.values()]


def _uses(walk: Walk) -> list[tuple[Use, Span]]:
    """What is done with each dimension of a parameter; channels are written by parameters, not by buffers."""
    named = tensors(walk.module)
    found: list[tuple[Use, Span]] = []
    for use, span in ((use, walk.owner(use.ids)) for use in walk.uses):
        if span is not None:
            written = use.role != "writer" or isinstance(named[span.parameter], nn.Parameter)
            found.append((use if written else replace(use, role="through"), span))
    used = {span for _, span in found}
    read = [n for n in walk.module.graph.nodes if n.op == "get_attr"]
    nodes = {str(n.target): next(iter(n.users), n).name for n in read}
    rest = [span for span in walk.spans if span not in used]
    return found + [(Use("through", span.ids, nodes.get(span.parameter, "")), span) for span in rest]


def find_refusals(walk: Walk) -> tuple[Refusal, ...]:
    """Every channel that a layer writes and that must stay; one record for each layer and reason.

    A layer's channels in groups and those refused add up to all that it writes. The source line is that of
    the operation to blame; for the network's output, which has none, that of the layer itself.
    """
    lines = {node.name: source_line(node) for node in walk.module.graph.nodes}
    solution, named = walk.ids.solve(), tensors(walk.module)
    counts, done = Counter[tuple[str, str, str, str]](), set[Span]()
    for use, span in _uses(walk):
        if use.role == "writer" and span not in done and named[span.parameter].ndim > 1:
            done.add(span)
            for number in solution.component[use.ids[solution.root[use.ids] == FIXED]].tolist():
                why = solution.reasons[number]
                counts[
                    span.parameter.removesuffix(".weight"), why.text, why.op, why.source or lines[use.node]
                ] += 1
    for name, why in walk.lone.items():
        counts[name.removesuffix(".weight"), why.text, why.op, why.source] = 1
    return tuple(Refusal(name, n, text, op, source) for (name, text, op, source), n in counts.items())
