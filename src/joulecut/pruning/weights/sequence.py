"""Every layer re-solved in the order of execution, with zeros where masks want them.

The sequential refit (see ``pruning.refit``) under masks: each layer is solved on the inputs that it receives
from layers that are solved already, against the original's pre-activations, and its mask is chosen there, so
that later layers make up for what the zeros of earlier ones changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from joulecut.pruning.leastsquares import gram, product
from joulecut.pruning.network import Network, Values
from joulecut.pruning.refit import Teacher
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.solvable import SolvableLayer, columns, targets
from joulecut.pruning.weights.choosing import LayerShape
from joulecut.pruning.weights.masks import as_matrix
from joulecut.pruning.weights.solving import MaskedProblem, masked_solve

__all__ = [
    "Chooser",
    "Masks",
    "layer_shape",
    "packed_weights",
    "reapply",
    "solved_in_order",
    "unpacked_weights",
    "zero_masks",
]

Masks = Mapping[str, Tensor]
"""Which weights stay, bool of the weight's own shape, by the name of the weight."""

Chooser = Callable[[SolvableLayer, LayerShape, MaskedProblem], Tensor | None]
"""The mask of a layer, bool [outputs, inputs, taps]; None where all its weights stay."""


def zero_masks(network: Network, layers: Mapping[str, SolvableLayer]) -> dict[str, Tensor]:
    """Masks of the solvable layers that have weights of exactly zero, by the name of the weight."""
    masks = {layer.weight: network.weights[layer.weight] != 0 for layer in layers.values()}
    return {name: keep for name, keep in masks.items() if not bool(keep.all())}


def reapply(network: Network, masks: Masks, teacher: Teacher, settings: RefitSettings) -> Network:
    """The sequential refit of a network under masks: what a refit has filled is zero again, and made up for.

    Args:
        network: at the widths of the masks; its weights are what the ridge pulls to.
        masks: see ``zero_masks``; layers without one are re-solved whole.
        teacher: the original on the calibration inputs.
        settings: as for ``pruning.refit.refit``.
    """
    return solved_in_order(network, teacher, settings, lambda layer, _shape, _problem: _of(masks, layer))


def _of(masks: Masks, layer: SolvableLayer) -> Tensor | None:
    keep = masks.get(layer.weight)
    return None if keep is None else as_matrix(keep)


def solved_in_order(network: Network, teacher: Teacher, settings: RefitSettings, choose: Chooser) -> Network:
    """The network with every solvable layer re-solved under the mask that is chosen when its turn comes."""
    solved: dict[str, Tensor] = {}
    alive = network.alive

    def before(node: fx.Node, values: Values) -> Mapping[str, Tensor]:
        layer = teacher.layers.get(node.name)
        if layer is None:
            return {}
        living = network.coupling.cutter.value_masks(node, alive)[1 if layer.taps else -1]
        found = _Turn(network, teacher, settings, layer, node, values, living).solve(choose)
        solved.update(found)
        return found

    needed = frozenset(layer.other for layer in teacher.layers.values() if layer.other)
    with torch.no_grad():
        network.run(teacher.inputs, before=before, keep=needed)
    return network.with_weights(solved)


def layer_shape(weight: Tensor, groups: int) -> LayerShape:
    """How the columns of a layer's problem are its weights."""
    outputs, inputs, taps = as_matrix(weight).shape
    return LayerShape(groups, outputs // groups, inputs, taps)


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """One layer's turn.

    Attributes:
        network: gives the weights before.
        teacher: what the layer should give.
        settings: of the refit.
        layer: the layer.
        node: its node.
        values: what it reads, and the other operand of a sum behind it.
        living: its living outputs.
    """

    network: Network
    teacher: Teacher
    settings: RefitSettings
    layer: SolvableLayer
    node: fx.Node
    values: Values
    living: Tensor

    def solve(self, choose: Chooser) -> dict[str, Tensor]:
        """New weights of the layer, zero where its mask says so."""
        layer, settings = self.layer, self.settings
        spatial = tuple(self.node.meta["val"].shape[2:])
        x = columns(layer, self.values[layer.source], spatial, self.teacher.samples[layer.node])
        wanted, beside, scale = self._wanted(x.shape[0])
        weights, constant = self.network.weights, bool(layer.bias)
        previous = packed_weights(layer, weights, x.shape[0])
        scaled = x * scale
        problem = MaskedProblem(
            gram(scaled, constant),
            product(scaled, (wanted - beside) * scale) / x.shape[1],
            previous,
            torch.ones(previous.shape, dtype=torch.bool),
            settings.ridge,
        )
        shape = layer_shape(weights[layer.weight], x.shape[0])
        keep = choose(layer, shape, problem)
        if keep is not None:
            problem = replace(problem, keep=shape.as_columns(keep, constant))
        passes = settings.passes if layer.low is not None and (not layer.sum_node or self._in_sum) else 0

        def again(found: Tensor, group: int, outputs: Tensor) -> Tensor:
            """The right-hand side for a target that only counts on the side which the activation passes."""
            t, rest = (part[group][:, outputs] if part.numel() > 1 else part[0] for part in (wanted, beside))
            clipped = _clipped(t, x[group] @ found.float() + rest, layer) - rest
            return product(scaled[group : group + 1], (clipped * scale)[None])[0] / x.shape[1]

        return unpacked_weights(layer, masked_solve(problem, again, passes), weights)

    @property
    def _in_sum(self) -> bool:
        """Whether the sum behind the layer is what counts: its other operand is known by now."""
        return bool(self.layer.sum_node) and self.layer.other in self.values

    def _wanted(self, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """The original's rows of the layer or of the sum behind it, what else the sum takes, and scales."""
        layer, name = self.layer, self.layer.node
        beside = torch.zeros(1, 1, 1)
        if self._in_sum:
            name = layer.sum_node
            other = targets(self.values[layer.other], self.teacher.samples[layer.node], not layer.taps)
            beside = _grouped(other, groups)
        return _grouped(self.teacher.rows[name][:, self.living], groups), beside, self.teacher.scales[name]


def _grouped(rows: Tensor, groups: int) -> Tensor:
    """[rows, channels] as [groups, rows, channels of a group]."""
    return rows.reshape(len(rows), groups, -1).transpose(0, 1)


def _clipped(wanted: Tensor, predicted: Tensor, layer: SolvableLayer) -> Tensor:
    """Where the activation cuts the original off, any prediction beyond its knee is as good."""
    out = wanted
    if layer.low is not None:
        out = torch.where(wanted > layer.low, out, predicted.clamp(max=layer.low))
    if layer.high is not None:
        out = torch.where(wanted < layer.high, out, predicted.clamp(min=layer.high))
    return out


def packed_weights(layer: SolvableLayer, weights: Mapping[str, Tensor], groups: int) -> Tensor:
    """Weight and bias as [groups, columns, outputs of a group]."""
    rows = as_matrix(weights[layer.weight]).reshape(groups, len(weights[layer.weight]) // groups, -1)
    if layer.bias:
        rows = torch.cat([rows, weights[layer.bias].reshape(groups, -1, 1)], 2)
    return rows.transpose(1, 2)


def unpacked_weights(
    layer: SolvableLayer, packed: Tensor, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weight and bias by name, in the shapes and the layout that they had."""
    rows, old = packed.float().transpose(1, 2), weights[layer.weight]
    weight = torch.empty_like(old).copy_(rows[..., : old[0].numel()].reshape(old.shape))
    bias = {layer.bias: rows[..., -1].reshape(-1).contiguous()} if layer.bias else {}
    return {layer.weight: weight, **bias}
