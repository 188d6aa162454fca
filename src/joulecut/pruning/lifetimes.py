"""Which buffers a graph needs, and while which of its operations each is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor, fx
from torch.multiprocessing.reductions import StorageWeakRef

from joulecut.pruning.blocks import Removable
from joulecut.workload.counting import ARITHMETIC, IDENTITY, POINTWISE
from joulecut.workload.trace import operation

__all__ = ["Buffer", "Lifetimes", "lifetimes"]

_IN_PLACE: Final = POINTWISE | ARITHMETIC | IDENTITY | {"batch_norm"}
"""Operations that read an element once, before they write it."""


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory for one value, its views, and the values that are written over it.

    Attributes:
        value: what it is as large as.
        node: a node whose value is as large, with the same channels; None where there is none.
        first: number of the operation that makes it; 0 for an input.
        last: number of the last operation that reads it; as many as there are for an output.
        given: it belongs to the caller.
    """

    value: Tensor
    node: fx.Node | None
    first: int
    last: int
    given: bool


@dataclass(slots=True, eq=False)
class Lifetimes:
    """The operations of a graph in order, and its buffers."""

    operations: tuple[fx.Node, ...]
    buffers: list[Buffer] = field(default_factory=list)

    def alive(self) -> list[list[int]]:
        """Numbers of the buffers that are in memory while each operation runs."""
        return [
            [i for i, buffer in enumerate(self.buffers) if buffer.first <= at <= buffer.last]
            for at in range(len(self.operations))
        ]


def lifetimes(module: fx.GraphModule, dropped: Sequence[Removable] = ()) -> Lifetimes:
    """Read the lifetimes off a captured network.

    What only depends on parameters is made before the inference and lies with the weights.

    Args:
        module: the network.
        dropped: blocks and layers that are left out.
    """
    return _Reading(module, dropped).lifetimes()


class _Reading:
    """A graph and the storages of its values: views and what is written in place have one in common."""

    def __init__(self, module: fx.GraphModule, dropped: Sequence[Removable]) -> None:
        nodes = {node.name: node for node in module.graph.nodes}
        self._stands_in = {nodes[part.output]: nodes[part.input] for part in dropped}
        gone = {nodes[name] for part in dropped for name in part.nodes} - set(self._stands_in)
        moving: dict[fx.Node, None] = {}
        for node in (node for node in nodes.values() if node not in gone):
            computed = node.op == "call_function" and any(read in moving for read in self._reads(node))
            if (node.op == "placeholder" or computed) and _tensors(node):
                moving[node] = None
        self._moving = tuple(moving)
        self._output = next(node for node in nodes.values() if node.op == "output")
        self._operations = tuple(n for n in moving if n.op == "call_function" and n not in self._stands_in)
        self._homes: dict[StorageWeakRef, Buffer] = {}

    def _reads(self, node: fx.Node) -> list[fx.Node]:
        return [self._stands_in[node]] if node in self._stands_in else node.all_input_nodes

    def lifetimes(self) -> Lifetimes:
        number = {node: i for i, node in enumerate(self._operations)}
        lives = Lifetimes(self._operations)
        last = self._last_reads(number)
        for node in self._moving:
            at = number.get(node, 0)
            for value in _tensors(node):
                storage = _storage(value)
                if storage not in self._homes:
                    buffer = self._reused(node, value, at)
                    if buffer is None:
                        buffer = Buffer(value, _named(node, value), at, at, node.op == "placeholder")
                        lives.buffers.append(buffer)
                    self._homes[storage] = buffer
                self._homes[storage].last = max(self._homes[storage].last, last.get(storage, at))
        return lives

    def _last_reads(self, number: dict[fx.Node, int]) -> dict[StorageWeakRef, int]:
        """The last operation that reads each storage, whatever its name is there."""
        last: dict[StorageWeakRef, int] = {}
        for node in self._operations:
            for read in self._reads(node):
                last.update(dict.fromkeys(map(_storage, _tensors(read)), number[node]))
        for read in self._reads(self._output):
            last.update(dict.fromkeys(map(_storage, _tensors(read)), len(number)))
        for stand_in in reversed([node for node in self._moving if node in self._stands_in]):
            read = self._stands_in[stand_in]
            ends = [last[s] for s in map(_storage, _tensors(stand_in)) if s in last]
            for storage in map(_storage, _tensors(read)):
                last[storage] = max([last.get(storage, 0), *ends])
        return last

    def _reused(self, node: fx.Node, value: Tensor, at: int) -> Buffer | None:
        """The buffer of an operand that holds the result too, or None."""
        read = [
            self._homes[s] for n in self._reads(node) for s in map(_storage, _tensors(n)) if s in self._homes
        ]
        if node in self._stands_in:
            return read[0]
        if node.op != "call_function" or operation(node).rstrip("_") not in _IN_PLACE:
            return None
        for buffer in read:
            as_large = buffer.value.shape == value.shape and buffer.value.dtype == value.dtype
            if as_large and buffer.last == at and not buffer.given:
                return buffer
        return None


def _tensors(node: fx.Node) -> list[Tensor]:
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [value for value in values if isinstance(value, Tensor)]


def _storage(value: Tensor) -> StorageWeakRef:
    return StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]  # torch annotates nothing


def _named(node: fx.Node, value: Tensor) -> fx.Node | None:
    """The node whose value this is: of several results the one that takes it out, or one as large.

    Nothing takes out the indices of a pool that only returns its values, and they are cut as these are.
    """
    if isinstance(node.meta.get("val"), Tensor):
        return node
    takers = [(user, taken) for user in node.users for taken in _tensors(user)]
    same = (user for user, taken in takers if _storage(taken) == _storage(value))
    as_large = (user for user, taken in takers if taken.shape == value.shape)
    return next(same, None) or next(as_large, None)
