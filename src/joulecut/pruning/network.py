"""A captured network that runs step by step over weights of its own, at the widths it currently has.

The graph is never rebuilt during a search: a cut slices the weights, and the sizes that stand in the graph
are recomputed for the channels that live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.errors import UsageError
from joulecut.pruning.blocks import Removable
from joulecut.pruning.coupling.cut import retargeted
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group, ParameterSlice
from joulecut.pruning.coupling.tying import tensors

__all__ = ["Network", "Values"]

Values = dict[str, Any]
"""Values of a run by node name."""

BeforeStep = Callable[[fx.Node, Values], Mapping[str, Tensor]]
"""Called before a node runs; the weights that it returns are used from then on."""

AfterStep = Callable[[fx.Node, Any], None]
"""Called with every value that a run computes."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network at some widths.

    Attributes:
        coupling: groups and sizes of the full network.
        weights: parameters and buffers by name, sliced to the living channels.
        kept: living channels (original indices) by group; groups not named are whole.
        dropped: blocks and layers that are left out, in the order in which they went. Their weights stay, and
            are sliced with their groups, so that a part can come back.
    """

    coupling: Coupling
    weights: Mapping[str, Tensor]
    kept: Mapping[str, tuple[int, ...]]
    dropped: tuple[Removable, ...] = ()

    @staticmethod
    def whole(coupling: Coupling) -> Network:
        """The network before any cut, over copies of its weights."""
        weights = {
            name: _fast_layout(tensor.detach().clone()) for name, tensor in tensors(coupling.module).items()
        }
        return Network(
            coupling, weights, {group.name: tuple(range(group.size)) for group in coupling.groups()}
        )

    @property
    def alive(self) -> Tensor:
        """Living classes, bool by class."""
        return self.coupling.alive(self.kept)

    def width(self, group: Group) -> int:
        """How many channels of a group live."""
        return len(self.kept[group.name])

    def positions(self, part: ParameterSlice, group: Group) -> Tensor:
        """Where the living channels of a group sit in a sliced parameter: int64 [width, k]."""
        shape = self._full_shape(part.parameter)
        mask = self.coupling.cutter.parameter_masks(part.parameter, shape, self.alive)[part.dim]
        at = part.positions[torch.tensor(self.kept[group.name])]
        living = mask[at]  # a cell of a living head may have gone with its width
        return (mask.cumsum(0) - 1)[at][living].reshape(len(at), -1)

    def _full_shape(self, name: str) -> tuple[int, ...]:
        module = self.coupling.module
        *path, leaf = name.split(".")
        return tuple(getattr(module.get_submodule(".".join(path)), leaf).shape)

    def with_weights(self, weights: Mapping[str, Tensor]) -> Network:
        """The same widths, some weights replaced."""
        return replace(self, weights={**self.weights, **weights})

    @property
    def gone(self) -> frozenset[str]:
        """Names of the nodes that dropped parts take away."""
        return frozenset(name for part in self.dropped for name in part.nodes)

    def can_drop(self, part: Removable) -> bool:
        """Whether what a part reads can stand in for what it returns at any widths.

        Not so where the two belong to different groups of channels: they could be cut to different widths.
        """
        nodes = {node.name: node for node in self.coupling.module.graph.nodes}
        before, after = nodes[part.input], nodes[part.output]
        if before.meta["val"].shape != after.meta["val"].shape:
            return False
        along = self.coupling.cutter.classes_along
        return all(torch.equal(along(before, d), along(after, d)) for d in range(before.meta["val"].ndim))

    def drop(self, part: Removable) -> Network:
        """Without a block or a layer: what it read stands in for what it returned.

        Args:
            part: of this network's own graph (``blocks.removable_blocks`` of it).

        Raises:
            UsageError: the channels that it reads and those that it returns are not the same.
        """
        if not self.can_drop(part):
            raise UsageError(
                f"{part.name[:120]} cannot be left out: the channels that it reads are not those it returns."
            )
        return replace(self, dropped=(*self.dropped, part))

    def reads(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose values a node takes here: of a dropped part's output, the one that stands in."""
        inputs = [part.input for part in self.dropped if part.output == node.name]
        if not inputs:
            return list(node.all_input_nodes)
        return [next(n for n in self.coupling.module.graph.nodes if n.name in inputs)]

    def cut(self, group: Group, channels: Sequence[int]) -> Network:
        """Without some channels (original indices) of a group."""
        gone = set(channels)
        kept = {**self.kept, group.name: tuple(c for c in self.kept[group.name] if c not in gone)}
        before, after = self.alive, self.coupling.alive(kept)
        weights = dict(self.weights)
        for name in {part.parameter for part in group.slices}:
            shape = self._full_shape(name)
            old = self.coupling.cutter.parameter_masks(name, shape, before)
            new = self.coupling.cutter.parameter_masks(name, shape, after)
            weights[name] = _fast_layout(_sliced(weights[name], old, new))
        return replace(self, weights=weights, kept=kept)

    def run(
        self,
        inputs: Tensor,
        *,
        keep: frozenset[str] | None = frozenset(),
        before: BeforeStep | None = None,
        after: AfterStep | None = None,
        known: Values | None = None,
    ) -> tuple[Tensor, Values]:
        """Run the network.

        Args:
            inputs: a batch for the network's (only) input.
            keep: names of nodes whose values are returned; None keeps all.
            before: a hook that may replace weights on the way.
            after: a hook that sees every value.
            known: values that need not be computed, nor what only they read.

        Returns:
            The first output, and the kept values.
        """
        alive, module = self.alive, self.coupling.module
        values: Values = dict(known or {})
        reads = {node.name: self.reads(node) for node in module.graph.nodes}
        needed = _needed(module, reads, frozenset(values)) if known is not None or self.dropped else None
        last = _last_reader(module, reads, needed)
        attributes = {str(n.target): n.name for n in module.graph.nodes if n.op == "get_attr"}
        for node in module.graph.nodes:
            if node.op == "output":
                out = node.args[0]
                first = out[0] if isinstance(out, (tuple, list)) else out
                return values[first.name], {k: v for k, v in values.items() if keep is None or k in keep}
            if needed is not None and node.name not in needed:
                continue
            if node.name not in values and reads[node.name] != node.all_input_nodes:
                values[node.name] = values[reads[node.name][0].name]
            if node.name not in values:
                if before is not None and node.op == "call_function":
                    values.update({attributes[name]: tensor for name, tensor in before(node, values).items()})
                values[node.name] = self._step(node, values, inputs, alive)
                if after is not None:
                    after(node, values[node.name])
            if keep is not None:
                for read in reads[node.name]:
                    if last[read.name] is node and read.name not in keep:
                        values.pop(read.name, None)
        raise AssertionError("unreachable: every graph has an output")

    def _step(self, node: fx.Node, values: Values, inputs: Tensor, alive: Tensor) -> Any:
        if node.op == "placeholder":
            return _fast_layout(inputs)
        if node.op == "get_attr":
            return self.weights[str(node.target)]
        target, arguments, kwargs = retargeted(node, self.coupling.cutter.arguments(node, alive))
        args, keywords = map_arg((arguments, kwargs), lambda n: values[n.name])
        return target(*args, **keywords)

    def sliced_values(self, values: Values, smaller: Network, names: Sequence[fx.Node]) -> Values:
        """Values of this network at the widths of a smaller one, for nodes that the cut leaves unchanged.

        Nodes without a value here (of a dropped part) have none there.
        """
        before, after = self.alive, smaller.alive
        cutter = self.coupling.cutter
        out: Values = {}
        for node in (node for node in names if node.name in values):
            value = values[node.name]
            if isinstance(value, Tensor):
                out[node.name] = _sliced(
                    value, cutter.value_masks(node, before), cutter.value_masks(node, after)
                )
            elif isinstance(value, (tuple, list)):
                pairs = zip(value, cutter.pieces(node, before), cutter.pieces(node, after), strict=True)
                out[node.name] = [_sliced(v, old, new) for v, old, new in pairs]
            else:
                out[node.name] = value
        return out

    def __call__(self, inputs: Tensor) -> Tensor:
        """The first output, without gradients."""
        with torch.no_grad():
            return self.run(inputs)[0]


