"""The author's own ``nn.Module`` cut in place, where no size in its code stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from joulecut.errors import ModelError, UsageError
from joulecut.pruning.coupling import Coupling
from joulecut.pruning.layer_sizes import keeps_sizes, layer_sizes
from joulecut.workload.callables import AuthorsCode
from joulecut.workload.trace import evaluating, module_path, operation, raised_at, source_line

__all__ = ["cut_in_place"]

_TOLERANCE = 1e-5
"""Largest difference to the cut graph, relative to its largest output."""


def cut_in_place(
    model: nn.Module,
    coupling: Coupling,
    kept: Mapping[str, Sequence[int]],
    example: Tensor | Sequence[Tensor],
) -> None:
    """Cut the author's module itself: its parameters, its buffers, and the sizes that torch's layers keep.

    Parameters keep their names and are new objects, so an optimiser must be made anew. The result is checked
    by running it, on the example and on noise of its shape, against the cut graph; where it differs or does
    not run, everything is put back.

    Args:
        model: the module that the coupling was made of.
        coupling: its groups of channels.
        kept: kept channels (original indices) by group, as for ``Coupling.apply``.
        example: one tensor or one per argument of ``forward``.

    Raises:
        ModelError: a size in the author's code would have to change, with the operation and the line.
        UsageError: the coupling is of another network; an unknown group or channel.

    >>> from joulecut.pruning.coupling import couple
    >>> network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> cut_in_place(network, couple(network, torch.zeros(1, 3)), {"0": [1, 2]}, torch.zeros(1, 3))
    >>> network
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=2, bias=True)
    )
    """
    if isinstance(model, fx.GraphModule):
        raise ModelError("a captured graph is not cut in place.", hint="Go on with Coupling.apply's copy.")
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    cut, indices = coupling.apply(kept), coupling.indices(kept)
    _check_names(model, coupling.module, indices)
    shapes = _Shapes(cut)
    with torch.no_grad():
        expected = shapes.run(*inputs)
    changes = _Changes()
    _slice(model, indices, changes)
    for node in cut.graph.nodes:
        if node.name in shapes.of:
            layer = _owner(model, node)
            for name, value in layer_sizes(layer, node, shapes.of[node.name]).items():
                changes.set(layer, name, value)
    reason = _difference(model, [(inputs, expected), *_on_noise(cut, inputs)])
    if reason is not None:
        changes.undo()
        raise _refusal(model, coupling.module, cut, reason)


class _Changes:
    """Attributes that were set, and what they were before."""

    def __init__(self) -> None:
        self._before: list[tuple[nn.Module, str, Any]] = []

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute, a parameter or a buffer, where it is another."""
        before = getattr(module, name)
        if isinstance(before, Tensor) or before != value:
            self._before.append((module, name, before))
            setattr(module, name, value)

    def undo(self) -> None:
        """Put all back, the last first."""
        while self._before:
            module, name, value = self._before.pop()
            setattr(module, name, value)


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shape of every (first) value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.of: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        first = value[0] if isinstance(value, (tuple, list)) and value else value
        if n.op == "call_function" and isinstance(first, Tensor):
            self.of[n.name] = tuple(first.shape)
        return value


def _check_names(
    model: nn.Module, graph: fx.GraphModule, indices: Mapping[str, Mapping[int, Sequence[int]]]
) -> None:
    own = dict(_tensors(model))
    traced = dict(_tensors(graph))
    for name in indices:
        if name not in own:
            raise ModelError(
                f"{type(model).__name__} cannot be cut in place: {name} is neither a parameter nor a buffer.",
                hint="Register it as a buffer, or go on with the cut graph.",
            )
        if own[name].shape != traced[name].shape:
            raise UsageError(f"{name} has shape {list(own[name].shape)}, not {list(traced[name].shape)}.")


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _slice(model: nn.Module, indices: Mapping[str, Mapping[int, Sequence[int]]], changes: _Changes) -> None:
    """Slice parameters and buffers; tied ones stay tied, as one object under all of its names."""
    done: dict[int, Tensor] = {}
    cut = {id(tensor): indices[name] for name, tensor in _tensors(model) if name in indices}
    for name, tensor in list(_tensors(model)):
        if id(tensor) not in cut:
            continue
        if id(tensor) not in done:
            sliced = tensor.detach()
            for dim, at in cut[id(tensor)].items():
                sliced = sliced.index_select(dim, torch.tensor(at, device=sliced.device))
            trained = isinstance(tensor, nn.Parameter)
            done[id(tensor)] = nn.Parameter(sliced, tensor.requires_grad) if trained else sliced
        path, _, leaf = name.rpartition(".")
        changes.set(model.get_submodule(path), leaf, done[id(tensor)])


def _owner(model: nn.Module, node: fx.Node) -> nn.Module:
    """The module whose ``forward`` made a node; a module that is called again is ``path@1`` there."""
    try:
        return model.get_submodule(module_path(node).partition("@")[0])
    except AttributeError:  # made by something that is no module of the network
        return model


def _on_noise(cut: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
    """Another example of the same shapes, and what the cut graph makes of it."""
    generator = torch.Generator().manual_seed(0)
    noise = tuple(
        torch.randn(t.shape, generator=generator).to(t) if t.is_floating_point() else t for t in inputs
    )
    with torch.no_grad():
        yield noise, cut(*noise)


def _difference(model: nn.Module, runs: Sequence[tuple[tuple[Tensor, ...], Any]]) -> ModelError | None:
    """Why a cut module is not the cut graph: what was raised, or that its outputs differ; None if it is."""
    name = type(model).__name__
    for inputs, expected in runs:
        try:
            with evaluating(model), torch.no_grad(), AuthorsCode(f"running {name} at the new sizes"):
                found = model(*inputs)
        except ModelError as error:
            return error
        pairs = list(zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=False))
        if not all(_close(a, b) for a, b in pairs if isinstance(b, Tensor)):
            return ModelError(f"{name} computes something else than the cut graph.")
    return None


def _close(a: Any, b: Tensor) -> bool:
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    return not b.numel() or bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())


def _refusal(model: nn.Module, graph: fx.GraphModule, cut: fx.GraphModule, reason: ModelError) -> ModelError:
    """The error that names the operation and the line to blame."""
    line = raised_at(reason.__cause__) if reason.__cause__ is not None else ""
    after = {node.name: node for node in cut.graph.nodes}
    changed = [
        node
        for node in graph.graph.nodes
        if node.name in after
        and _sizes(node) != _sizes(after[node.name])
        and not keeps_sizes(_owner(model, node), node)
    ]
    blamed = next((node for node in changed if source_line(node) == line), None)
    blamed = blamed or next(iter(changed if not line else ()), None)
    if blamed is not None:
        where = source_line(blamed) or module_path(blamed) or blamed.name
        said = f"{operation(blamed)} at {where} holds a size that the cut changes"
    else:
        said = f"{reason.message.rstrip('.')}{f' ({line})' if line else ''}"
    return ModelError(
        f"{type(model).__name__} cannot be cut in place: {said}.",
        hint="Take the size from the shape of a tensor, keep those channels, or go on with the cut graph.",
    )


def _sizes(node: fx.Node) -> list[Any]:
    """The arguments of a node that are no values."""
    return [a for a in pytree.tree_leaves((node.args, node.kwargs)) if not isinstance(a, fx.Node)]
