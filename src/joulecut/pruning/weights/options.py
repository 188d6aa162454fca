"""Weights as options of a search: for each layer the next zeros that the device turns into joules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from joulecut.hw_models.sparsity import WeightPattern, Zeros, sparse_price
from joulecut.pruning.candidates.option import Option, View
from joulecut.pruning.leastsquares import Gram
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.refit import Teacher, refit
from joulecut.pruning.settings import RefitSettings, SearchSettings
from joulecut.pruning.solvable import SolvableLayer
from joulecut.pruning.weights.aligning import grouped_pattern, realigned
from joulecut.pruning.weights.choosing import LayerShape, chosen
from joulecut.pruning.weights.masks import Amount, as_matrix, keep_mask, zero_share
from joulecut.pruning.weights.prices import declared_patterns, saved_j, weight_price
from joulecut.pruning.weights.sequence import (
    layer_shape,
    packed_weights,
    solved_in_order,
    unpacked_weights,
    zero_masks,
)
from joulecut.pruning.weights.solving import MaskedProblem, masked_solve
from joulecut.pruning.weights.statistics import input_moments, output_importance
from joulecut.workload.layer import LayerWork

__all__ = ["WeightOptions", "refit_with_zeros", "repriced"]

_SHARES: Final = (0.5, 0.65, 0.8, 0.9)
"""Shares of zeros that a layer takes one after another; below a half, positions cost what zeros save."""
_KINDS: Final = {"nm": ("nm",), "block": ("block",), "unstructured": ("gate", "compressed")}
"""The entries of a device file that a pattern is meant for."""


def refit_with_zeros(
    network: Network, teacher: Teacher, settings: RefitSettings, patterns: Sequence[WeightPattern] = ()
) -> Network:
    """The sequential refit, under masks where weights are zero: what a search with weights refits by.

    Args:
        network: at any widths.
        teacher: the original on the calibration inputs.
        settings: of the refit.
        patterns: N:M patterns; a layer that has zeros of one gets its mask chosen anew, so that groups which
            have lost inputs are filled up again. Other zeros stay where they are.
    """
    masks = zero_masks(network, teacher.layers)
    if not masks:
        return refit(network, teacher, settings)
    grouped = {name: grouped_pattern(network.weights[name], patterns) for name in masks}

    def choose(layer: SolvableLayer, shape: LayerShape, problem: MaskedProblem) -> Tensor | None:
        pattern, keep = grouped.get(layer.weight), masks.get(layer.weight)
        if pattern is None:
            return None if keep is None else as_matrix(keep)
        best = masked_solve(problem)
        return chosen(problem.gram, best, shape, pattern, Amount(), ridge=problem.ridge)[0]

    return solved_in_order(network, teacher, settings, choose)


def repriced(options: Iterable[Option], view: View) -> list[Option]:
    """Options with what they really save where the network has zeros that save joules.

    A layer that is priced by its zeros has less to lose than a dense one, and more where it becomes too small
    for them. Blocks keep their price, as each would take a refit to be built.
    """
    found, layers = list(options), view.teacher.layers
    spared_j = saved_j(view.network, layers, view.pricer)
    if not spared_j:
        return found
    patterns = declared_patterns(view.pricer.device)
    before_j = _total_j(view.network, view.pricer) - spared_j

    def true_j(option: Option) -> float:
        network = realigned(option.build(), view.network, layers, patterns)
        return before_j - _total_j(network, view.pricer) + saved_j(network, layers, view.pricer)

    cut = ("channels", "nodes")
    return [replace(each, saving_j=true_j(each)) if each.kind in cut else each for each in found]


def _total_j(network: Network, pricer: Pricer) -> float:
    return pricer.total_j(network.widths, network.gone)


@dataclass(frozen=True, slots=True, eq=False)
class WeightOptions:
    """One option for each layer and pattern of zeros that the device prices below what the layer takes now.

    On a device whose file declares nothing there is none. The cost is the loss's second-order rise, as that
    of channels: half the squared error at each output, times the covariance of the loss gradient there.

    Attributes:
        settings: of the search.
        layers: names of the weights that may be pruned; all where there is none.
        most: options whose true loss is measured at one step.
    """

    settings: SearchSettings
    layers: frozenset[str] = frozenset()
    most: int = 4

    def __call__(self, view: View) -> Iterator[Option]:
        """The options now."""
        plans = [plan for plan in self._plans(view) if plan.saving_j > 0]
        if not plans:
            return
        layers = {plan.layer.node: plan.layer for plan in plans}
        samples, few = view.teacher.inputs, self.settings.gradient_samples
        moments = input_moments(view.network, samples, layers, self.settings.gram_rows, view.values)
        seed = self.settings.seed + view.count
        importance = output_importance(view.network, samples[:few], layers, seed)
        for plan in plans:
            node = plan.layer.node
            yield plan.option(view.network, moments[node], importance.get(node), self.settings.ridge)

    def _plans(self, view: View) -> Iterator[_Plan]:
        """What could go from each layer, with what it would save."""
        device, network = view.pricer.device, view.network
        patterns = declared_patterns(device)
        widths = network.widths
        for priced in view.pricer.layers if patterns else ():
            layer = view.teacher.layers.get(priced.node)
            if layer is None or layer.node in network.gone or not self._wants(layer):
                continue
            work, weight = priced.at(widths), network.weights[layer.weight]
            _, now = weight_price(device, work, weight)
            for pattern in patterns:
                amount = _next(weight, pattern)
                if amount is not None:
                    share = _share(weight, pattern, amount)
                    price = sparse_price(device, work, Zeros(pattern, share))
                    if price.support is not None and price.support.kind in _KINDS[pattern.kind]:
                        yield _Plan(layer, work, pattern, amount, price.saved_j - now.saved_j)

    def _wants(self, layer: SolvableLayer) -> bool:
        return not self.layers or layer.weight in self.layers


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Zeros that a layer could take."""

    layer: SolvableLayer
    work: LayerWork
    pattern: WeightPattern
    amount: Amount
    saving_j: float

    def option(self, network: Network, moments: Gram, importance: Tensor | None, ridge: float) -> Option:
        """The option, its mask chosen."""
        layer = self.layer
        weights = packed_weights(layer, network.weights, moments.xx.shape[0])
        shape = layer_shape(network.weights[layer.weight], moments.xx.shape[0])
        keep, rise = chosen(
            moments, weights, shape, self.pattern, self.amount, ridge=ridge, importance=importance
        )
        build = partial(_built, network, layer, shape, moments, keep, ridge)
        name = f"{self.work.path} ({self.pattern})"
        return Option("weights", name, (), self.saving_j, 0.5 * rise, build, frozenset([layer.node]))


def _built(
    network: Network, layer: SolvableLayer, shape: LayerShape, moments: Gram, keep: Tensor, ridge: float
) -> Network:
    """The network with the mask, the layer's other weights re-solved for what it gives now."""
    weights = packed_weights(layer, network.weights, shape.groups)
    mask = shape.as_columns(keep, moments.constant)
    problem = MaskedProblem(moments, moments.xx @ weights.double(), weights, mask, ridge)
    return network.with_weights(unpacked_weights(layer, masked_solve(problem), network.weights))


def _next(weight: Tensor, pattern: WeightPattern) -> Amount | None:
    """How many zeros of a pattern a weight takes next; None where it has them all."""
    now = zero_share(as_matrix(weight) != 0, pattern)
    if pattern.kind == "nm":
        return Amount() if now is None else None
    share = next((share for share in _SHARES if share > (now or 0.0) + 0.01), None)
    return None if share is None else Amount(share=share)


def _share(weight: Tensor, pattern: WeightPattern, amount: Amount) -> float:
    """The share of zeros that a mask of a pattern will have, which does not depend on the scores."""
    keep = keep_mask(torch.zeros_like(as_matrix(weight)), pattern, amount)
    return 1 - float(keep.float().mean())
