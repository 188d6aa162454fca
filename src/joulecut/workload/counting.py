"""The registry of counting rules: from an operation to its MACs and kind.

MACs are multiply-accumulate operations, half of what torch's FlopCounterMode calls flops. The formulas count
every one of the direct algorithm (no Winograd or FFT, no skipping of padding or masked attention), as the
MLPerf Tiny figures and FlopCounterMode do. Attention and recurrent layers, which FlopCounterMode misses on
the CPU, are counted from their definitions (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1;
torch.nn.LSTM and torch.nn.GRU). Operations without multiply-accumulates (sums, norms, pools) count 0 MACs
and cost their bytes.
"""

from __future__ import annotations

import math
from typing import Final

from joulecut.errors import UsageError
from joulecut.workload.operation import Count, NotCounted, Operation, Rule

__all__ = ["ARITHMETIC", "FREE", "IDENTITY", "PADS", "POINTWISE", "register", "rule_for"]

IDENTITY: Final = frozenset({
    "identity", "alias", "detach", "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "lift_fresh_copy", "lift_fresh", "native_dropout", "dequantize",
})  # fmt: skip
"""Hands on the very values that it reads (dropout at inference; ``dequantize`` where it is read)."""

FREE: Final = IDENTITY | {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "t",
    "numpy_T", "movedim", "moveaxis", "swapaxes", "swapdims", "expand", "expand_as", "view_as",
    "reshape_as", "_unsafe_view", "as_strided", "select", "slice", "split", "split_with_sizes", "chunk",
    "unbind", "narrow", "unsafe_chunk", "unsafe_split", "tensor_split", "getitem", "diagonal", "unfold",
    "broadcast_to", "adjoint",
}  # fmt: skip
"""Views: another way to look at the same bytes."""

POINTWISE: Final = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "selu", "celu", "silu", "gelu", "mish",
    "sigmoid", "hardsigmoid", "hardswish", "tanh", "softplus", "softsign", "logsigmoid", "log_sigmoid",
    "threshold", "hardshrink", "softshrink", "clamp", "clamp_min", "clamp_max", "erf", "exp", "log",
    "log1p", "expm1", "sqrt", "rsqrt", "abs", "neg", "reciprocal", "square", "sin", "cos", "sign", "floor",
    "ceil", "round", "trunc", "logical_not", "bitwise_not", "to", "_to_copy", "type_as", "quantize",
    "isnan", "nan_to_num",
})  # fmt: skip
"""Functions of one value at a time: computed as the layer before writes its result."""

ARITHMETIC: Final = frozenset({
    "add", "sub", "rsub", "mul", "div", "pow", "maximum", "minimum", "where", "eq", "ne", "gt", "ge", "lt",
    "le", "logical_and", "logical_or", "bitwise_and", "bitwise_or", "masked_fill", "addcmul", "addcdiv",
    "lerp", "fmod", "remainder", "atan2",
})  # fmt: skip
"""Value by value over several tensors; with scalars only, or over one tensor, they are ``POINTWISE``."""

PADS: Final = frozenset({"pad", "constant_pad_nd"})

_ELEMENTWISE: Final = ARITHMETIC | {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "softmax",
    "log_softmax", "mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod", "argmax",
    "argmin", "norm", "linalg_vector_norm", "logsumexp", "cumsum", "any", "all", "glu", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "dynamic_quantize",
}  # fmt: skip
_MOVEMENT: Final = PADS | {
    "cat", "concat", "stack", "hstack", "vstack", "contiguous", "clone", "copy", "repeat", "tile", "roll",
    "flip", "index", "index_select", "gather", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "index_put", "scatter", "slice_scatter", "select_scatter", "replication_pad1d", "replication_pad2d",
    "reflection_pad1d", "reflection_pad2d", "tril", "triu", "im2col", "col2im", "repeat_interleave",
}  # fmt: skip


def _convolution(call: Operation) -> Count:
    """Each value written meets in / groups x kernel weights; of a transposed one, each value read."""
    weight = call.operand("weight")
    shape, groups = weight.value.shape, int(call.settings.get("groups", 1))
    transposed = "transpose" in call.op
    in_channels, out_channels = shape[1] * groups, shape[0]
    meeting = call.results[0]
    if transposed:
        in_channels, out_channels = shape[0], shape[1] * groups
        meeting = call.operand("input").value
    return Count(
        kind="depthwise" if groups == in_channels > 1 else "dense",
        macs=meeting.numel * math.prod(shape[1:]),
        in_channels=in_channels,
        out_channels=out_channels,
        groups=groups,
        bias=tuple(o for o in call.weights if o.role == "bias"),
    )


