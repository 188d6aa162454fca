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
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.solvable import SolvableLayer
from joulecut.pruning.weights.choosing import LayerShape, chosen
from joulecut.pruning.weights.layers import WeightLayer
from joulecut.pruning.weights.masks import Amount, as_matrix, keep_mask
from joulecut.pruning.weights.sequence import solved_in_order
from joulecut.pruning.weights.solving import MaskedProblem, masked_solve

__all__ = ["magnitude_masks", "solved", "zeroed"]


def magnitude_masks(
    layers: Sequence[WeightLayer], pattern: WeightPattern, amount: Amount
) -> dict[str, Tensor]:
    """Which weights stay where the smallest go, bool of each weight's shape; no layer that is left whole."""
    return {
        layer.name: keep_mask(as_matrix(layer.weight.float()).square(), pattern, amount).reshape(
            layer.weight.shape
        )
        for layer in layers
        if not layer.whole
    }


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
    known = magnitude_masks(layers, pattern, amount) if amount.threshold is not None else {}
    choose = _Choice({layer.name for layer in layers if not layer.whole}, pattern, amount, known)
    found = solved_in_order(network, teach(network, inputs, settings), settings, choose)
    masks = {name: found.weights[name].contiguous() != 0 for name in sorted(choose.wanted)}
    return _unfolded(module, found, pairs, inputs), masks


@dataclass(frozen=True, slots=True)
class _Choice:
    """Chooses the mask of a layer when its turn comes."""

    wanted: set[str]
    pattern: WeightPattern
    amount: Amount
    known: Mapping[str, Tensor]

    def __call__(self, layer: SolvableLayer, shape: LayerShape, problem: MaskedProblem) -> Tensor | None:
        if layer.weight not in self.wanted:
            return None
        if layer.weight in self.known:
            return as_matrix(self.known[layer.weight])
        best = masked_solve(problem)
        return chosen(problem.gram, best, shape, self.pattern, self.amount, ridge=problem.ridge)[0]


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
    return result
