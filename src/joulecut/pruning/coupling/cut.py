"""Cuts a network: slices its parameters and rewrites every size that stands in its graph."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.errors import ModelError
from joulecut.pruning.coupling.identities import FIXED
from joulecut.pruning.coupling.propagate import Labels, Walk, shape_of, varies
from joulecut.pruning.coupling.sizes import Masks, retargeted, rewritten
from joulecut.pruning.coupling.slabs import every_label
from joulecut.pruning.coupling.tying import canonical_names, tensors

__all__ = ["Cutter", "check_runs", "copied", "retargeted"]


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """A deep copy of a captured network (torch warns about its own tree specs while copying)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(module)


class Cutter:
    """Answers, for any set of living channels, what is left of each value, parameter and argument.

    Living classes are given as ``alive``: bool by class, as ``Coupling.alive`` makes it.

    Args:
        walk: the labelled network, solved.

    Attributes:
        labels: by node, the labels of its value with classes for entries, 0 where fixed: int64, each
            broadcastable to the value; of a node with several values, a tuple of labels each.
    """

    def __init__(self, walk: Walk) -> None:
        self.module = walk.module
        self.numbers = walk.numbers
        self._solution = walk.ids.solve()
        rooted = {id(label): self._solution.root[label] for _, label in every_label(walk)}
        self.labels: dict[str, tuple[Any, ...]] = {
            name: tuple(
                rooted[id(x)] if isinstance(x, Tensor) else tuple(rooted[id(y)] for y in x) for x in found
            )
            for name, found in walk.labels.items()
        }
        self._known: tuple[Tensor | None, dict[int, list[tuple[int, Tensor]]]] = (None, {})
        self._canonical = canonical_names(walk.module)
        self._parameters: dict[str, dict[int, Tensor]] = {}
        for span in walk.spans:
            ids = torch.arange(span.first, span.first + span.size)
            self._parameters.setdefault(span.parameter, {})[span.dim] = self._solution.root[ids]

    def value_masks(self, node: fx.Node, alive: Tensor) -> Masks:
        """Which indices of each dimension of a node's tensor live."""
        return self._masks(shape_of(node), self._of(node), alive)

    def classes_along(self, node: fx.Node, dim: int) -> Tensor:
        """The class of each index along a dimension of a value; 0 where none fills the whole slice.

        Where an index lives with two classes (its head and its width) it is the first that can be removed.
        """
        classes = torch.zeros(shape_of(node)[dim], dtype=torch.long)
        for label in self._of(node):
            if label.shape[dim] > 1:
                for found in self.classes_of(label, dim):
                    classes = torch.where(classes == FIXED, found, classes)
        return classes

    def classes_of(self, label: Tensor, dim: int) -> list[Tensor]:
        """Every class of each index along a dimension of a label, a tensor for each that an index can have.

        An index lives while all its classes live; 0 where none fills the whole slice.
        """
        found = []
        for layer in self._solution.layers(label):
            rows = layer.movedim(dim, 0).reshape(layer.shape[dim], -1)
            found.append(torch.where((rows == rows[:, :1]).all(1), rows[:, 0], FIXED))
        return found

    def all_classes(self, node: fx.Node) -> Tensor:
        """Every class that appears in a node's value."""
        found = [torch.unique(x) for label in self._of(node) for x in self._solution.layers(label)]
        return torch.cat([*found, torch.zeros(0, dtype=torch.long)])

    def parameter_masks(self, name: str, shape: tuple[int, ...], alive: Tensor) -> Masks:
        """Which indices of each dimension of a parameter live."""
        masks = [torch.ones(size, dtype=torch.bool) for size in shape]
        for dim, classes in self._parameters.get(self._canonical.get(name, name), {}).items():
            masks[dim] = alive[classes]
        return tuple(masks)

    def arguments(self, node: fx.Node, alive: Tensor) -> tuple[Any, ...]:
        """The node's arguments with every size rewritten for the living channels."""
        return rewritten(node, lambda n: self.results(n, alive))

    def pieces(self, node: fx.Node, alive: Tensor) -> list[Masks]:
        """``value_masks`` of every result of an operation that returns several."""
        values = node.meta["val"]
        found = self.labels.get(node.name) or ((),) * len(values)
        return [
            self._masks(tuple(v.shape), tuple(labels), alive) for v, labels in zip(values, found, strict=True)
        ]

    def results(self, node: fx.Node, alive: Tensor) -> Masks | list[Masks]:
        """``value_masks`` of a value, or ``pieces`` where there are several."""
        several = isinstance(node.meta["val"], (tuple, list))
        return self.pieces(node, alive) if several else self.value_masks(node, alive)

    def cut(self, alive: Tensor) -> fx.GraphModule:
        """A copy of the network without the dead channels; parameter names stay."""
        module = copied(self.module)
        originals = {n.name: n for n in self.module.graph.nodes}
        twins = {n.name: n for n in module.graph.nodes}
        _slice_parameters(module, self, alive)
        for node in module.graph.nodes:
            original = originals[node.name]
            if node.op == "call_function":
                target, arguments, kwargs = retargeted(original, self.arguments(original, alive))
                node.target = target
                node.args, node.kwargs = map_arg((arguments, kwargs), lambda n: twins[n.name])
        module.recompile()
        return module

    def _masks(self, shape: tuple[int, ...], labels: Labels, alive: Tensor) -> Masks:
        """Living indices by dimension; what each label says is kept until other classes live."""
        if self._known[0] is not alive:
            self._known = (alive, {})
        masks = [torch.ones(size, dtype=torch.bool) for size in shape]
        for label in labels:
            if id(label) not in self._known[1]:
                lives = alive[label]
                dims = [] if bool(lives.all()) else varies(label)
                found = [(d, lives.movedim(d, 0).reshape(lives.shape[d], -1).any(1)) for d in dims]
                self._known[1][id(label)] = found
            for d, living in self._known[1][id(label)]:
                masks[d] &= living
        return tuple(masks)

    def _of(self, node: fx.Node) -> Labels:
        return tuple(label for label in self.labels.get(node.name, ()) if isinstance(label, Tensor))


