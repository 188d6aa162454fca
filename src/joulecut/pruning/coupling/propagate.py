"""Walks a captured network and labels every value with channel identities.

A value carries labels: int64, broadcastable to it, of size 1 along every dimension where the identity does
not change; several where several families of channels run through it (tokens and features). An operation
without a rule freezes what it reads: less is pruned, never something wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.captured import canonical_names, tensors
from joulecut.pruning.coupling.identities import Identities, Reason
from joulecut.workload.trace import argument, operation, source, source_line

__all__ = ["ONLY", "Labels", "Rule", "Use", "Walk", "narrowed", "results", "shape_of", "varies", "walk"]

Labels = tuple[Tensor, ...]
_FACTORIES: Final = ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty")
"""Operations that make a uniform value of a size that stands in the graph."""
_COUPLED: Final = "it is coupled to a fixed extent"
ONLY: Final = "it is the only channel of a value"
"""Why a value's single channel stays."""


@dataclass(frozen=True, slots=True)
class Use:
    """What an operation does with a parameter's identities: role writer, reader or through."""

    role: str
    ids: Tensor
    node: str


@dataclass(slots=True)
class Walk:
    """State of a walk, and the calls that rules use to speak about labels.

    Attributes:
        labels: by the name of a value, as ``results`` gives it.
        active: nodes that depend on the network's inputs.
        numbers: values of constants that data are moved by.
        lone: layers that write a single channel.
    """

    module: fx.GraphModule
    ids: Identities = field(default_factory=Identities)
    labels: dict[str, Labels] = field(default_factory=dict)
    parameters: dict[str, Labels] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    inexact: list[tuple[Tensor, Reason]] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    numbers: dict[str, Tensor | None] = field(default_factory=dict)
    lone: dict[str, Reason] = field(default_factory=dict)
    _projected: dict[tuple[int, tuple[int, ...]], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, node: Any) -> Labels:
        """Labels of a value; () for anything that carries none."""
        return self.labels.get(node.name, ()) if isinstance(node, fx.Node) else ()

    def every(self) -> list[tuple[fx.Node, Tensor]]:
        """Every label once, with the first node that carries it."""
        nodes = list(self.module.graph.nodes)
        found = [(n, x) for n in nodes for name in results(n) for x in self.labels.get(name, ())]
        return list({id(x): (n, x) for n, x in reversed(found)}.values())[::-1]

    def reason(self, node: fx.Node, text: str) -> Reason:
        """A reason that points at a node."""
        return Reason(text, operation(node), node.name, source_line(node))

    def freeze(self, labels: Labels, node: fx.Node, text: str) -> None:
        """Keep the channels of these labels because of what ``node`` does."""
        for label in labels:
            self.ids.freeze(label, self.reason(node, text))

    def unite(self, a: Tensor, b: Tensor, node: fx.Node) -> None:
        """Couple two labels because of what ``node`` does; what meets a fixed extent is frozen."""
        self.ids.unite(a, b, self.reason(node, _COUPLED))

    def tie(self, label: Tensor, dims: Collection[int], node: fx.Node) -> Tensor:
        """Unite a label along dimensions, so that it no longer varies there."""
        for d in set(varies(label)) & set(dims):
            self.unite(label, label.narrow(d, 0, 1), node)
            label = label.narrow(d, 0, 1)
        return label

    def mixed(self, labels: Labels, dims: Collection[int], node: fx.Node) -> Labels:
        """Labels tied along dimensions that are mixed; those that vary along no other are frozen."""
        stays = tuple(label for label in labels if set(varies(label)) <= set(dims))
        self.freeze(stays, node, f"{operation(node)} mixes it")
        return tuple(self.tie(label, dims, node) for label in labels if not set(varies(label)) <= set(dims))

    def project(self, label: Tensor, dims: Collection[int], node: fx.Node) -> Tensor:
        """The part of a label that varies along ``dims`` only.

        Where it varies along others too, a cell dies with its place along ``dims`` or along the others.
        """
        kept = tuple(d for d in varies(label) if d in dims)
        if len(kept) == len(varies(label)):
            return label
        if (id(label), kept) not in self._projected:
            rows = self.ids.fresh(label.shape, kept)
            columns = self.ids.fresh(label.shape, set(range(label.ndim)) - set(kept))
            self.ids.factor(label, rows, columns, self.reason(node, _COUPLED))
            self._projected[id(label), kept] = (label, rows)
        return self._projected[id(label), kept][1]

    def stretch(self, node: fx.Node, dim: int) -> bool:
        """Give a uniform value identities along a dimension, if its size stands in the graph."""
        name = operation(node) if node.op == "call_function" else ""
        expands = name == "expand" and (1, *shape_of(source(node)))[dim - len(shape_of(node))] == 1
        sizes = argument(node, 1 if name.startswith(("new", "expand")) else 0, "size", ())
        if not (expands or name in _FACTORIES) or not isinstance(sizes[dim], int):
            return False
        self.labels[node.name] = (*self.of(node), self.ids.fresh(shape_of(node), [dim]))
        return True

    def mark_inexact(self, labels: Labels, dims: Collection[int], node: fx.Node) -> None:
        """Removing channels along ``dims`` changes more than they carry: a norm or mean runs there."""
        for label in (label for label in labels if set(varies(label)) & set(dims)):
            self.inexact.append((self.project(label, dims, node), self.reason(node, "runs over channels")))

    def refuse(self, node: fx.Node, text: str) -> Labels:
        """Keep every channel that ``node`` reads, and those that it writes with weights of its own."""
        for read in node.all_input_nodes:
            for name in results(read):
                self.freeze(self.labels.get(name, ()), node, text)
            if read.op == "get_attr" and len(shape_of(read)) > 1:
                self.uses += [Use("writer", label.flatten(), node.name) for label in self.of(read)[:1]]
        return ()

    def parameter(self, name: str, value: Tensor) -> Labels:
        """A label for each dimension of a parameter; numbers that other values are indexed by have none."""
        if name not in self.parameters:
            named = value.is_floating_point() or value.is_complex() or value.dtype == torch.bool
            dims = [dim for dim, size in enumerate(value.shape) if named and size > 1]
            self.parameters[name] = tuple(self.ids.fresh(value.shape, [dim]) for dim in dims)
        return self.parameters[name]


