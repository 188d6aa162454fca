"""Batch norm folded into the layer before it, for the search, and unfolded again for the result.

At inference ``BN(conv(x))`` is one affine map. The search works on that map alone (a weight and a bias a
layer); the result gets its batch norms back, set so that evaluation gives exactly the searched map and so
that training starts from statistics that fit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.cut import copied
from joulecut.pruning.inplace import out_of_place
from joulecut.workload.trace import argument, operation, source

__all__ = ["FoldedNorm", "fold", "folded_pairs", "parameter", "set_parameter", "unfold"]

_FOLDABLE: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear"})


@dataclass(frozen=True, slots=True)
class FoldedNorm:
    """A layer and the batch norm that follows it, by parameter names.

    ``bias`` is the name of the folded bias; ``own_bias`` says whether the layer had one itself. ``gain`` and
    ``shift`` are "" for a batch norm without learned parameters.
    """

    layer: str
    norm: str
    weight: str
    bias: str
    own_bias: bool
    gain: str
    shift: str
    mean: str
    variance: str
    epsilon: float


def parameter(module: torch.nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its dotted name."""
    *path, leaf = name.split(".")
    value = getattr(module.get_submodule(".".join(path)), leaf)
    assert isinstance(value, Tensor)
    return value


def set_parameter(module: torch.nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer by name, keeping its kind."""
    *path, leaf = name.split(".")
    owner = module.get_submodule(".".join(path))
    old = getattr(owner, leaf, None)
    value = value.detach().clone()
    is_buffer = isinstance(old, Tensor) and not isinstance(old, torch.nn.Parameter)
    setattr(owner, leaf, value if is_buffer else torch.nn.Parameter(value))


def folded_pairs(module: fx.GraphModule) -> tuple[FoldedNorm, ...]:
    """Every batch norm in evaluation mode that is the only reader of a convolution or linear layer."""
    return tuple(
        pair for node in module.graph.nodes if node.op == "call_function" if (pair := _pair(node)) is not None
    )


def _pair(norm: fx.Node) -> FoldedNorm | None:
    if operation(norm) != "batch_norm" or bool(norm.args[5]):
        return None
    layer = source(norm)
    if layer.op != "call_function" or operation(layer) not in _FOLDABLE:
        return None
    weight = argument(layer, 1, "weight", None)
    statistics = norm.args[3:5]
    if len(layer.users) != 1 or not _is_attribute(weight) or not all(_is_attribute(s) for s in statistics):
        return None
    own = argument(layer, 2, "bias", None)
    parameters = [n for n in (weight, own, *norm.args[1:5]) if isinstance(n, fx.Node)]
    if not all(_is_attribute(n) and len(n.users) == 1 for n in parameters):
        return None
    if operation(layer) == "linear" and len(layer.meta["val"].shape) != 2:
        return None
    name = str(weight.target)
    return FoldedNorm(
        layer=layer.name,
        norm=norm.name,
        weight=name,
        bias=_name(own) or f"{name}_folded_bias",
        own_bias=own is not None,
        gain=_name(norm.args[1]),
        shift=_name(norm.args[2]),
        mean=_name(statistics[0]),
        variance=_name(statistics[1]),
        epsilon=float(argument(norm, 7, "eps", 1e-5)),
    )


def _is_attribute(node: object) -> TypeGuard[fx.Node]:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _name(node: Any) -> str:
    return str(node.target) if isinstance(node, fx.Node) else ""


def fold(module: fx.GraphModule) -> tuple[fx.GraphModule, tuple[FoldedNorm, ...]]:
    """A copy of the network with its batch norms folded into the layers before them.

    Operations that write in place are replaced by those that do not, so that values can be kept.

    Raises:
        ModelError: a part of a value is written in place, and the whole is read later.
    """
    pairs = folded_pairs(module)
    folded = copied(module)
    out_of_place(folded)
    nodes = {node.name: node for node in folded.graph.nodes}
    for pair in pairs:
        weight, bias = folded_affine(folded, pair)
        set_parameter(folded, pair.weight, weight)
        set_parameter(folded, pair.bias, bias)
        layer, norm = nodes[pair.layer], nodes[pair.norm]
        if not pair.own_bias:
            with folded.graph.inserting_before(layer):
                attribute = folded.graph.get_attr(pair.bias)
            attribute.meta["val"] = bias
            layer.args = (*layer.args[:2], attribute, *layer.args[3:])
        norm.replace_all_uses_with(layer)
        folded.graph.erase_node(norm)
    folded.recompile()
    return folded, pairs


def folded_affine(module: torch.nn.Module, pair: FoldedNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of ``BN(layer(x))``: w * gain / sqrt(var + eps) and shift + (b - mean) * that scale."""
    weight = parameter(module, pair.weight).detach()
    mean = parameter(module, pair.mean)
    scale = (parameter(module, pair.variance) + pair.epsilon).rsqrt()
    if pair.gain:
        scale = scale * parameter(module, pair.gain).detach()
    own = parameter(module, pair.bias).detach() if pair.own_bias else torch.zeros_like(mean)
    shift = parameter(module, pair.shift).detach() if pair.shift else torch.zeros_like(mean)
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), shift + (own - mean) * scale


def unfold(
    module: torch.nn.Module,
    pair: FoldedNorm,
    weight: Tensor,
    bias: Tensor,
    output_mean: Tensor,
    output_variance: Tensor,
) -> None:
    """Write a folded weight and bias back into a layer and its batch norm.

    In evaluation the pair computes ``weight * x + bias`` to rounding. The statistics are those of the layer's
    output on the calibration samples, the gain and shift restore it, so that a step of training
    normalises to what evaluation gives.

    Args:
        module: the cut network with the batch norm still in it.
        pair: which layer and which norm.
        weight: the folded weight.
        bias: the folded bias, shape [channels].
        output_mean: mean of the folded layer's output by channel.
        output_variance: its variance by channel.
    """
    set_parameter(module, pair.weight, weight)
    if pair.own_bias:
        set_parameter(module, pair.bias, torch.zeros_like(bias))
    # Without a learned gain (shift) nothing can undo the division (subtraction): keep the statistics neutral.
    variance = output_variance.clamp_min(1e-10) if pair.gain else torch.ones_like(bias) - pair.epsilon
    mean = output_mean - bias if pair.shift else -bias
    if pair.gain:
        set_parameter(module, pair.gain, (variance + pair.epsilon).sqrt())
    if pair.shift:
        set_parameter(module, pair.shift, mean + bias)
    set_parameter(module, pair.mean, mean)
    set_parameter(module, pair.variance, variance)