def _slice_parameters(module: fx.GraphModule, cutter: Cutter, alive: Tensor) -> None:
    """Slice every parameter and buffer in place; tied ones stay tied."""
    done: dict[int, Tensor] = {}
    for name, value in tensors(module).items():
        if id(value) not in done:
            done[id(value)] = _sliced(value, cutter.parameter_masks(name, tuple(value.shape), alive))
        if done[id(value)] is not value:
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, done[id(value)])


def _sliced(value: Tensor, masks: Masks) -> Tensor:
    """The value itself where nothing is cut off."""
    sliced = value.detach()
    for d, mask in enumerate(masks):
        if not bool(mask.all()):
            sliced = sliced.index_select(d, torch.nonzero(mask).flatten())
    if sliced.shape == value.shape:
        return value
    if isinstance(value, torch.nn.Parameter):
        return torch.nn.Parameter(sliced, requires_grad=value.requires_grad)
    return sliced


def check_runs(module: fx.GraphModule, inputs: tuple[Tensor, ...], expected: tuple[int, ...]) -> None:
    """Run a cut network once.

    Raises:
        ModelError: it breaks, or its output has another shape or holds NaN.
    """
    try:
        with torch.no_grad():
            out = module(*inputs)
    except RuntimeError as error:
        raise ModelError(f"the cut network does not run: {str(error).splitlines()[0]}") from error
    first = out[0] if isinstance(out, (tuple, list)) else out
    if tuple(first.shape) != expected:
        raise ModelError(f"the cut network returns {tuple(first.shape)} instead of {expected}")
    if not math.isfinite(float(first.float().abs().sum())):
        raise ModelError("the cut network returns values that are not finite")