Rule = Callable[[Walk, fx.Node], "Labels | tuple[Labels, ...]"]
"""What an operation does: labels of its result, the same for all where there are several, or of each."""


def results(node: fx.Node) -> dict[str, tuple[int, ...]]:
    """Shapes of what a node returns, by name: its own, or that with a number for each of several values."""
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        return {f"{node.name}[{i}]": _shape(one) for i, one in enumerate(value)}
    return {node.name: _shape(value)}


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Concrete shape of a node's tensor; () for what is no tensor."""
    return _shape(node.meta.get("val"))


def varies(label: Tensor) -> list[int]:
    """The dimensions along which a label changes.

    >>> varies(torch.arange(3).reshape(1, 3, 1))
    [1]
    """
    return [d for d, size in enumerate(label.shape) if size > 1]


def narrowed(label: Tensor) -> Tensor:
    """The same label with size 1 along every dimension where it is constant."""
    for d in sorted(varies(label), key=label.stride):
        first = label.narrow(d, 0, 1)
        if label.stride(d) == 0 or bool((label == first).all()):
            label = first
    return label


def walk(module: fx.GraphModule, rule_of: Callable[[fx.Node], Rule | None]) -> Walk:
    """Label every value of a captured network."""
    state = Walk(module)
    canonical, named = canonical_names(module), tensors(module)
    for node in module.graph.nodes:
        if node.op == "placeholder" or any(read.name in state.active for read in node.all_input_nodes):
            state.active.add(node.name)
        if node.op == "get_attr" and str(node.target) in named:
            state.labels[node.name] = state.parameter(canonical[str(node.target)], named[str(node.target)])
        elif node.op == "output":
            for read in node.all_input_nodes:
                state.freeze(state.of(read), node, "it is an output of the network")
        elif node.op == "call_function":
            _labelled(state, node, rule_of(node))
    return state


def _labelled(state: Walk, node: fx.Node, rule: Rule | None) -> None:
    """Apply a rule. What an operation writes into its operand must be labelled there as in its result."""
    if rule is None:
        state.refuse(node, f"the operation {operation(node)} is not handled")
        return
    found: Any = rule(state, node)
    each = found if found and isinstance(found[0], tuple) else [found] * len(results(node))
    for name, labels in zip(results(node), each, strict=False):
        state.labels[name] = _clean(state, node, labels)
    if operation(node).endswith("_") and not operation(node).endswith("__"):
        own = {d for label in state.of(node.args[0]) for d in varies(label)}
        new = tuple(label for label in state.of(node) if not set(varies(label)) <= own)
        state.freeze(new, node, "it is written into a value without such channels")


def _clean(state: Walk, node: fx.Node, found: Sequence[Tensor]) -> Labels:
    """Labels narrowed, those along the same dimensions made one whose cells die with either; no constant."""
    kept: dict[tuple[int, ...], Tensor] = {}
    for label in map(narrowed, found):
        twin = kept.setdefault(tuple(varies(label)), label)
        if not varies(label):
            state.freeze((kept.pop(()),), node, ONLY)
        elif not torch.equal(twin, label):
            cells = torch.unique(twin * state.ids.count + label, return_inverse=True)[1]
            table = state.ids.fresh([int(cells.max()) + 1], [0])[cells]
            state.ids.factor(table, twin, label, state.reason(node, _COUPLED))
            kept[tuple(varies(label))] = table
    return tuple(kept.values())
