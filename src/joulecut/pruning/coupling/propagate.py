"""Walks a captured network and labels every value with channel identities.

The walk itself is here; what each operation does to labels stands in ``rules_*.py``, as tables from the
operation's name to a function. An operation without a rule freezes what it reads: less is pruned, never
something wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.identities import Identities, Reason
from joulecut.pruning.coupling.labels import Labels, channel_label, narrowed, varies
from joulecut.pruning.coupling.tying import canonical_names, tensors
from joulecut.workload.trace import argument, operation, source, source_line

__all__ = ["Rule", "Span", "Use", "Walk", "named", "shape_of", "tensor_nodes", "walk"]

FACTORIES = frozenset({"zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"})
"""Operations that make a uniform value of a size that stands in the graph."""


@dataclass(frozen=True, slots=True)
class Span:
    """The identities ``first`` to ``first + size`` are the indices of one dimension of a parameter."""

    parameter: str
    dim: int
    first: int
    size: int


@dataclass(frozen=True, slots=True)
class Use:
    """What an operation does with identities of a parameter.

    Roles: ``writer`` makes the channels, ``reader`` consumes them, ``through`` passes them on.
    """

    role: str
    ids: Tensor
    node: str


@dataclass(slots=True)
class Walk:
    """State of a walk, and the calls that rules use to speak about labels.

    ``reads`` holds pairs of an operation and the value along whose channels it sums; ``active`` the nodes
    that depend on the network's inputs; ``numbers`` the values of constants that data
    are moved by; ``lone`` the layers that write a single channel.
    """

    module: fx.GraphModule
    ids: Identities = field(default_factory=Identities)
    labels: dict[str, Labels | tuple[Labels, ...]] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    inexact: list[tuple[Tensor, Reason]] = field(default_factory=list)
    reads: dict[tuple[str, str], None] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    numbers: dict[str, Tensor | None] = field(default_factory=dict)
    lone: dict[str, Reason] = field(default_factory=dict)
    _parameters: dict[str, Labels] = field(default_factory=dict)
    _projected: dict[tuple[int, tuple[int, ...]], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, node: Any) -> Labels:
        """Labels of a value; () for anything that carries none."""
        found = self.labels.get(node.name, ()) if isinstance(node, fx.Node) else ()
        return tuple(label for label in found if isinstance(label, Tensor))

    def reason(self, node: fx.Node, text: str) -> Reason:
        """A reason that points at a node."""
        return Reason(text, operation(node), node.name, source_line(node))

    def freeze(self, labels: Labels, node: fx.Node, text: str) -> None:
        """Keep the channels of these labels because of what ``node`` does."""
        for label in labels:
            self.ids.freeze(label, self.reason(node, text))

    def unite(self, a: Tensor, b: Tensor, node: fx.Node) -> None:
        """Couple two labels because of what ``node`` does; what meets a fixed extent is frozen."""
        self.ids.unite(a, b, self.reason(node, "it is coupled to a fixed extent"))

    def project(self, label: Tensor, dims: Collection[int], node: fx.Node) -> Tensor:
        """The part of a label that varies along ``dims`` only.

        Where it varies along others too, its cells become those of a table: each dies with its place along
        ``dims`` or with its place along the others (heads, and widths of a head).
        """
        kept = tuple(d for d in varies(label) if d in dims)
        others = [d for d in varies(label) if d not in dims]
        if not others or not kept:
            return label if kept else label.flatten()[:1].reshape((1,) * label.ndim)
        if (id(label), kept) not in self._projected:
            parts = []
            for chosen in (kept, others):
                shape = [size if d in chosen else 1 for d, size in enumerate(label.shape)]
                parts.append(self.ids.fresh(int(torch.Size(shape).numel())).reshape(shape))
            self.ids.factor(label, parts[0], parts[1], self.reason(node, "it is coupled to a fixed extent"))
            self._projected[id(label), kept] = (label, parts[0])
        return self._projected[id(label), kept][1]

    def without(self, labels: Labels, dims: Collection[int], node: fx.Node, text: str) -> Labels:
        """Labels tied along dimensions that ``node`` mixes; those that vary along no other are frozen."""
        out: list[Tensor] = []
        for label in labels:
            if set(varies(label)) <= set(dims):
                self.freeze((label,), node, text)
                continue
            for d in set(varies(label)) & set(dims):
                self.unite(label, label.narrow(d, 0, 1), node)
                label = label.narrow(d, 0, 1)
            out.append(label)
        return tuple(out)

    def stretch(self, node: fx.Node, dim: int) -> bool:
        """Give a uniform value identities along a dimension, if its size stands in the graph."""
        name = operation(node) if node.op == "call_function" else ""
        expands = name == "expand" and (1, *shape_of(source(node)))[dim - len(shape_of(node))] == 1
        sizes = argument(node, 1 if name.startswith(("new", "expand")) else 0, "size", ())
        if not (expands or name in FACTORIES) or not isinstance(sizes[dim], int):
            return False
        fresh = channel_label(self.ids.fresh(shape_of(node)[dim]), dim, len(shape_of(node)))
        self.labels[node.name] = (*self.of(node), fresh)
        return True

    def mark_inexact(self, labels: Labels, dims: Collection[int], node: fx.Node) -> None:
        """Removing channels along ``dims`` changes more than they carry: a norm or mean runs there."""
        for label in labels:
            if set(varies(label)) & set(dims):
                part = self.project(label, dims, node)
                self.inexact.append((part, self.reason(node, "runs over channels")))

    def refuse(self, node: fx.Node, text: str) -> Labels:
        """Keep every channel that ``node`` reads, and those that it writes with weights of its own."""
        for read in node.all_input_nodes:
            found = self.labels.get(read.name, ())
            for item in found:
                self.freeze((item,) if isinstance(item, Tensor) else item, node, text)
            if self.is_parameter(read) and len(shape_of(read)) > 1:
                for label in self.of(read)[:1]:
                    self.uses.append(Use("writer", label.flatten(), node.name))
        return ()

    def is_parameter(self, node: object) -> TypeGuard[fx.Node]:
        """Whether an argument is a parameter or buffer of the network."""
        return isinstance(node, fx.Node) and node.op == "get_attr"

    def parameter(self, name: str, value: Tensor) -> Labels:
        """A label for each dimension of a parameter; numbers that other values are indexed by have none."""
        if name not in self._parameters:
            labels: list[Tensor] = []
            counts = value.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
            for dim, size in enumerate(() if counts else value.shape):
                if size > 1:
                    ids = self.ids.fresh(size)
                    self.spans.append(Span(name, dim, int(ids[0]), size))
                    labels.append(channel_label(ids, dim, value.ndim))
            self._parameters[name] = tuple(labels)
        return self._parameters[name]


Rule = Callable[[Walk, fx.Node], "Labels | tuple[Labels, ...]"]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Concrete shape of a node's tensor; () for what is no tensor."""
    value = node.meta.get("val")
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def named(node: fx.Node, name: str, default: Any) -> Any:
    """An argument of a node by its name in the operation's schema."""
    schema = getattr(node.target, "_schema", None)
    names = [a.name for a in schema.arguments] if schema is not None else []
    return argument(node, names.index(name), name, default) if name in names else default


