"""A captured network that runs step by step over weights of its own, at the widths it currently has.

The graph is never rebuilt during a search: a cut slices the weights, and the sizes that stand in the graph
are recomputed for the channels that live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from joulecut.errors import UsageError
from joulecut.pruning.blocks import Removable
from joulecut.pruning.captured import tensors
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group, ParameterSlice
from joulecut.pruning.execution import (
    AfterStep,
    BeforeStep,
    Parts,
    PartValues,
    Program,
    SampleAxes,
    Values,
    fast_layout,
)

__all__ = ["Network", "Values"]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network at some widths.

    Attributes:
        coupling: groups and sizes of the full network.
        weights: parameters and buffers by name, sliced to the living channels.
        kept: living channels (original indices) by group; groups not named are whole.
        dropped: blocks and layers that are left out, in the order in which they went. Their weights stay, and
            are sliced with their groups, so that a part can come back.
        axes: where its values hold samples.
    """

    coupling: Coupling
    weights: Mapping[str, Tensor]
    kept: Mapping[str, tuple[int, ...]]
    dropped: tuple[Removable, ...] = ()
    axes: SampleAxes = field(default_factory=SampleAxes)

    @staticmethod
    def whole(coupling: Coupling) -> Network:
        """The network before any cut, over copies of its weights."""
        weights = {
            name: fast_layout(tensor.detach().clone()) for name, tensor in tensors(coupling.module).items()
        }
        kept = {group.name: tuple(range(group.size)) for group in coupling.all_groups()}
        network = Network(coupling, weights, kept)
        return replace(network, axes=_axes(network))

    @property
    def alive(self) -> Tensor:
        """Living classes, bool by class."""
        return self.coupling.alive(self.kept)

    @property
    def widths(self) -> dict[str, int]:
        """How many channels live, by group."""
        return {name: len(kept) for name, kept in self.kept.items()}

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
            weights[name] = fast_layout(_sliced(weights[name], old, new))
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
        """Run the network; without hooks and gradients in parts of the samples, which is faster.

        Args:
            inputs: a batch for the network's (only) input.
            keep: names of nodes whose values are returned; None keeps all.
            before: a hook that may replace weights on the way.
            after: a hook that sees every value.
            known: values that need not be computed, nor what only they read.

        Returns:
            The first output, and the kept values.
        """
        program = self._program(frozenset(known or ()))
        held = [*(known or ()), program.output, *(program.names if keep is None else keep)]
        whole = before is not None or after is not None or torch.is_grad_enabled() or len(inputs) < 2
        if whole or len(inputs) <= self.axes.size or not self.axes.splits(held):
            return program.run(self.weights, inputs, keep, before, after, known or {})
        samples, values = len(inputs), dict[str, Any]()
        for bounds in self.axes.bounds(samples):
            have = {name: self.axes.part(name, v, bounds, samples) for name, v in (known or {}).items()}
            out, found = program.run(self.weights, inputs[slice(*bounds)], keep, None, None, have)
            for name, value in {**found, program.output: out}.items():
                values[name] = self.axes.put(name, values.get(name), value, bounds, samples)
        out = values[program.output]
        return out, {k: v for k, v in values.items() if keep is None or k in keep}

    def observe(self, inputs: Tensor, keep: frozenset[str]) -> tuple[Tensor, Values]:
        """The output, and some values in parts: quicker than ``run``, which joins them.

        Args:
            inputs: a batch for the network's input.
            keep: names of nodes.
        """
        outputs: list[Tensor] = []
        values: Values = {}
        for out, found in self.in_parts(inputs, keep):
            outputs.append(out)
            for name, value in found.items():
                values.setdefault(name, Parts()).append(value)
        return torch.cat(outputs), values

    def in_parts(self, inputs: Tensor, keep: frozenset[str]) -> Iterator[tuple[Tensor, Values]]:
        """The output and some values of one part of the samples after the other, without gradients."""
        program, samples = self._program(frozenset()), len(inputs)
        names = keep & frozenset(program.names)
        bounds = self.axes.bounds(samples)
        if not self.axes.splits((*names, program.output)):
            bounds = [(0, samples)]
        for one in bounds:
            with torch.no_grad():
                found = program.run(self.weights, inputs[slice(*one)], names, None, None, {})
            yield found

    def run_by_layers(
        self,
        inputs: Tensor,
        before: Callable[[fx.Node, PartValues], Mapping[str, Tensor]],
        *,
        keep: frozenset[str] = frozenset(),
        read: frozenset[str] = frozenset(),
        held: Mapping[str, Sequence[str]] | None = None,
    ) -> tuple[Tensor, Values]:
        """Run each layer on all samples before the next, so that weights can be set on the way.

        Args:
            inputs: a batch for the network's input.
            before: called before each operation with the values so far, a list with one for each part of the
                samples; the weights that it returns are used from then on.
            keep: names of values that stay until the end.
            read: names of the values that ``before`` looks at.
            held: by node, names of values that it looks at then though the node does not read them.

        Returns:
            The first output, and the kept values in parts.
        """
        program = self._program(frozenset(), held)
        whole = not self.axes.splits((*read, *keep, program.output))
        bounds = [(0, len(inputs))] if whole else self.axes.bounds(len(inputs))
        parts = [inputs[slice(*one)] for one in bounds]
        values = program.run_by_layers(self.weights, parts, keep, before)
        kept = {name: Parts(values[name]) for name in keep if name in values}
        return torch.cat(values[program.output]), kept

    def rerun(self, inputs: Tensor, larger: Network, values: Values, starts: frozenset[str]) -> Tensor:
        """The output, from values of a larger network where they are slices of those here.

        Args:
            inputs: a batch for the network's input.
            larger: the network that this one was cut from.
            values: of its run on the same batch; what is missing is computed anew.
            starts: the first nodes on each path that compute something else than slices of values there.
        """
        same = [node for node in self.beside(starts) if node.name in values]
        program = self._program(frozenset(node.name for node in same))
        slices = larger.slices(self, [node for node in same if program.needs(node.name)])
        held = {name: values[name] for name in slices}
        samples, bounds = len(inputs), self.axes.bounds(len(inputs))
        joined = any(isinstance(value, Parts) and len(value) < len(bounds) for value in held.values())
        if joined or not self.axes.splits((*slices, program.output)):
            bounds = [(0, samples)]  # some value beside these could not be split
        logits: list[Tensor] = []
        for i, one in enumerate(bounds):
            known: Values = {}
            for name, cut in slices.items():
                in_parts = isinstance(held[name], Parts)
                known[name] = cut(held[name][i] if in_parts else self._part(name, held[name], one, samples))
            logits.append(program.run(self.weights, inputs[slice(*one)], frozenset(), None, None, known)[0])
        return torch.cat(logits)

    def _part(self, name: str, value: Any, bounds: tuple[int, int], samples: int) -> Any:
        return value if bounds == (0, samples) else self.axes.part(name, value, bounds, samples)

    def beside(self, starts: frozenset[str]) -> list[fx.Node]:
        """The nodes whose values a rerun from ``starts`` reads."""
        changed: set[str] = set()
        read: dict[fx.Node, None] = {}
        for node in self.coupling.module.graph.nodes:
            reads = self.reads(node)
            if node.op != "output" and (node.name in starts or any(n.name in changed for n in reads)):
                changed.add(node.name)
                read.update(dict.fromkeys(reads))
        return [node for node in read if node.name not in changed and node.op != "get_attr"]

    def frontier(self) -> frozenset[str]:
        """Names of the values that the groups' readers read, and that a rerun from them reads beside."""
        found: set[str] = set()
        nodes = {node.name: node for node in self.coupling.module.graph.nodes}
        for group in self.coupling.all_groups():
            readers = frozenset(part.node for part in group.of_role("reader"))
            beside = [n for reader in readers for n in self.reads(nodes[reader]) if n.op != "get_attr"]
            found.update(node.name for node in (*beside, *self.beside(readers)))
        return frozenset(found)

    def _program(self, known: frozenset[str], held: Mapping[str, Sequence[str]] | None = None) -> Program:
        module = self.coupling.module
        reads = {node.name: self.reads(node) for node in module.graph.nodes}
        return Program(module, self.coupling.cutter, self.alive, reads, known, held)

    def sliced_values(self, values: Values, smaller: Network, names: Sequence[fx.Node]) -> Values:
        """Values of this network at the widths of a smaller one, for nodes that the cut leaves unchanged.

        Nodes without a value here (of a dropped part) have none there.
        """
        slices = self.slices(smaller, [node for node in names if node.name in values])
        return {name: cut(values[name]) for name, cut in slices.items()}

    def slices(self, smaller: Network, nodes: Sequence[fx.Node]) -> dict[str, Callable[[Any], Any]]:
        """By node, what makes of a value of this network that of a smaller one."""
        before, after = self.alive, smaller.alive
        old = {node.name: self._masks(node, before) for node in nodes}
        new = {node.name: self._masks(node, after) for node in nodes}
        return {name: partial(_sliced_result, old=masks, new=new[name]) for name, masks in old.items()}

    def _masks(self, node: fx.Node, alive: Tensor) -> Any:
        """Living indices of each dimension of a value, or of each of several; None of a size."""
        value = node.meta.get("val")
        if isinstance(value, (tuple, list)):
            return self.coupling.cutter.pieces(node, alive)
        return self.coupling.cutter.value_masks(node, alive) if isinstance(value, Tensor) else None

    def __call__(self, inputs: Tensor) -> Tensor:
        """The first output, without gradients."""
        with torch.no_grad():
            return self.run(inputs)[0]


