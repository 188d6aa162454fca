"""Which axis of an activation holds its channels, followed through the graph.

A convolution writes them in axis 1 and a linear layer in the last; what comes after inherits the axis, so
that a sum of [N, H, W, C] in a transformer and one of [N, C, H, W] in a ResNet both find theirs.
"""

from __future__ import annotations

from joulecut.workload.operation import Operation, Value

__all__ = ["input_axis", "result_axis"]

_LAST = frozenset({"linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu"})
_LAST_IF_UNKNOWN = frozenset({"layer_norm", "rms_norm"})


def input_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of a network's input: 1 of images [N, C, H, W] and of rows [N, C], the last of [N, T, C]."""
    return {2: 1, 3: 2}.get(len(shape), 1) if len(shape) > 1 else None


def result_axis(call: Operation, axis: int | None, read: Value) -> int | None:
    """The channel axis of what an operation writes, or None where it is not known.

    Args:
        call: the operation.
        axis: the channel axis of ``read``.
        read: the (largest) activation that it reads.
    """
    written = call.results[0]
    dims = len(written.shape)
    if call.op.startswith("conv"):
        return dims - len(call.operand("weight").value.shape) + 1
    if call.op in _LAST or (call.op in ("matmul", "mm", "addmm") and call.operands[-1].constant):
        return dims - 1
    if axis is None and call.op in _LAST_IF_UNKNOWN:
        return dims - 1
    if axis is None or call.op in ("bmm", "matmul", "baddbmm", "einsum", "scaled_dot_product_attention"):
        return None
    order = call.settings.get("order")
    if order is not None:
        return tuple(order).index(axis)
    if dims == len(read.shape) and (call.op not in ("view", "reshape") or written.shape == read.shape):
        return axis
    channels = read.shape[axis]
    candidates = [i for i in (axis, dims - 1) if 0 < i < dims and written.shape[i] == channels]
    return candidates[0] if candidates else None
