"""What a network without some channels must compute, worked out on the original graph without any cutting.

Every value keeps its size. Whatever mixes positions (convolutions, products, sums) reads zeros from the
removed ones; whatever would count them (means, norms, softmax) looks at the others only. From the engine it
takes which positions of a value belong to removed channels, and nothing of how it cuts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling import Coupling
from joulecut.workload.trace import argument, operation
from perf import zoo_masked as masked

__all__ = ["Reference", "Unjudged"]

CONTRACTIONS = frozenset(
    ["linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "mv", "dot", "einsum", "bilinear"]
    + [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]
    + ["conv_transpose2d", "convolution", "_convolution"]
)
_ALONE = """
    abs alias alpha_dropout arctan as_strided assert_tensor_metadata bernoulli cat
    channel_shuffle chunk clone col2im concat concatenate constant_pad_nd contiguous copy detach
    diagonal divide dropout embedding empty_like expand expand_as feature_dropout fill flatten flip
    floor_divide full_like gather gelu getitem glu hardsigmoid hardswish hardtanh hstack im2col index
    index_copy index_put index_select lift_fresh_copy log_sigmoid masked_fill mish movedim multiply
    narrow native_batch_norm_legit_no_training native_dropout new_empty new_full new_ones new_zeros
    numpy_T ones_like pad permute pixel_shuffle pixel_unshuffle prelu relu6 repeat repeat_interleave
    reshape reshape_as roll rrelu rsub scatter select select_scatter size slice slice_scatter split
    split_with_sizes squeeze stack subtract swapaxes sym_size t threshold tile to to_copy transpose tril
    triu true_divide type_as unbind unflatten unfold unsafe_chunk unsafe_split unsafe_view unsqueeze
    view view_as vstack where zero zeros_like