def _linear(call: Operation) -> Count:
    features_out, features_in = call.operand("weight").value.shape
    bias = tuple(o for o in call.weights if o.role == "bias")
    return Count("dense", call.results[0].numel * features_in, features_in, features_out, bias=bias)


def _matmul(call: Operation) -> Count:
    """Each value written is a dot product over the last axis of the left operand."""
    *first, left, right = call.operands
    bias = tuple(o for o in first if o.constant)
    macs = call.results[0].numel * left.value.shape[-1]
    if right.constant and len(right.value.shape) == 2:
        return Count("dense", macs, *right.value.shape, bias=bias)
    return Count("dense", macs, bias=bias)


def _einsum(call: Operation) -> Count:
    """Two operands: every combination of the indices that are shared or kept."""
    equation = str(call.settings.get("equation", "")).replace(" ", "")
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or "." in equation or "->" not in equation:
        raise NotCounted(f"einsum {equation!r} is not of two tensors with named indices")
    sizes = {
        index: size
        for term, operand in zip(terms, call.operands, strict=True)
        for index, size in zip(term, operand.value.shape, strict=True)
    }
    used = (set(terms[0]) & set(terms[1])) | set(output)
    return Count("dense", math.prod(sizes[index] for index in used))


def _attention(call: Operation) -> Count:
    """Queries times keys, and scores times values: B H L S E + B H L S Ev; the softmax has no MACs.

    Where all heads lie in the last axis, ``sharing`` query heads read each value head.
    """
    query, key, value = (call.operand(role).value.shape for role in ("query", "key", "value"))
    pairs = math.prod(query[:-1]) * key[-2]
    return Count("dense", pairs * (query[-1] + value[-1] * int(call.settings.get("sharing", 1))))


def _recurrent(call: Operation) -> Count:
    """Every matrix of every layer, direction and gate meets every step of every sample once.

    The products of gates with states are elementwise and have no MACs. Channels stay 0: weights do not grow
    with channels in times channels out.
    """
    steps = call.operand("input", "data").value
    weights = [o for o in call.operands if o.role in ("params", "w_ih", "w_hh", "w_hr", "bias")]
    matrices = [o for o in weights if len(o.value.shape) >= 2 and o.role != "bias"]
    per_step = sum(o.value.numel for o in matrices)
    bias = tuple(o for o in call.weights if o in weights and o not in matrices)
    return Count("dense", steps.numel // steps.shape[-1] * per_step, bias=bias)


def _embedding(call: Operation) -> Count:
    """Rows looked up; of the table only these are read, and each at most once."""
    table = call.operand("weight").value
    return Count("data_movement", weight_bytes=min(table.nbytes, call.results[0].nbytes))


def _elementwise(_: Operation) -> Count:
    return Count("elementwise")


def _movement(_: Operation) -> Count:
    return Count("data_movement")


_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_MOVEMENT, _movement),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "addmm", "baddbmm", "addmv"), _matmul),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _recurrent),
    "linear": _linear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "embedding": _embedding,
}
_REGISTERED: Final[dict[str, Rule]] = {}


def register(op: str, rule: Rule) -> None:
    """Count an operation of your own.

    Args:
        op: its name without namespace and overload: ``"fft_mix"`` for ``mylib::fft_mix.default``.
        rule: from ``Operation`` to ``Count``.

    Raises:
        UsageError: the operation has a rule already.

    >>> from joulecut.workload.operation import Value
    >>> register("doctest_outer", lambda call: Count("dense", macs=call.results[0].numel))
    >>> rule = rule_for("doctest_outer")
    >>> rule(Operation("x", "doctest_outer", (), (Value((4, 4), "float32"),))).macs
    16
    """
    if op in FREE or op in POINTWISE or rule_for(op) is not None:
        raise UsageError(f"the operation {op!r} has a counting rule already.", hint="Choose another name.")
    _REGISTERED[op] = rule


def rule_for(op: str) -> Rule | None:
    """The rule of an operation, or None."""
    return _RULES.get(op) or _REGISTERED.get(op)