def _fast_layout(tensor: Tensor) -> Tensor:
    """Channels last for images: torch's depthwise convolution is several times slower without it on a CPU."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _sliced(value: Tensor, old: Sequence[Tensor], new: Sequence[Tensor]) -> Tensor:
    """A tensor cut from the indices in ``old`` to those in ``new`` (masks over the full extent)."""
    for d, (was, now) in enumerate(zip(old, new, strict=True)):
        stays = now[was]
        if value.shape[d] == len(stays) and not bool(stays.all()):
            chosen = torch.nonzero(stays).flatten()
            # plain indexing is twice as fast as index_select on channels-last images (CPU, torch 2.13)
            value = value[:, chosen] if d == 1 else value.index_select(d, chosen)
    return value


def _needed(
    module: fx.GraphModule, reads: Mapping[str, list[fx.Node]], known: frozenset[str]
) -> frozenset[str]:
    """Names of the nodes that the output needs when some values are known, these included."""
    needed: set[str] = set()
    for node in reversed(module.graph.nodes):
        if node.op == "output" or (node.name in needed and node.name not in known):
            needed.update(read.name for read in reads[node.name])
    return frozenset(needed)


def _last_reader(
    module: fx.GraphModule, reads: Mapping[str, list[fx.Node]], needed: frozenset[str] | None
) -> dict[str, fx.Node]:
    last: dict[str, fx.Node] = {}
    for node in module.graph.nodes:
        for read in reads[node.name] if needed is None or node.name in needed or node.op == "output" else ():
            last[read.name] = node
    return last
