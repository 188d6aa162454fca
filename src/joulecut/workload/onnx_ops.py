"""ONNX operators in the vocabulary of ``counting.py``: names, roles of inputs, settings.

Source: the operator documentation of ONNX 1.17 to 1.20 (onnx.ai/onnx/operators), opsets 7 to 24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from joulecut.workload.operation import Value

__all__ = ["roles", "settings", "translate", "weight_value"]

_NAMES: Final[dict[str, str]] = {
    # views
    "Identity": "identity", "Dropout": "dropout", "Reshape": "reshape", "Flatten": "flatten",
    "Squeeze": "squeeze", "Unsqueeze": "unsqueeze", "Transpose": "permute", "Slice": "slice",
    "Split": "split", "Expand": "expand", "DequantizeLinear": "dequantize",
    # one value at a time
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Selu": "selu", "Celu": "celu",
    "Gelu": "gelu", "Mish": "mish", "Swish": "silu", "Sigmoid": "sigmoid", "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish", "Tanh": "tanh", "Softplus": "softplus", "Softsign": "softsign",
    "ThresholdedRelu": "threshold", "Shrink": "softshrink", "Clip": "clamp", "Erf": "erf", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Sin": "sin",
    "Cos": "cos", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Not": "logical_not",
    "IsNaN": "isnan", "Cast": "to", "CastLike": "to", "QuantizeLinear": "quantize",
    "DynamicQuantizeLinear": "dynamic_quantize",
    # value by value
    "Add": "add", "Sum": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Max": "maximum",
    "Min": "minimum", "Mean": "add", "Where": "where", "Equal": "eq", "Greater": "gt", "GreaterOrEqual": "ge",
    "Less": "lt", "LessOrEqual": "le", "And": "logical_and", "Or": "logical_or", "Mod": "remainder",
    # norms and reductions
    "BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm", "LRN": "local_response_norm",
    "GroupNormalization": "group_norm", "InstanceNormalization": "instance_norm",
    "RMSNormalization": "rms_norm", "Softmax": "softmax", "LogSoftmax": "log_softmax", "ReduceMean": "mean",
    "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin", "ReduceProd": "prod", "ReduceL1": "norm",
    "ReduceL2": "linalg_vector_norm", "ReduceSumSquare": "linalg_vector_norm", "ReduceLogSumExp": "logsumexp",
    "ArgMax": "argmax", "ArgMin": "argmin", "CumSum": "cumsum",
    # moves
    "Concat": "cat", "Pad": "pad", "Tile": "tile", "GatherElements": "gather", "GatherND": "index",
    "DepthToSpace": "pixel_shuffle", "SpaceToDepth": "pixel_unshuffle", "ScatterND": "index_put",
    "ScatterElements": "scatter", "Trilu": "tril",
    # multiply-accumulates
    "Gemm": "linear", "MatMul": "matmul", "MatMulInteger": "matmul", "QLinearMatMul": "matmul",
    "Einsum": "einsum", "LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh",
}  # fmt: skip
_BY_RANK: Final[dict[str, str]] = {
    "Conv": "conv", "ConvInteger": "conv", "QLinearConv": "conv", "ConvTranspose": "conv_transpose",
    "MaxPool": "max_pool", "AveragePool": "avg_pool", "GlobalAveragePool": "adaptive_avg_pool",
    "GlobalMaxPool": "adaptive_max_pool",
}  # fmt: skip
"""Names that end in the number of spatial axes."""

_RESIZE: Final[dict[tuple[str, int], str]] = {
    ("nearest", 1): "upsample_nearest1d", ("nearest", 2): "upsample_nearest2d",
    ("nearest", 3): "upsample_nearest3d", ("linear", 1): "upsample_linear1d",
    ("linear", 2): "upsample_bilinear2d", ("linear", 3): "upsample_trilinear3d",
    ("cubic", 2): "upsample_bicubic2d",
}  # fmt: skip

_RECURRENT: Final = ("input", "params", "params", "bias", "", "hx", "hx", "bias")
_ROLES: Final[dict[str, tuple[str, ...]]] = {
    "Conv": ("input", "weight", "bias"),
    "ConvTranspose": ("input", "weight", "bias"),
    "ConvInteger": ("input", "weight"),
    "QLinearConv": ("input", "", "", "weight", "", "", "", "", "bias"),
    "Gemm": ("input", "weight", "bias"),
    "MatMulInteger": ("self", "other"),
    "QLinearMatMul": ("self", "", "", "other"),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Attention": ("query", "key", "value", "attn_mask", "past_key", "past_value"),
    "BatchNormalization": ("input", "weight", "bias", "running_mean", "running_var"),
    "LayerNormalization": ("input", "weight", "bias"),
    "GroupNormalization": ("input", "weight", "bias"),
    "InstanceNormalization": ("input", "weight", "bias"),
    "RMSNormalization": ("input", "weight"),
    "Gather": ("weight", "input"),
}
"""What the inputs are, by position; "" for one that is no tensor of the layer. Other operators read either
every input as a tensor or, if they are in ``_ONE_TENSOR``, the first."""

_ONE_TENSOR: Final = frozenset({
    "Reshape", "Slice", "Pad", "Clip", "Resize", "Upsample", "Expand", "Tile", "Split", "Squeeze",
    "Unsqueeze", "QuantizeLinear", "DequantizeLinear", "Dropout", "CumSum", "TopK", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceLogSumExp", "Trilu", "CastLike",
})  # fmt: skip


def roles(op_type: str, count: int) -> tuple[str, ...]:
    """Roles of the inputs of an operator that has ``count`` of them; "" for those that are no tensors."""
    known = _ROLES.get(op_type)
    if known is None:
        known = ("input",) if op_type in _ONE_TENSOR else tuple(f"input{i}" for i in range(count))
    return known[:count] + ("",) * (count - len(known))


def translate(
    op_type: str, attributes: Mapping[str, Any], values: Sequence[Value], constants: Sequence[bool]
) -> str:
    """The name of an operator in ``counting.py``, or its own name where it has none there.

    Args:
        op_type: the ONNX operator.
        attributes: its attributes.
        values: shapes and types of the tensors that it reads.
        constants: which of them do not depend on the network's input.
    """
    rank = len(values[0].shape)
    if op_type in _BY_RANK:
        return f"{_BY_RANK[op_type]}{rank - 2}d"
    if op_type in ("Resize", "Upsample"):
        mode = attributes.get("mode", b"nearest").decode()
        return _RESIZE.get((mode, rank - 2), op_type)
    if op_type == "Gather":
        if constants[0]:
            return "embedding"
        return "select" if constants[1] and not values[1].shape else "index_select"
    if op_type in ("MatMul", "MatMulInteger", "QLinearMatMul") and constants[1] and len(values[1].shape) == 2:
        return "linear"
    if op_type == "Attention" and len(values) <= 4:  # more of them are keys and values of earlier tokens
        return "scaled_dot_product_attention"
    return _NAMES.get(op_type, op_type)


def weight_value(op_type: str, attributes: Mapping[str, Any], op: str, value: Value) -> Value:
    """A linear layer's weight as torch stores it, [out, in]; other weights as they are."""
    if op != "linear" or (op_type == "Gemm" and attributes.get("transB", 0)):
        return value
    return Value(value.shape[::-1], value.dtype)


def settings(op_type: str, attributes: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """What the rules ask of an operator's attributes."""
    if op_type in ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"):
        return {"groups": attributes.get("group", 1)}
    if op_type == "Transpose":
        return {"order": tuple(attributes.get("perm", range(rank - 1, -1, -1)))}
    if op_type == "Einsum":
        return {"equation": attributes["equation"].decode()}
    if op_type == "Attention" and attributes.get("kv_num_heads"):
        return {"sharing": attributes.get("q_num_heads", 1) // attributes["kv_num_heads"]}
    if op_type == "Pad":
        return {"mode": attributes.get("mode", b"constant").decode()}
    return {}
