"""Runs the steps of a captured network: over all samples together, or over parts that fit a cache.

A value of 100 MB costs more time to get from the operating system, page by page, than to compute: in parts
of 64 samples a DS-CNN runs 2,048 images of 28x28 four times faster than at once, to the same bits (CPU,
torch 2.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.pruning.coupling.cut import Cutter, retargeted

__all__ = [
    "AfterStep",
    "BeforeStep",
    "PartValues",
    "Parts",
    "Program",
    "SampleAxes",
    "Values",
    "bytes_per_sample",
    "fast_layout",
    "parts_of",
]

Values = dict[str, Any]
"""Values of a run by node name; of a run in parts, ``Parts`` of them."""


PartValues = dict[str, list[Any]]
"""Values of a run by node name, one for each part of the samples."""


class Parts(list[Any]):
    """One value for each part of the samples."""


def bytes_per_sample(module: fx.GraphModule) -> int:
    """Bytes of all values that a network computes, captured for one sample; at least 1."""
    values = [node.meta.get("val") for node in module.graph.nodes if node.op == "call_function"]
    return max(sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor)), 1)


def parts_of(value: Any) -> Parts:
    """The parts of a value; one, where it is whole."""
    return value if isinstance(value, Parts) else Parts([value])


BeforeStep = Callable[[fx.Node, Values], Mapping[str, Tensor]]
"""Called before a node runs; the weights that it returns are used from then on."""

AfterStep = Callable[[fx.Node, Any], None]
"""Called with every value that a run computes."""

_PART_BYTES: Final = 4 << 20
"""Of the largest value of a part; 1 to 8 MiB measured equal."""
_FEWEST: Final = 8


@dataclass(frozen=True, slots=True)
class _Step:
    """One node, its sizes written for the channels that live; ``last`` names what nothing reads later."""

    node: fx.Node
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    stand_in: str
    last: tuple[str, ...]


class Program:
    """The steps that a network's output needs.

    Args:
        module: the captured network.
        cutter: rewrites sizes.
        alive: living classes.
        reads: the nodes that each node takes its values from; one that takes those of a single node which it
            does not read in the graph hands that value on.
        known: names of values that need not be computed.
        held: by node, names of values that stay until it has run though it does not read them.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        cutter: Cutter,
        alive: Tensor,
        reads: Mapping[str, Sequence[fx.Node]],
        known: frozenset[str],
        held: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        nodes = list(module.graph.nodes)
        self.attributes = {str(n.target): n.name for n in nodes if n.op == "get_attr"}
        result = nodes[-1].args[0]
        self.output = (result[0] if isinstance(result, (tuple, list)) else result).name
        needed, last = {self.output}, {self.output}
        steps: list[_Step] = []
        for node in reversed(nodes[:-1]):
            if node.name not in needed:
                continue
            read = [] if node.name in known else [n.name for n in reads[node.name]]
            needed.update(read)
            until = [*read, *(held or {}).get(node.name, ())]
            released = tuple(name for name in dict.fromkeys(until) if name not in last)
            last.update(until)
            handed = bool(read) and list(reads[node.name]) != list(node.all_input_nodes)
            call: tuple[Any, tuple[Any, ...], dict[str, Any]] = (None, (), {})
            if node.op == "call_function" and not handed and node.name not in known:
                call = retargeted(node, cutter.arguments(node, alive))
            steps.append(_Step(node, *call, read[0] if handed else "", released))
        self.steps = steps[::-1]

    @property
    def names(self) -> list[str]:
        """Every value that a run has."""
        return [step.node.name for step in self.steps]

    def needs(self, name: str) -> bool:
        """Whether a value is needed."""
        return name in self.names

    def run(
        self,
        weights: Mapping[str, Tensor],
        inputs: Tensor,
        keep: frozenset[str] | None,
        before: BeforeStep | None,
        after: AfterStep | None,
        known: Values,
    ) -> tuple[Tensor, Values]:
        """The output and the values kept; None keeps all."""
        values: Values = dict(known)
        for step in self.steps:
            name = step.node.name
            if name not in values:
                if before is not None and step.node.op == "call_function":
                    new = before(step.node, values)
                    values.update({self.attributes[key]: tensor for key, tensor in new.items()})
                values[name] = (
                    values[step.stand_in] if step.stand_in else _value(step, values, weights, inputs)
                )
                if after is not None and not step.stand_in:
                    after(step.node, values[name])
            for read in step.last if keep is not None else ():
                if read not in keep:  # type: ignore[operator]
                    values.pop(read, None)
        return values[self.output], {k: v for k, v in values.items() if keep is None or k in keep}

    def run_by_layers(
        self,
        weights: Mapping[str, Tensor],
        parts: Sequence[Tensor],
        keep: frozenset[str],
        before: Callable[[fx.Node, PartValues], Mapping[str, Tensor]],
    ) -> PartValues:
        """Each step on all parts of the samples before the next step.

        Args:
            weights: by parameter name.
            parts: of the inputs.
            keep: names of values that stay until the end.
            before: called before each operation with the values so far, a list with one for each part; the
                weights that it returns are used from then on.

        Returns:
            The output and what is kept.
        """
        values: PartValues = {}
        for step in self.steps:
            name = step.node.name
            if step.node.op == "call_function":
                new = before(step.node, values)
                values.update({self.attributes[key]: [tensor] * len(parts) for key, tensor in new.items()})
            if step.stand_in:
                values[name] = values[step.stand_in]
            else:
                at = [
                    {n.name: values[n.name][i] for n in step.node.all_input_nodes} for i in range(len(parts))
                ]
                values[name] = [
                    _value(step, found, weights, inputs) for found, inputs in zip(at, parts, strict=True)
                ]
            for read in step.last:
                if read not in keep:
                    values.pop(read, None)
        return values


