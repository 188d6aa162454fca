"""Groups: sets of interchangeable channels, each channel with the slices of parameters that go with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.pruning.coupling.identities import FIXED, Solution
from joulecut.pruning.coupling.labels import varies
from joulecut.pruning.coupling.propagate import Use, Walk, shape_of
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
        inexact: the operation that runs over the channels (a norm, a mean), or "": removing channels of
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


_Place = tuple[str, int, str, str]
_MULTIPLIER = 6364136223846793005
"""Of a linear congruential generator (Knuth, MMIX): spreads the numbers of values over 64 bits."""


def find_groups(walk: Walk) -> tuple[Group, ...]:
    """Bundle classes that touch the same parameters in the same way into groups."""
    solution = walk.ids.solve()
    places: dict[int, dict[_Place, list[int]]] = defaultdict(lambda: defaultdict(list))
    writes: set[int] = set()
    for use in walk.uses:
        for dim, numbers in _by_dimension(solution.root[use.ids], use.dim):
            for position, number in enumerate(numbers):
                if number != FIXED:
                    places[number][(use.parameter, dim, use.role, use.node)].append(position)
                    if use.role == "writer":
                        writes.add(number)
    ways = _ways(walk, solution)
    bundles: dict[tuple[int, tuple[tuple[_Place, int], ...]], list[int]] = defaultdict(list)
    for number in sorted(writes):  # places were found in the order of execution, so each key is too
        key = tuple((place, len(found)) for place, found in places[number].items())
        bundles[int(ways[number]), key].append(number)
    inexact = _inexact(walk, solution)
    return _named(
        [
            _group([place for place, _ in key], numbers, places, inexact)
            for (_, key), numbers in bundles.items()
        ]
    )


def _ways(walk: Walk, solution: Solution) -> Tensor:
    """A number by class that two classes share when they go through the same values: int64 [classes].

    Channels of one layer that a split sends different ways are not interchangeable, though the same weights
    write and read them.
    """
    way = torch.zeros(walk.ids.count, dtype=torch.long)
    count = 0
    for found in walk.labels.values():
        for item in found:
            for label in (item,) if isinstance(item, Tensor) else item:
                count += 1
                inside = torch.unique(solution.root[label])
                way[inside] = way[inside] * _MULTIPLIER + count
    return way


def _by_dimension(seen: Tensor, dim: int | None) -> list[tuple[int, list[int]]]:
    """Classes by position along each dimension that they fill completely."""
    if dim is not None:
        return [(dim, seen.tolist())]
    result = []
    for d in varies(seen) or ([0] if seen.ndim == 1 else []):
        rows = seen.movedim(d, 0).reshape(seen.shape[d], -1)
        constant = (rows == rows[:, :1]).all(1)
        result.append((d, torch.where(constant, rows[:, 0], FIXED).tolist()))
    return result


def _group(
    keys: list[_Place],
    numbers: list[int],
    places: dict[int, dict[_Place, list[int]]],
    inexact: dict[int, str],
) -> Group:
    first = next(key for key in keys if key[2] == "writer")
    order = sorted(numbers, key=lambda number: places[number][first])
    slices = tuple(
        ParameterSlice(
            parameter, dim, role, node, torch.tensor([places[n][parameter, dim, role, node] for n in order])
        )
        for parameter, dim, role, node in keys
    )
    name = first[0].removesuffix(".weight")
    return Group(name, len(order), slices, torch.tensor(order), inexact.get(order[0], ""))


def _inexact(walk: Walk, solution: Solution) -> dict[int, str]:
    found: dict[int, str] = {}
    for label, reason in walk.inexact:
        for number in torch.unique(solution.root[label]).tolist():
            found.setdefault(number, reason.op)
    return found


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Groups with unique names: several families written by one layer are numbered."""
    seen: dict[str, int] = defaultdict(int)
    out: list[Group] = []
    for group in groups:
        seen[group.name] += 1
        name = group.name if seen[group.name] == 1 else f"{group.name}#{seen[group.name]}"
        out.append(Group(name, group.size, group.slices, group.classes, group.inexact))
    return tuple(out)


def find_refusals(walk: Walk) -> tuple[Refusal, ...]:
    """Every channel that a layer writes and that must stay; one record for each layer and reason.

    A layer's channels in groups and those refused add up to all that it writes. The source line is that of
    the operation to blame; for the network's output, which has none, that of the layer itself.
    """
    lines = {node.name: source_line(node) for node in walk.module.graph.nodes}
    solution = walk.ids.solve()
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    written = _written(walk)
    for path, use in written.items():
        for number in solution.component[use.ids].tolist():
            if number in solution.reasons:
                why = solution.reasons[number]
                counts[path, why.text, why.op, why.source or lines[use.node]] += 1
    for path, channels, why in walk.unlabelled:
        if path not in written:
            counts[path, why.text, why.op, why.source] = channels
    return tuple(Refusal(path, n, text, op, source) for (path, text, op, source), n in counts.items())


def _written(walk: Walk) -> dict[str, Use]:
    """Where each layer writes its channels, by its path; a layer that is called several times counts once."""
    weights = {walk.name(n) for n in walk.module.graph.nodes if n.op == "get_attr" and len(shape_of(n)) > 1}
    return {
        use.parameter.removesuffix(".weight"): use
        for use in reversed(walk.uses)
        if use.role == "writer" and use.parameter in weights
    }