def tensor_nodes(node: fx.Node) -> list[fx.Node]:
    """The tensors with at least one dimension that a node reads, in order."""
    return [n for n in node.all_input_nodes if shape_of(n)]


def walk(module: fx.GraphModule, rule_of: Callable[[fx.Node], Rule | None]) -> Walk:
    """Label every value of a captured network."""
    state = Walk(module)
    canonical, named = canonical_names(module), tensors(module)
    for node in module.graph.nodes:
        if node.op == "placeholder" or any(read.name in state.active for read in node.all_input_nodes):
            state.active.add(node.name)
        if node.op == "get_attr" and str(node.target) in named:
            state.labels[node.name] = state.parameter(canonical[str(node.target)], named[str(node.target)])
        elif node.op == "call_function" and (node.users or node.is_impure() or operation(node) == "getitem"):
            rule = rule_of(node)
            if rule is None:
                state.refuse(node, f"the operation {operation(node)} is not handled")
            else:
                state.labels[node.name] = tuple(_clean(state, node, rule(state, node)))  # type: ignore[assignment]
            _check_written(state, node)
        elif node.op == "output":
            for read in node.all_input_nodes:
                state.freeze(state.of(read), node, "it is an output of the network")
    return state


def _clean(state: Walk, node: fx.Node, found: Sequence[Tensor | Labels]) -> Iterator[Tensor | Labels]:
    """Labels narrowed; one that is constant is dropped and its channel kept, as a value cannot lose all."""
    kept: list[Tensor] = []
    for item in found:
        if not isinstance(item, Tensor):
            yield tuple(label for label in _clean(state, node, item) if isinstance(label, Tensor))
            continue
        label = narrowed(item)
        if not varies(label):
            state.freeze((label,), node, "it is the only channel of a value")
            continue
        twin = next((i for i, other in enumerate(kept) if varies(other) == varies(label)), None)
        if twin is None:
            kept.append(label)
        elif not torch.equal(kept[twin], label):
            kept[twin] = _table(state, node, kept[twin], label)
    yield from kept


def _table(state: Walk, node: fx.Node, rows: Tensor, columns: Tensor) -> Tensor:
    """One label for two that vary along the same dimensions: its cells die with either."""
    pairs = torch.stack([rows.flatten(), columns.flatten()])
    cells = torch.unique(pairs, dim=1, return_inverse=True)[1]
    label = state.ids.fresh(int(cells.max()) + 1)[cells].reshape(rows.shape)
    state.ids.factor(label, rows, columns, state.reason(node, "it is coupled to a fixed extent"))
    return label


def _check_written(state: Walk, node: fx.Node) -> None:
    """What an operation writes into its operand must be labelled there as in its result."""
    name = operation(node)
    if (
        not name.endswith("_")
        or name.endswith("__")
        or not node.args
        or not isinstance(node.args[0], fx.Node)
    ):
        return
    own = {d for label in state.of(node.args[0]) for d in varies(label)}
    for label in state.of(node):
        if not set(varies(label)) <= own:
            state.freeze((label,), node, f"{name} writes it into a value without such channels")
