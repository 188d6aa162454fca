"""Weights of a captured network set to zero: by magnitude alone, or with calibration data and re-solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from joulecut.hw_models.sparsity import WeightPattern
from joulecut.pruning.coupling.cut import copied
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import FoldedNorm, fold, parameter, set_parameter, unfold
from joulecut.pruning.network import Network
from joulecut.pruning.recover import output_moments
from joulecut.pruning.refit import teach
from joulecut.pruning.scales import even_scales
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.solvable import SolvableLayer
from joulecut.pruning.weights.choosing import LayerShape, chosen, weight_scores
from joulecut.pruning.weights.layers import WeightLayer
from joulecut.pruning.weights.masks import Amount, as_matrix, keep_mask, shared_counts
from joulecut.pruning.weights.sequence import Chooser, layer_shape, packed_weights, solved_in_order
from joulecut.pruning.weights.solving import MaskedProblem, masked_solve
from joulecut.pruning.weights.statistics import input_moments, output_importance

__all__ = ["magnitude_masks", "solved", "zeroed"]

_GRADIENT_SAMPLES = 1024
_ROUNDS = 2
"""How often the layers' shares are set anew by what they cost at the shares before."""


def magnitude_masks(
    layers: Sequence[WeightLayer], pattern: WeightPattern, amount: Amount
) -> dict[str, Tensor]:
    """Which weights stay where the smallest of all layers go, bool of each weight's shape.

    Layers that are left whole have no mask.
    """
    squares = {layer.name: as_matrix(layer.weight.float()).square() for layer in layers if not layer.whole}
    amounts = _amounts(squares, pattern, amount)
    shapes = {layer.name: layer.weight.shape for layer in layers}
    return {
        name: keep_mask(squares[name], pattern, each).reshape(shapes[name]) for name, each in amounts.items()
    }


def _amounts(scores: Mapping[str, Tensor], pattern: WeightPattern, amount: Amount) -> dict[str, Amount]:
    """The amount of each layer: a share or a count is one of all their weights together."""
    if amount.share is None and amount.count is None:
        return dict.fromkeys(scores, amount)
    return {name: Amount(count=count) for name, count in shared_counts(scores, pattern, amount).items()}


def zeroed(module: fx.GraphModule, masks: Mapping[str, Tensor]) -> fx.GraphModule:
    """A copy of the network with its weights zero outside of the masks."""
    result = copied(module)
    for name, keep in masks.items():
        set_parameter(result, name, parameter(result, name) * keep)
    return result


def solved(
    module: fx.GraphModule,
    layers: Sequence[WeightLayer],
    pattern: WeightPattern,
    amount: Amount,
    inputs: Tensor,
    settings: RefitSettings,
) -> tuple[fx.GraphModule, dict[str, Tensor]]:
    """A copy of the network with zeros chosen by least squares and all its weights re-solved around them.

    A threshold is one of magnitudes, so it decides by the weights as they are.

    Args:
        module: the network, its batch norms in evaluation mode.
        layers: those that may lose weights, and those that are left whole.
        pattern: where zeros may stand.
        amount: how many go.
        inputs: calibration samples.
        settings: of the solves.

    Returns:
        The network and its masks, by name of the weight.
    """
    folded, pairs = fold(module)
    network = Network.whole(Coupling(folded))
    teacher = teach(network, inputs, settings)
    wanted = {layer.name for layer in layers if not layer.whole}
    chosen_by = {node: layer for node, layer in teacher.layers.items() if layer.weight in wanted}
    if amount.threshold is not None:
        choose: Chooser = _Known(magnitude_masks(layers, pattern, amount))
    else:
        choose = _choice(network, inputs, chosen_by, pattern, amount, settings)
    found = solved_in_order(network, teacher, settings, choose)
    masks = {name: found.weights[name].contiguous() != 0 for name in sorted(wanted)}
    return _unfolded(module, found, pairs, inputs), masks


@dataclass(frozen=True, slots=True)
class _Known:
    """Masks that are known before."""

    masks: Mapping[str, Tensor]

    def __call__(self, layer: SolvableLayer, _shape: LayerShape, _problem: MaskedProblem) -> Tensor | None:
        keep = self.masks.get(layer.weight)
        return None if keep is None else as_matrix(keep)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Chooses the mask of a layer when its turn comes, so many zeros as it was given before."""

    pattern: WeightPattern
    amounts: Mapping[str, Amount]
    importance: Mapping[str, Tensor]

    def __call__(self, layer: SolvableLayer, shape: LayerShape, problem: MaskedProblem) -> Tensor | None:
        amount = self.amounts.get(layer.weight)
        if amount is None or amount.count == 0:
            return None
        best = masked_solve(problem)
        importance = self.importance.get(layer.node)
        ridge = problem.ridge
        return chosen(problem.gram, best, shape, self.pattern, amount, ridge=ridge, importance=importance)[0]


def _choice(
    network: Network,
    inputs: Tensor,
    layers: Mapping[str, SolvableLayer],
    pattern: WeightPattern,
    amount: Amount,
    settings: RefitSettings,
) -> _Choice:
    """How many zeros each layer takes, by what they cost in the whole network."""
    importance = output_importance(network, inputs[:_GRADIENT_SAMPLES], layers, 0)
    if pattern.kind == "nm":
        return _Choice(pattern, {layer.weight: amount for layer in layers.values()}, importance)
    moments = input_moments(network, inputs[:_GRADIENT_SAMPLES], layers, settings.rows)
    amounts = {layer.weight: amount for layer in layers.values()}
    for _ in range(_ROUNDS):
        scores = {}
        for node, layer in layers.items():
            groups = moments[node].xx.shape[0]
            scores[layer.weight] = weight_scores(
                moments[node],
                packed_weights(layer, network.weights, groups),
                layer_shape(network.weights[layer.weight], groups),
                pattern,
                amounts[layer.weight],
                ridge=settings.ridge,
                importance=importance.get(node),
            )
        amounts = _amounts(scores, pattern, amount)
    return _Choice(pattern, amounts, importance)


def _unfolded(
    module: fx.GraphModule, network: Network, pairs: tuple[FoldedNorm, ...], inputs: Tensor
) -> fx.GraphModule:
    """The solved weights in a copy of the network, its batch norms restored."""
    result = copied(module)
    moments = output_moments(network, inputs, frozenset(pair.layer for pair in pairs))
    folded = {name for pair in pairs for name in (pair.weight, pair.bias)}
    with torch.no_grad():
        for name, _ in module.named_parameters():
            if name not in folded and name in network.weights:
                set_parameter(result, name, network.weights[name].contiguous())
    for pair in pairs:
        weight, bias = (network.weights[name].contiguous() for name in (pair.weight, pair.bias))
        unfold(result, pair, weight, bias, *moments[pair.layer])
    even_scales(result, pairs)
    return result