"""
ALONE = frozenset(_ALONE.split())
"""Operations, beside those tagged as pointwise, in which a living position reads living ones only."""
NESTED = ("einsum", "lstm", "gru")
"""Operations that take some of their tensors in lists."""
SPATIAL = (
    "pool1d",
    "pool2d",
    "pool3d",
    "upsample",
    "pad1d",
    "pad2d",
    "pad3d",
    "instance_norm",
    "grid_sampler",
)
"""Parts of the names of operations over the trailing dimensions, which must not hold removed positions."""


class Unjudged(Exception):
    """The reference does not know an operation that reads removed positions."""


class Reference(fx.Interpreter):
    """Runs the original graph as if the removed channels were not there.

    Args:
        coupling: the labelled network.
        kept: the channels that stay, by group.

    Attributes:
        counted: operations that would have counted removed positions: their families must be marked inexact.
    """

    def __init__(self, coupling: Coupling, kept: dict[str, list[int]]) -> None:
        super().__init__(coupling.module)
        self.counted: set[str] = set()
        self._labels = coupling.cutter.labels
        self._alive = coupling.alive(kept)
        self._parameters = coupling.indices(kept)
        self._node: fx.Node

    def run_node(self, n: fx.Node) -> Any:
        self._node = n
        return super().run_node(n)

    def mask(self, node: Any, shape: tuple[int, ...]) -> Tensor | None:
        """Living positions of a value, of its shape; None where all live."""
        if not isinstance(node, fx.Node):
            return None
        alive = torch.ones((1,) * len(shape), dtype=torch.bool)
        if node.op == "get_attr":
            for dim, kept in self._parameters.get(str(node.target), {}).items():
                line = torch.zeros(shape[dim], dtype=torch.bool)
                line[torch.tensor(kept, dtype=torch.long)] = True
                alive = alive & line.reshape([-1 if d == dim else 1 for d in range(len(shape))])
        for label in self._labels.get(node.name, ()):
            if isinstance(label, Tensor):
                alive = alive & self._alive[label]
        return None if bool(alive.all()) else alive.expand(shape)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        node = self._node
        name = operation(node)
        given = [(a, v) for a, v in zip(node.args, args, strict=True) if isinstance(v, Tensor)]
        if name in NESTED or any(self.mask(a, tuple(v.shape)) is not None for a, v in given):
            rule = RULES.get(name) or _fallback(node, name)
            if rule is not None:
                return rule(self, node, args, kwargs)
        return super().call_function(target, args, kwargs)

    def silenced(self, node: Any, value: Any) -> Any:
        """A value with zeros at the removed positions; what is no tensor as it is."""
        if isinstance(value, (list, tuple)):
            return [self.silenced(n, v) for n, v in zip(node, value, strict=True)]
        alive = self.mask(node, tuple(value.shape)) if isinstance(value, Tensor) else None
        return value if alive is None else torch.where(alive, value, 0)

    def silenced_columns(self, node: fx.Node, weight: Tensor) -> Tensor:
        """A weight with zeros in the columns that read removed channels."""
        kept = self._parameters.get(str(node.target), {}).get(1)
        if kept is None:
            return weight
        silent = torch.zeros_like(weight)
        silent[:, kept] = weight[:, kept]
        return silent


Rule = Callable[[Reference, fx.Node, tuple[Any, ...], dict[str, Any]], Any]


def _fallback(node: fx.Node, name: str) -> Rule | None:
    """None: run the operation as it is."""
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    if pointwise or name.strip("_") in ALONE:
        return None
    if any(part in name for part in SPATIAL):
        return _spatial
    raise Unjudged(f"{name} reads removed positions")


def _plain(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _contraction(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _plain(node, tuple(ref.silenced(n, v) for n, v in zip(node.args, args, strict=True)), kwargs)


def _spatial(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    alive = ref.mask(node.args[0], tuple(args[0].shape))
    if alive is not None and masked.partly_dead(alive, range(2, alive.ndim)):
        raise Unjudged(f"{operation(node)} runs over removed positions")
    return _plain(node, args, kwargs)


def _dims(node: fx.Node, ndim: int) -> list[int]:
    dims = argument(node, 1, "dim", None)
    chosen = [dims] if isinstance(dims, int) else list(dims or ())
    return [d % ndim for d in chosen] or list(range(ndim))


def _reduction(fill: float) -> Rule:
    """A reduction that ``fill`` at the removed positions does not change."""

    def run(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        alive = ref.mask(node.args[0], tuple(args[0].shape))
        if alive is None:
            return _plain(node, args, kwargs)
        if not math.isinf(fill):
            return _plain(node, (torch.where(alive, args[0], fill), *args[1:]), kwargs)
        dims = _dims(node, alive.ndim)
        if masked.partly_dead(alive, dims):
            ref.counted.add(operation(node))
        some = alive
        for d in dims:
            some = some.any(d, keepdim=True)
        value = torch.where(alive | ~some, args[0], fill)
        return _plain(node, (value, *args[1:]), kwargs)

    return run


def _statistic(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Mean, variance and standard deviation."""
    x, name = args[0], operation(node)
    alive = ref.mask(node.args[0], tuple(x.shape))
    dims = _dims(node, x.ndim)
    if alive is None or not masked.partly_dead(alive, dims):
        return _plain(node, args, kwargs)
    ref.counted.add(name)
    unbiased = args[2] if len(args) > 2 and isinstance(args[2], bool) else kwargs.get("unbiased", True)
    correction = kwargs.get("correction", 1 if unbiased else 0)
    middle = masked.mean(x, alive, dims)
    spread = masked.variance(x, alive, dims, 1 if correction is None else correction)
    keep = tuple(node.meta["val"][0].shape if "_" in name else node.meta["val"].shape)
    found = {
        "mean": (middle,),
        "var": (spread,),
        "std": (spread.sqrt(),),
        "var_mean": (spread, middle),
        "std_mean": (spread.sqrt(), middle),
    }[name]
    shaped = tuple(value if len(keep) == x.ndim else value.squeeze(dims) for value in found)
    return shaped if "_" in name else shaped[0]