def _axes(network: Network) -> SampleAxes:
    """Where values hold samples, tried on noise; nowhere in a network that runs for its own batch only."""
    example = next(n.meta["val"] for n in network.coupling.module.graph.nodes if n.op == "placeholder")
    noise = torch.zeros((3, *example.shape[1:]), dtype=example.dtype)
    if noise.is_floating_point():
        noise = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0), dtype=noise.dtype)
    try:
        with torch.no_grad():
            return SampleAxes.of(lambda batch: network.run(batch, keep=None)[1], noise)
    except RuntimeError:  # torch's, of sizes that were captured as numbers
        return network.axes


def _sliced_result(value: Any, old: Any, new: Any) -> Any:
    """A tensor, or each of several, cut from some masks to others; a size is as it is."""
    if isinstance(value, (tuple, list)):
        return [_sliced(v, was, now) for v, was, now in zip(value, old, new, strict=True)]
    return _sliced(value, old, new) if isinstance(value, Tensor) else value


def _sliced(value: Tensor, old: Sequence[Tensor], new: Sequence[Tensor]) -> Tensor:
    """A tensor cut from the indices in ``old`` to those in ``new`` (masks over the full extent)."""
    for d, (was, now) in enumerate(zip(old, new, strict=True)):
        stays = now[was]
        if value.shape[d] == len(stays) and not bool(stays.all()):
            chosen = torch.nonzero(stays).flatten()
            # plain indexing is twice as fast as index_select on channels-last images (CPU, torch 2.13)
            value = value[:, chosen] if d == 1 else value.index_select(d, chosen)
    return value
