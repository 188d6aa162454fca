"""Cuts a network: slices its parameters and rewrites every size that stands in its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate, map_arg

from joulecut.pruning.captured import canonical_names, check_runs, copied, tensors
from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import Labels, Walk, results, shape_of, varies
from joulecut.workload.trace import argument, operation, schema_of, source

__all__ = ["Cutter", "Masks", "called", "check_runs", "copied", "retargeted", "selected"]

Masks = tuple[Tensor, ...]
_SIZES: Final = frozenset({"size", "shape", "sizes", "normalized_shape"})
"""Arguments that hold the shape, or the last sizes, of the result."""
_SPLITS: Final = frozenset({"split", "split_with_sizes", "chunk", "tensor_split"})


class Cutter:
    """Answers what is left of values, parameters and arguments while classes live (``Coupling.alive``).

    Attributes:
        labels: by value, as ``results`` names it, labels with classes for entries, 0 where fixed: int64,
            each broadcastable to the value.
    """

    def __init__(self, walk: Walk) -> None:
        self.module, self.numbers = walk.module, walk.numbers
        self._solution = walk.ids.solve()
        root = self._solution.root
        rooted = {id(label): root[label] for _, label in walk.every()}
        self.labels = {name: tuple(rooted[id(x)] for x in labels) for name, labels in walk.labels.items()}
        self._known: tuple[Tensor | None, dict[int, list[tuple[int, Tensor]]]] = (None, {})
        self._canonical = canonical_names(walk.module)
        self._parameters = {name: tuple(root[x] for x in label) for name, label in walk.parameters.items()}

    def value_masks(self, node: fx.Node, alive: Tensor) -> Masks:
        """Which indices of each dimension of a node's tensor live."""
        return self._masks(shape_of(node), self.labels.get(node.name, ()), alive)

    def pieces(self, node: fx.Node, alive: Tensor) -> list[Masks]:
        """``value_masks`` of each result of a node, also where there are several."""
        return [self._masks(shape, self.labels.get(name, ()), alive) for name, shape in results(node).items()]

    def classes_along(self, node: fx.Node, dim: int) -> Tensor:
        """The class of each index along a dimension of a value, of several the first; 0 where it has none."""
        classes = torch.zeros(shape_of(node)[dim], dtype=torch.long)
        for label in (label for label in self.labels.get(node.name, ()) if label.shape[dim] > 1):
            for found in self.classes_of(label, dim):
                classes = torch.where(classes == FIXED, found, classes)
        return classes

    def classes_of(self, label: Tensor, dim: int) -> list[Tensor]:
        """Every class of each index along a dimension of a label, a tensor for each that an index can have.

        An index lives while all its classes live; 0 where none fills the whole slice.
        """
        rows = [layer.movedim(dim, 0).flatten(1) for layer in self._solution.layers(label.unsqueeze(-1))]
        return [torch.where((x == x[:, :1]).all(1), x[:, 0], FIXED) for x in rows]

    def all_classes(self, node: fx.Node) -> Tensor:
        """Every class that appears in a node's value."""
        layers = [x for label in self.labels.get(node.name, ()) for x in self._solution.layers(label)]
        return torch.cat([torch.zeros(0, dtype=torch.long), *map(torch.unique, layers)])

    def parameter_masks(self, name: str, shape: tuple[int, ...], alive: Tensor) -> Masks:
        """Which indices of each dimension of a parameter live."""
        return self._masks(shape, self._parameters.get(self._canonical.get(name, name), ()), alive)

    def arguments(self, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
        """The node's arguments with every size rewritten for the living channels."""
        return _rewritten(node, lambda n: self.value_masks(n, alive))

    def cut(self, alive: Tensor) -> fx.GraphModule:
        """A copy of the network without the dead channels; parameter names stay, tied ones stay tied."""
        module, done = copied(self.module), dict[int, Tensor]()
        for name, value in tensors(module).items():
            small = selected(value.detach(), self.parameter_masks(name, tuple(value.shape), alive))
            if small.shape != value.shape:
                if isinstance(value, torch.nn.Parameter):
                    small = torch.nn.Parameter(small, requires_grad=value.requires_grad)
                path, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(path), leaf, done.setdefault(id(value), small))
        twins = {n.name: n for n in module.graph.nodes}
        for node in (node for node in self.module.graph.nodes if node.op == "call_function"):
            twin = twins[node.name]
            twin.target, args, kwargs = retargeted(node, self.arguments(node, alive))
            twin.args, twin.kwargs = map_arg((args, kwargs), lambda n: twins[n.name])
        module.recompile()
        return module

    def _masks(self, shape: tuple[int, ...], labels: Labels, alive: Tensor) -> Masks:
        """Living indices by dimension; what each label says is kept until other classes live."""
        if self._known[0] is not alive:
            self._known = (alive, {})
        masks = [torch.ones(size, dtype=torch.bool) for size in shape]
        for label in labels:
            if id(label) not in self._known[1]:
                lives = alive[label].unsqueeze(-1)
                dims = [] if bool(lives.all()) else varies(label)
                self._known[1][id(label)] = [(d, lives.movedim(d, 0).flatten(1).any(1)) for d in dims]
            for d, living in self._known[1][id(label)]:
                masks[d] &= living
        return tuple(masks)


