"""How the loss of each sample answers to a gate on each channel: what Taylor and Fisher scores are made of.

A gate multiplies a channel wherever a layer reads it; removing the channel closes it. Its derivative at 1 is
the sum over positions and readers of value x gradient, and a channel that several layers read (a residual
stream) has one gate before all of them (Liu et al. 2021, Group Fisher Pruning, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.groups import Group, ParameterSlice
from joulecut.pruning.execution import bytes_per_sample
from joulecut.pruning.network import Network, Values
from joulecut.pruning.sensitivity import gate_costs, sampled_loss
from joulecut.workload.trace import argument, operation

__all__ = ["batch_that_fits", "fisher_costs", "gate_derivatives"]

_BATCH_BYTES = 1 << 30
"""Activations of a batch that runs forward and backward."""

_LARGEST_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Gate:
    """Where the channels of a group pass: ``node`` reads them from ``source``, or writes them ("" then).

    ``dim`` is their dimension in the value, ``folds`` how many times the parameter's extent goes into it
    (convolution groups), and ``positions`` [width, k] where they sit within that extent.
    """

    group: str
    node: str
    source: str
    dim: int
    folds: int
    positions: Tensor

    def sums(self, product: Tensor) -> Tensor:
        """Value x gradient, summed to one figure by sample and channel: [samples, width]."""
        by_channel = product.movedim(self.dim, -1).flatten(1, -2) if product.ndim > 2 else product[:, None]
        totals = by_channel.sum(1).reshape(len(product), self.folds, -1).sum(1)
        return totals[:, self.positions].sum(2)


def batch_that_fits(module: fx.GraphModule) -> int:
    """Samples whose activations take about 1 GiB all together: 1 to 256."""
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // bytes_per_sample(module)))


def gate_derivatives(
    network: Network, inputs: Tensor, labels: Tensor | None, *, seed: int
) -> dict[str, Tensor]:
    """Derivative of each sample's cross-entropy with respect to the gate of each living channel.

    Args:
        network: gives logits [samples, classes].
        inputs: samples.
        labels: classes [samples]; None draws them from the network's own predictions.
        seed: of the drawing.

    Returns:
        By group, float64 [samples, width], in nats. Groups that pass no convolution or linear layer, whether
        as readers or as writers, are missing.

    >>> from joulecut.pruning.coupling import couple
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    >>> with torch.no_grad():
    ...     for parameter, value in zip(model.parameters(), ([[2.0], [1.0]], [[1.0, 0], [0, 2]])):
    ...         _ = parameter.copy_(torch.tensor(value))
    >>> one = torch.ones(1, 1)
    >>> whole = Network.whole(couple(model, one))
    >>> gate_derivatives(whole, one, torch.tensor([0]), seed=0)["0"]
    tensor([[-1.,  1.]], dtype=torch.float64)
    """
    gates = _gates(network)
    found: dict[str, list[Tensor]] = {gate.group: [] for gate in gates}
    batch = batch_that_fits(network.coupling.module)
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        classes = None if labels is None else labels[start : start + batch]
        for group, derivative in _of_batch(network, gates, part, classes, seed + start).items():
            found[group].append(derivative)
    return {group: torch.cat(parts) for group, parts in found.items() if parts}


def fisher_costs(network: Network, inputs: Tensor, *, seed: int) -> dict[str, Tensor]:
    """Rise of the loss when one channel's gate closes, to second order: half the Fisher information.

    Labels are drawn from the network's own predictions. Groups without a gate (a recurrent layer alone reads
    them, say) have one on the weights that read or write them (``sensitivity.gate_costs``).

    Args:
        network: gives logits.
        inputs: samples.
        seed: of the drawing.

    Returns:
        By group, float64 [width], in nats.
    """
    gates = gate_derivatives(network, inputs, None, seed=seed)
    found = {group: 0.5 * derivative.square().mean(0) for group, derivative in gates.items()}
    rest: dict[str, list[tuple[ParameterSlice, Tensor]]] = {}
    for group in network.coupling.all_groups():
        if group.name not in found:
            parts = group.of_role("reader") or group.of_role("writer")[:1]
            living = [part for part in parts if part.node not in network.gone]
            rest[group.name] = [(part, network.positions(part, group)) for part in living]
    return found | gate_costs(network, inputs, {name: parts for name, parts in rest.items() if parts}, seed)


def _of_batch(
    network: Network, gates: list[_Gate], inputs: Tensor, labels: Tensor | None, seed: int
) -> dict[str, Tensor]:
    watch = _Watch(gates)
    with torch.enable_grad():
        start = inputs.detach().clone().requires_grad_(inputs.is_floating_point())
        logits, _ = network.run(start, before=watch.before, after=watch.after)
        if labels is None:
            loss = sampled_loss(logits, seed)
        else:
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        torch.autograd.grad(loss, watch.leaves + [start] * start.requires_grad, allow_unused=True)
    return watch.total


class _Watch:
    """Stands beside a run and adds up value x gradient at every gate, when the gradient comes by."""

    def __init__(self, gates: list[_Gate]) -> None:
        self.total: dict[str, Tensor] = {}
        self.leaves: list[Tensor] = []
        self._reading: dict[str, list[_Gate]] = {}
        self._writing: dict[str, list[_Gate]] = {}
        for gate in gates:
            (self._reading if gate.source else self._writing).setdefault(gate.node, []).append(gate)
        self._aliased: dict[str, Tensor] = {}

    def before(self, node: fx.Node, values: Values) -> Mapping[str, Tensor]:
        """Give a reader an alias of what it reads, so that no other path's gradient runs through it."""
        values.update({name: value for name, value in self._aliased.items() if name in values})
        self._aliased.clear()
        for gate in self._reading.get(node.name, ()):
            if gate.source not in self._aliased:
                value = values[gate.source]
                self._aliased[gate.source] = value
                values[gate.source] = self._watched(value)
            self._hook(values[gate.source], gate)
        return {}

    def after(self, node: fx.Node, value: object) -> None:
        """Watch what a writer writes, where nothing that can be watched reads it."""
        for gate in self._writing.get(node.name, ()):
            if isinstance(value, Tensor) and value.requires_grad:
                self._hook(value, gate)

    def _watched(self, value: Tensor) -> Tensor:
        if value.requires_grad:
            return value.view_as(value)
        leaf = value.detach().requires_grad_(True)
        self.leaves.append(leaf)
        return leaf

    def _hook(self, value: Tensor, gate: _Gate) -> None:
        content, total = value.detach(), self.total  # self would hold the value, which would hold self

        def add(gradient: Tensor) -> None:
            sums = gate.sums(content * gradient).double()
            total[gate.group] = total[gate.group] + sums if gate.group in total else sums

        value.register_hook(add)  # type: ignore[no-untyped-call]


