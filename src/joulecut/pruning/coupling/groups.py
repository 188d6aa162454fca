"""Groups: sets of interchangeable channels, each channel with the slices of parameters that go with it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from joulecut.pruning.captured import tensors
from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import Use, Walk, varies
from joulecut.pruning.records import Refusal
from joulecut.workload.trace import source_line

__all__ = ["Group", "ParameterSlice", "find_groups", "find_refusals"]

_MULTIPLIER: Final = 6364136223846793005
"""Of a linear congruential generator (Knuth, MMIX): spreads the numbers of values over 64 bits."""


@dataclass(frozen=True, slots=True)
class Span:
    """The identities ``first`` to ``first + size`` are the indices of one dimension of a parameter."""

    first: int
    size: int
    parameter: str
    dim: int


@dataclass(frozen=True, slots=True, eq=False)
class ParameterSlice:
    """Where the channels of a group sit in one parameter.

    Row i of ``positions``, int64 [channels, k], holds the indices along ``dim`` that go with channel i; k > 1
    where a flatten repeats a channel over space.
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
        inexact: operations that run over the channels (a norm, a mean), so that removing some is not the
            same as zeroing what reads them; or "".
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
    uses, solution = _uses(walk), walk.ids.solve()
    members = _members(walk, [use for use, _ in uses])
    bundle, rank = torch.full((2, walk.ids.count), -1)
    for i, found in enumerate(members):
        bundle[found], rank[found] = i, torch.arange(len(found))

    def bundled(ids: Tensor) -> Iterator[tuple[int, Tensor]]:
        for layer in solution.layers(ids):
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

    They go through the same values, whose numbers are hashed: a split may send channels of a layer elsewhere.
    """
    solution = walk.ids.solve()
    way = torch.zeros(walk.ids.count, dtype=torch.long)
    labels = [label for _, label in walk.every()] + [use.ids for use in uses]
    for count, ids in enumerate(labels, start=1):
        for number, layer in enumerate(solution.layers(ids), start=1):
            inside, counts = torch.unique(layer, return_counts=True)
            way[inside] = way[inside] * _MULTIPLIER + counts * 65537 + count * 16 + number
    members: dict[int, dict[int, None]] = defaultdict(dict)
    for layer in (x for use in uses if use.role == "writer" for x in solution.layers(use.ids)):
        for number, own in zip(layer.tolist(), way[layer].tolist(), strict=True):
            if number != FIXED:
                members[own][number] = None
    return [torch.tensor(list(found)) for found in members.values()]


def _uses(walk: Walk) -> list[tuple[Use, Span]]:
    """What is done with each dimension of a parameter; channels are written by parameters, not by buffers."""
    named, found = tensors(walk.module), list[tuple[Use, Span]]()
    labels = [(name, label) for name, labels in walk.parameters.items() for label in labels]
    spans = [Span(int(label.min()), label.numel(), name, varies(label)[0]) for name, label in labels]
    for use in (use for use in walk.uses if len(use.ids)):
        at = bisect_right(spans, int(use.ids[0]), key=lambda span: span.first) - 1
        if at >= 0 and int(use.ids.max()) < spans[at].first + spans[at].size:
            written = use.role != "writer" or isinstance(named[spans[at].parameter], nn.Parameter)
            found.append((use if written else replace(use, role="through"), spans[at]))
    used = {span for _, span in found}
    nodes = {
        str(n.target): next(iter(n.users), n).name for n in walk.module.graph.nodes if n.op == "get_attr"
    }
    for span in (span for span in spans if span not in used):
        ids = torch.arange(span.first, span.first + span.size)
        found.append((Use("through", ids, nodes.get(span.parameter, "")), span))
    return found


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
                counts[span.parameter, why.text, why.op, why.source or lines[use.node]] += 1
    for name, why in walk.lone.items():
        counts[name, why.text, why.op, why.source] = 1
    return tuple(Refusal(n.removesuffix(".weight"), count, *why) for (n, *why), count in counts.items())