def selected(value: Tensor, masks: Masks) -> Tensor:
    """The living indices of a value; itself where all live."""
    for d, mask in enumerate(masks):
        value = value if bool(mask.all()) else value.index_select(d, torch.nonzero(mask).flatten())
    return value


def called(node: fx.Node, arguments: tuple[Any, ...], values: Mapping[fx.Node, Tensor]) -> Any:
    """A node's operation on values that stand in for some; sizes computed in the graph stay."""
    target, args, kwargs = retargeted(node, arguments)
    device = next((value.device for value in values.values()), None)

    def stand_in(given: Any) -> Any:
        if isinstance(given, fx.Node):
            return values[given] if given in values else given.meta["val"]
        return device if isinstance(given, torch.device) else given

    with torch.no_grad():
        args, kwargs = map_aggregate((args, kwargs), stand_in)
        return target(*args, **kwargs)


def _rewritten(node: fx.Node, masks: Callable[[fx.Node], Masks]) -> tuple[Any, ...]:
    """The arguments of a node; ``masks`` says which indices of each dimension of a node's value live."""
    name, args = operation(node), list[Any](node.args)
    if node.op != "call_function":
        return node.args
    if name in _SPLITS:
        dim = argument(node, 2, "dim", 0) % len(shape_of(source(node)))
        pieces = masks(source(node))[dim].split([piece.shape[dim] for piece in node.meta["val"]])
        return (source(node), [int(piece.sum()) for piece in pieces], dim)
    if name in ("slice", "narrow", "select", "slice_scatter", "select_scatter"):
        first = 2 if name.endswith("_scatter") else 1
        return _bounds(node, first, masks(source(node))[int(argument(node, first, "dim", 0))])
    if name == "squeeze" and len(args) == 1:  # would also drop a dimension that a cut leaves with one channel
        return (args[0], [d for d, size in enumerate(shape_of(source(node))) if size == 1])
    if name == "group_norm" and args[1] > 1:  # whole groups go
        args[1] = int(masks(node)[1].sum()) * args[1] // shape_of(node)[1]
    elif name.startswith("conv") and argument(node, 6, "groups", 1) > 1:
        dim = len(shape_of(source(node))) - len(shape_of(argument(node, 1, "weight", None))) + 1
        if shape_of(source(node))[dim] == args[6]:
            args[6] = int(masks(source(node))[dim].sum())
    schema = schema_of(node)
    for i, one in enumerate(schema.arguments[: len(args)] if schema is not None else ()):
        if one.name in _SIZES and isinstance(args[i], (list, tuple)):
            args[i] = _shaped(node, args[i], one.name, masks(node))
    return tuple(args)


def _shaped(node: fx.Node, sizes: Any, name: str, masks: Masks) -> list[Any]:
    """The result's sizes, or its last ones; one that the graph computes is left to the operation."""
    first = len(shape_of(node)) - len(sizes) if name == "normalized_shape" else 0
    if operation(node) == "unflatten":
        first = argument(node, 1, "dim", 0) % len(shape_of(source(node)))
    return [
        size if size == -1 or bool(mask.all()) else int(mask.sum()) if isinstance(size, int) else -1
        for size, mask in zip(sizes, masks[first:], strict=False)
    ]


def _bounds(node: fx.Node, first: int, mask: Tensor) -> tuple[Any, ...]:
    """A slice counts the living channels before its bounds, which follow the argument ``first``."""
    ends = list[Any](node.args[first + 1 : first + 3])
    if bool(mask.all()):
        return node.args
    if operation(node) == "narrow":  # a start and a length
        start = ends[0] % len(mask)
        return (*node.args[:2], int(mask[:start].sum()), int(mask[start : start + ends[1]].sum()))
    counted = (end and int(mask[:end].sum()) for end in ends)
    return (*node.args[: first + 1], *counted, *node.args[first + 3 :])


def retargeted(node: fx.Node, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Target, arguments and keywords of a node; where sizes turn uneven, those of its general form."""
    name, kwargs = operation(node), dict(node.kwargs)
    if name in _SPLITS and arguments != node.args:
        return torch.ops.aten.split_with_sizes.default, arguments, {}
    if name in ("view", "_unsafe_view"):
        return torch.ops.aten.reshape.default, arguments, {}
    if name == "squeeze" and arguments != node.args:
        return torch.ops.aten.squeeze.dims, arguments, {}
    if name == "scaled_dot_product_attention" and kwargs.get("scale") is None:
        kwargs["scale"] = shape_of(source(node))[-1] ** -0.5  # of the width before a cut
    return node.target, arguments, kwargs