def _gates(network: Network) -> list[_Gate]:
    """Gates before all readers of each group, or behind its writers where nothing that we know reads it."""
    nodes = {node.name: node for node in network.coupling.module.graph.nodes}
    found: list[_Gate] = []
    for group in network.coupling.all_groups():
        before = _of_role(network, group, nodes, "reader", _reader)
        found.extend(before or _of_role(network, group, nodes, "writer", _writer))
    return found


_Make = Callable[[Network, Group, ParameterSlice, fx.Node], "_Gate | None"]


def _of_role(
    network: Network, group: Group, nodes: Mapping[str, fx.Node], role: str, make: _Make
) -> list[_Gate]:
    parts: Iterator[ParameterSlice] = (part for part in group.of_role(role) if part.node in nodes)
    gates = (make(network, group, part, nodes[part.node]) for part in parts)
    return [gate for gate in gates if gate is not None]


def _reader(network: Network, group: Group, part: ParameterSlice, node: fx.Node) -> _Gate | None:
    name, source = operation(node), argument(node, 0, "input", None)
    if not isinstance(source, fx.Node) or source.op == "get_attr":
        return None
    folds = int(argument(node, 6, "groups", 1)) if "conv" in name else 1
    if name == "linear" and part.dim == 1:
        return _Gate(group.name, node.name, source.name, -1, 1, network.positions(part, group))
    if name in ("conv1d", "conv2d", "conv3d") and part.dim == 1:
        return _Gate(group.name, node.name, source.name, 1, folds, network.positions(part, group))
    if name.startswith("conv_transpose") and part.dim == 0:
        return _Gate(group.name, node.name, source.name, 1, 1, network.positions(part, group))
    return None


def _writer(network: Network, group: Group, part: ParameterSlice, node: fx.Node) -> _Gate | None:
    name, weight = operation(node), network.weights[part.parameter]
    if weight.ndim < 2 or part.dim != 0 or name not in ("linear", "conv1d", "conv2d", "conv3d"):
        return None
    return _Gate(group.name, node.name, "", -1 if name == "linear" else 1, 1, network.positions(part, group))
