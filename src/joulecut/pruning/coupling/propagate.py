"""Walks a captured network and labels every value with channel identities.

The walk itself is here; what each operation does to labels stands in ``rules_*.py``, as tables from the
operation's name to a function. An operation without a rule freezes what it reads: less is pruned, never
something wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.identities import Identities, Reason
from joulecut.pruning.coupling.labels import Labels, channel_label, narrowed, varies
from joulecut.pruning.coupling.tying import canonical_names
from joulecut.workload.trace import module_path, operation, source_line

__all__ = ["Rule", "Use", "Walk", "shape_of", "tensor_nodes", "walk"]

_LARGEST_ELEMENTWISE_PARAMETER = 1 << 20
"""Parameters used elementwise get one identity per element up to this size; larger ones freeze."""


@dataclass(frozen=True, slots=True)
class Use:
    """A parameter dimension that carries channels.

    ``ids`` is a vector along ``dim``; with ``dim`` None it is a label of the whole parameter. Roles:
    ``writer`` makes the channels, ``reader`` consumes them, ``through`` passes them on.
    """

    parameter: str
    dim: int | None
    role: str
    ids: Tensor
    node: str


@dataclass(slots=True)
class Walk:
    """State of a walk, and the calls that rules use to speak about labels.

    ``unlabelled`` holds layers whose channels get no identities at all: path, channels and the reason.
    """

    module: fx.GraphModule
    ids: Identities = field(default_factory=Identities)
    labels: dict[str, Labels | tuple[Labels, ...]] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    inexact: list[tuple[Tensor, Reason]] = field(default_factory=list)
    unlabelled: list[tuple[str, int, Reason]] = field(default_factory=list)
    _elementwise: dict[str, Tensor] = field(default_factory=dict)
    _canonical: dict[str, str] = field(default_factory=dict)

    def name(self, parameter: fx.Node) -> str:
        """The name of a parameter, the same one for parameters that are tied."""
        self._canonical = self._canonical or canonical_names(self.module)
        return self._canonical.get(str(parameter.target), str(parameter.target))

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

    def tie(self, label: Tensor, dims: list[int], node: fx.Node) -> Tensor:
        """Unite a label along dimensions, so that it no longer varies there."""
        for d in dims:
            if label.shape[d] > 1:
                first = label.narrow(d, 0, 1)
                self.unite(label, first, node)
                label = first
        return label

    def refuse(self, node: fx.Node, text: str) -> None:
        """Keep every channel that ``node`` reads, and note those that it writes with weights of its own."""
        for read in node.all_input_nodes:
            self.freeze(self.of(read), node, text)
        own = [n for n in node.all_input_nodes if self.is_parameter(n)]
        convolves = operation(node).startswith("conv")
        if not (convolves or operation(node) == "linear" or any(len(shape_of(n)) > 1 for n in own)):
            return
        value = node.meta.get("val")
        first = value[0] if isinstance(value, (tuple, list)) and value else value
        name = self.name(own[0]) if own else ""
        path = name.rpartition(".")[0] or name or module_path(node) or node.name
        if isinstance(first, Tensor) and first.ndim > 1:
            channels = int(first.shape[1 if convolves else -1])
            self.unlabelled.append((path, channels, self.reason(node, text)))

    def mark_inexact(self, labels: Labels, node: fx.Node) -> None:
        """Removing these channels changes the result beyond losing them: a norm or mean runs over them."""
        self.inexact.extend((label, self.reason(node, "runs over channels")) for label in labels)

    def use(self, parameter: fx.Node, dim: int | None, role: str, ids: Tensor, node: fx.Node) -> None:
        """Record that a parameter carries channels; several uses of one parameter are coupled."""
        name = self.name(parameter)
        ndim = len(shape_of(parameter))
        own = ids if dim is None else channel_label(ids, dim, ndim)
        for other in self.uses:
            if other.parameter == name and (dim is None or other.dim is None or other.dim == dim):
                theirs = other.ids if other.dim is None else channel_label(other.ids, other.dim, ndim)
                self.unite(own, theirs, node)
        self.uses.append(Use(name, dim, role, ids, node.name))

    def parameter_label(self, parameter: fx.Node, node: fx.Node) -> Labels:
        """Identities for the elements of a parameter that is used elementwise, made on first use."""
        name = self.name(parameter)
        if name not in self._elementwise:
            shape = shape_of(parameter)
            count = int(torch.Size(shape).numel())
            if not shape or count > _LARGEST_ELEMENTWISE_PARAMETER:
                return ()
            self._elementwise[name] = self.ids.fresh(count).reshape(shape)
        if not _follows(self, name, 0, node):
            self.use(parameter, None, "through", self._elementwise[name], node)
        return (self._elementwise[name],)

    def is_parameter(self, node: object) -> TypeGuard[fx.Node]:
        """Whether an argument is a parameter or buffer of the network."""
        return isinstance(node, fx.Node) and node.op == "get_attr"


Rule = Callable[[Walk, fx.Node], "Labels | tuple[Labels, ...]"]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Concrete shape of a node's tensor; () for what is no tensor."""
    value = node.meta.get("val")
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def tensor_nodes(node: fx.Node) -> list[fx.Node]:
    """The tensors with at least one dimension that a node reads, in order."""
    return [n for n in node.all_input_nodes if shape_of(n)]


def walk(module: fx.GraphModule, rules: dict[str, Rule]) -> Walk:
    """Label every value of a captured network."""
    state = Walk(module)
    for node in module.graph.nodes:
        if node.op == "call_function":
            state.labels[node.name] = _apply(state, node, rules)
        elif node.op == "output":
            for read in node.all_input_nodes:
                state.freeze(state.of(read), node, "it is an output of the network")
    _keep_what_others_read(state)
    return state


def _keep_what_others_read(state: Walk) -> None:
    """Freeze a parameter's channels where an operation reads the parameter without following them."""
    readers: dict[str, list[fx.Node]] = {}
    for node in state.module.graph.nodes:
        if node.op == "get_attr":
            readers.setdefault(state.name(node), []).extend(node.users)
    for use in tuple(state.uses):
        dims = range(use.ids.ndim) if use.dim is None else (use.dim,)
        for reader in readers[use.parameter]:
            if not all(_follows(state, use.parameter, dim, reader) for dim in dims):
                state.freeze((use.ids,), reader, f"it reads {use.parameter} at its full size")


def _follows(state: Walk, parameter: str, dim: int, node: fx.Node) -> bool:
    return any(
        use.parameter == parameter and use.node == node.name and use.dim in (None, dim) for use in state.uses
    )


def _apply(state: Walk, node: fx.Node, rules: dict[str, Rule]) -> Labels | tuple[Labels, ...]:
    rule = rules.get(operation(node))
    if rule is not None:
        found = rule(state, node)
        return tuple(_clean(state, node, found))  # type: ignore[return-value]
    state.refuse(node, f"the operation {operation(node)} is not handled")
    return ()


def _clean(state: Walk, node: fx.Node, found: Sequence[Tensor | Labels]) -> Iterator[Tensor | Labels]:
    """Labels narrowed; one that is constant is dropped and its channel kept, as a value cannot lose all."""
    for item in found:
        if not isinstance(item, Tensor):
            yield tuple(label for label in _clean(state, node, item) if isinstance(label, Tensor))
            continue
        label = narrowed(item)
        if varies(label):
            yield label
        else:
            state.freeze((label,), node, "it is the only channel of a value")