def _value(step: _Step, values: Values, weights: Mapping[str, Tensor], inputs: Tensor) -> Any:
    if step.node.op == "placeholder":
        return fast_layout(inputs)
    if step.node.op == "get_attr":
        return weights[str(step.node.target)]
    args, kwargs = map_arg((step.args, step.kwargs), lambda n: values[n.name])
    return step.target(*args, **kwargs)


def fast_layout(tensor: Tensor) -> Tensor:
    """Channels last for images: torch's depthwise convolution is several times slower without it on a CPU."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@dataclass(frozen=True, slots=True)
class SampleAxes:
    """Where the values of a network hold the samples.

    Attributes:
        first: values with the samples along their first dimension, one after the other.
        counts: whole numbers in proportion to the samples.
        constant: values that depend on no sample.
        size: samples in a part of which the largest value fits a cache.
    """

    first: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    constant: frozenset[str] = frozenset()
    size: int = 1

    @staticmethod
    def of(run: Callable[[Tensor], Values], example: Tensor) -> SampleAxes:
        """Found by running three samples at once, and as one and two.

        Args:
            run: gives all values for a batch.
            example: noise of the shape of three samples.
        """
        whole, *parts = run(example), run(example[:1]), run(example[1:])
        first, counts, constant, largest = set(), set(), set(), 1
        for name, value in whole.items():
            pieces = [part[name] for part in parts]
            if all(_same(value, piece) for piece in pieces):
                constant.add(name)
            elif isinstance(value, int) and value % 3 == 0 and pieces == [value // 3, value // 3 * 2]:
                counts.add(name)
            elif not isinstance(value, int) and _joins(value, pieces):
                first.add(name)
            largest = max(largest, value.nbytes // 3) if isinstance(value, Tensor) else largest
        size = _FEWEST
        while 2 * size * largest <= _PART_BYTES:
            size *= 2
        return SampleAxes(frozenset(first), frozenset(counts), frozenset(constant), size)

    def splits(self, names: Iterable[str]) -> bool:
        """Whether values can be split into parts of the samples."""
        return all(name in self.first or name in self.counts or name in self.constant for name in names)

    def bounds(self, samples: int) -> list[tuple[int, int]]:
        """First and last sample of each part."""
        return [(start, min(start + self.size, samples)) for start in range(0, samples, self.size)]

    def part(self, name: str, value: Any, bounds: tuple[int, int], samples: int) -> Any:
        """Those of a value's ``samples`` between two bounds."""
        start, stop = bounds
        if name in self.constant:
            return value
        if name in self.counts:
            return value // samples * (stop - start)
        if isinstance(value, (tuple, list)):
            return [self.part(name, piece, bounds, samples) for piece in value]
        each = len(value) // samples
        return value[start * each : stop * each]

    def put(self, name: str, whole: Any, value: Any, bounds: tuple[int, int], samples: int) -> Any:
        """``whole`` (None at first) with the value of the samples between two bounds put in."""
        start, stop = bounds
        if name in self.constant:
            return value
        if name in self.counts:
            return value // (stop - start) * samples
        if isinstance(value, (tuple, list)):
            wholes = whole if whole is not None else [None] * len(value)
            return [self.put(name, w, v, bounds, samples) for w, v in zip(wholes, value, strict=True)]
        each = len(value) // (stop - start)
        whole = _room(value, samples * each) if whole is None else whole
        whole[start * each : stop * each] = value
        return whole


def _room(like: Tensor, rows: int) -> Tensor:
    image = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if image else torch.contiguous_format
    return torch.empty((rows, *like.shape[1:]), dtype=like.dtype, memory_format=layout)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_same(v, o) for v, o in zip(value, other, strict=True))
    if isinstance(value, Tensor):
        return value.shape == other.shape and torch.equal(value, other)
    return bool(value == other)


def _joins(value: Any, pieces: Sequence[Any]) -> bool:
    """Whether a value of three samples is that of the first, then that of the others."""
    if isinstance(value, (tuple, list)):
        return all(_joins(v, found) for v, *found in zip(value, *pieces, strict=True))
    one, two = pieces
    if not value.ndim or len(value) % 3 or 2 * len(one) != len(two) or one.shape[1:] != value.shape[1:]:
        return False
    joined = torch.cat([one, two])
    return joined.shape == value.shape and torch.allclose(joined, value, rtol=1e-3, atol=1e-5, equal_nan=True)