def _softmax(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, dim = args[0], int(argument(node, 1, "dim", -1)) % args[0].ndim
    alive = ref.mask(node.args[0], tuple(x.shape))
    if alive is None or not masked.partly_dead(alive, [dim]):
        return _plain(node, args, kwargs)
    ref.counted.add(operation(node))
    shares = masked.softmax(x, alive, dim)
    return shares.log() if operation(node) == "log_softmax" else shares


def _norm(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, name = args[0], operation(node)
    alive = ref.mask(node.args[0], tuple(x.shape))
    weight, bias = (args[i] if len(args) > i else None for i in (2, 3))
    groups = int(args[1]) if name == "group_norm" else 0
    over = [2] if groups else list(range(x.ndim - len(args[1]), x.ndim))
    seen = None if alive is None else alive.reshape(len(x), groups, -1) if groups else alive
    if alive is None or seen is None or not masked.partly_dead(seen, over):
        return _plain(node, args, kwargs)
    ref.counted.add(name)
    if groups:
        return masked.group_norm(x, alive, groups, weight, bias, argument(node, 4, "eps", 1e-5))
    if name == "layer_norm":
        return masked.layer_norm(x, alive, over, weight, bias, argument(node, 4, "eps", 1e-5))
    eps = argument(node, 3, "eps", None)
    return masked.rms_norm(x, alive, over, weight, torch.finfo(x.dtype).eps if eps is None else eps)


def _batch_norm(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In training (so are weights standardised) the statistics run over everything but dimension 1."""
    x, weight, bias = args[0], *args[1:3]
    alive = ref.mask(node.args[0], tuple(x.shape))
    over = [d for d in range(x.ndim) if d != 1]
    if alive is None or not args[5] or not masked.partly_dead(alive, over):
        return _plain(node, args, kwargs)
    ref.counted.add(operation(node))
    shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
    weight, bias = (None if p is None else p.reshape(shape) for p in (weight, bias))
    return masked.layer_norm(x, alive, over, weight, bias, args[7])


def _attention(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    q, k, v = (ref.silenced(n, x) for n, x in zip(node.args[:3], args[:3], strict=True))
    alive = ref.mask(node.args[1], tuple(k.shape))
    keys = torch.ones(k.shape[:-1], dtype=torch.bool) if alive is None else alive.any(-1)
    if not masked.partly_dead(keys, [-1]):
        return _plain(node, (q, k, v, *args[3:]), kwargs)
    if argument(node, 5, "is_causal", False) or kwargs.get("enable_gqa", False):
        raise Unjudged("attention with removed keys that is causal or shares them")
    ref.counted.add(operation(node))
    bias = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    scale = kwargs.get("scale")
    return masked.attention(q, k, v, bias, keys, q.shape[-1] ** -0.5 if scale is None else scale)


def _recurrent(ref: Reference, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """LSTM and GRU: removed channels of the input are silent, and so are columns that read removed units."""
    named: Any = node.args[2]
    weights = [ref.silenced_columns(n, w) for n, w in zip(named, args[2], strict=True)]
    return _plain(node, (ref.silenced(node.args[0], args[0]), args[1], weights, *args[3:]), kwargs)


RULES: dict[str, Rule] = {
    **dict.fromkeys(CONTRACTIONS, _contraction),
    **dict.fromkeys(("sum", "cumsum", "linalg_vector_norm", "norm"), _reduction(0.0)),
    **dict.fromkeys(("amax", "max", "logsumexp"), _reduction(-math.inf)),
    **dict.fromkeys(("amin", "min"), _reduction(math.inf)),
    **dict.fromkeys(("mean", "var", "std", "var_mean", "std_mean"), _statistic),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax"), _softmax),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm"), _norm),
    **dict.fromkeys(("lstm", "gru"), _recurrent),
    "batch_norm": _batch_norm,
    "scaled_dot_product_attention": _attention,
}
