"""The work of an operation as a function of the widths of the groups, by what its counting rule says.

The counts at full width are the counting rules' own (``workload.counting``); here is how they go with sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from torch import Tensor, fx

from joulecut.hw_models.widths import Amounts, ChannelCount, product
from joulecut.pruning.regions import Regions
from joulecut.pruning.value_sizes import Sizes
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import argument, operation, schema_of

__all__ = ["amounts_of", "is_plain", "operands_of"]


def operands_of(node: fx.Node) -> list[fx.Node]:
    """The tensors that an operation reads, in order; one that is given twice counts twice."""
    return [n for _, n in _roles(node)]


def amounts_of(node: fx.Node, work: LayerWork, sizes: Sizes, regions: Regions) -> Amounts:
    """The work of a node at any widths, exact where its rule is known here.

    Args:
        node: a node that costs something.
        work: its work at full width.
        sizes: sizes of values.
        regions: of the same network; tells constants apart.
    """
    data = [n for n in operands_of(node) if n not in regions.constant]
    weights, biases = _weights(node, sizes, regions)
    written = _written(node, sizes, regions)
    macs = _MACS.get(operation(node), _in_proportion)(node, sizes, regions)
    own_bias = biases.at(sizes.full) == work.bias_bytes
    bias = _scaled(work.bias_bytes, biases if own_bias else _channels_written(node, work, sizes), sizes)
    return Amounts(
        macs=_scaled(work.macs, macs, sizes),
        weight_bytes=_weight_bytes(work, weights, bias, written, sizes),
        bias_bytes=bias,
        in_bytes=_in_bytes(data, work, sizes),
        out_bytes=_scaled(work.out_bytes, written, sizes),
        in_shape=sizes.of(data[0]),
        out_shape=sizes.of(node),
    )


def is_plain(
    work: LayerWork,
    reads: ChannelCount,
    writes: ChannelCount,
    read_bytes: ChannelCount | None,
    found: Amounts,
) -> bool:
    """Whether the channels alone decide a layer's work, as ``LayerWork.resized`` counts it.

    Args:
        work: at full width.
        reads, writes: channels in and out.
        read_bytes: bytes of its operands, where they do not go with the channels in.
        found: the work at any widths.
    """
    n_in, n_out = work.in_channels, work.out_channels
    bias, weights = ChannelCount(work.bias_bytes), work.weight_bytes - work.bias_bytes
    if not n_in or not n_out:
        fixed = (found.macs, found.weight_bytes, found.in_bytes, found.out_bytes)
        return all(not count.terms for count in fixed)
    both = reads * writes if work.kind == "dense" else writes * n_in
    in_bytes = read_bytes * n_in if read_bytes is not None else reads * work.in_bytes
    return (
        found.macs * (n_in * n_out) == both * work.macs
        and found.bias_bytes * n_out == writes * bias
        and found.weight_bytes * (n_in * n_out) == both * weights + writes * bias * n_in
        and found.in_bytes * n_in == in_bytes
        and found.out_bytes * n_out == writes * work.out_bytes
    )


def _scaled(whole: int, count: ChannelCount, sizes: Sizes) -> ChannelCount:
    """An amount that goes with a count and is ``whole`` at full width; each term is a whole number."""
    full = count.at(sizes.full)
    if not full or not count.terms:
        return ChannelCount(whole)
    terms = ChannelCount(0, tuple((groups, round(m * whole / full)) for groups, m in count.terms))
    return terms + ChannelCount(whole - terms.at(sizes.full))


def _in_bytes(data: list[fx.Node], work: LayerWork, sizes: Sizes) -> ChannelCount:
    """Of all that it reads; of a padded value, whose padding is not stored, in proportion."""
    read = [sizes.elements(n) * n.meta["val"].element_size() for n in data]
    return _scaled(work.in_bytes, sum(read, ChannelCount()), sizes)


def _weights(node: fx.Node, sizes: Sizes, regions: Regions) -> tuple[ChannelCount, ChannelCount]:
    """Bytes of the weights that an operation reads, and of those of them that are bias."""
    weights, biases = ChannelCount(), ChannelCount()
    for role, n in dict.fromkeys(_roles(node)):
        if n in regions.constant and role != "hx":
            size = sizes.elements(n) * n.meta["val"].element_size()
            weights = weights + size
            if role == "bias" or (role == "params" and n.meta["val"].ndim == 1):
                biases = biases + size
    return weights, biases


def _roles(node: fx.Node) -> Iterator[tuple[str, fx.Node]]:
    """The tensors that an operation reads, with the names of its arguments."""
    schema = schema_of(node)
    names = [one.name for one in schema.arguments] if schema is not None else []
    given = [(names[i] if i < len(names) else "", value) for i, value in enumerate(node.args)]
    for role, value in [*given, *node.kwargs.items()]:
        for n in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(n, fx.Node) and isinstance(n.meta.get("val"), Tensor):
                yield role, n


def _weight_bytes(
    work: LayerWork, weights: ChannelCount, bias: ChannelCount, written: ChannelCount, sizes: Sizes
) -> ChannelCount:
    """Of all weights, with a bias that is folded in; of an embedding the rows that it looks up."""
    for found in (weights, weights + bias):
        if found.at(sizes.full) == work.weight_bytes:
            return found
    return _scaled(work.weight_bytes, written, sizes)


def _channels_written(node: fx.Node, work: LayerWork, sizes: Sizes) -> ChannelCount:
    size = sizes.of(node)
    counts = (size[1 % len(size)], size[-1])
    return next((c for c in counts if c.at(sizes.full) == work.out_channels and c.terms), ChannelCount())


def _written(node: fx.Node, sizes: Sizes, regions: Regions) -> ChannelCount:
    """Elements of what an operation writes: of several results those that are read."""
    if isinstance(node.meta["val"], Tensor):
        return sizes.elements(node)
    read = {int(user.args[1]): user for user in node.users if user in regions.live and len(user.args) > 1}  # type: ignore[arg-type]
    return sum((sizes.elements(user) for user in read.values()), ChannelCount())


_Macs = Callable[[fx.Node, Sizes, Regions], ChannelCount]


def _in_proportion(node: fx.Node, sizes: Sizes, regions: Regions) -> ChannelCount:
    """Without a formula here: the multiply-accumulates go with what is written."""
    return _written(node, sizes, regions)


def _convolution(node: fx.Node, sizes: Sizes, _: Regions) -> ChannelCount:
    """Each value written (of a transposed one, read) meets the weights of one channel."""
    meeting = argument(node, 0, "input", None) if "transpose" in operation(node) else node
    return sizes.elements(meeting) * product(sizes.of(argument(node, 1, "weight", None))[1:])


def _matmul(node: fx.Node, sizes: Sizes, _: Regions) -> ChannelCount:
    left = operands_of(node)[-2]
    return sizes.elements(node) * sizes.of(left)[-1]


def _linear(node: fx.Node, sizes: Sizes, _: Regions) -> ChannelCount:
    return sizes.elements(node) * sizes.of(argument(node, 1, "weight", None))[1]


def _attention(node: fx.Node, sizes: Sizes, _: Regions) -> ChannelCount:
    query, key, value = (sizes.of(n) for n in operands_of(node)[:3])
    return product(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(node: fx.Node, sizes: Sizes, _: Regions) -> ChannelCount:
    """Every combination of the indices of the two operands that are shared or kept."""
    inputs, _arrow, output = str(node.args[0]).replace(" ", "").partition("->")
    terms, operands = inputs.split(","), operands_of(node)
    size_of: dict[str, ChannelCount] = {}
    for term, n in zip(terms, operands, strict=False):
        size_of |= dict(zip(term, sizes.of(n), strict=False))
    used = (set(terms[0]) & set(terms[-1])) | set(output)
    return product(size_of.get(index, ChannelCount(1)) for index in sorted(used))


def _recurrent(node: fx.Node, sizes: Sizes, regions: Regions) -> ChannelCount:
    """Every matrix meets every step of every sample once."""
    steps = product(sizes.of(operands_of(node)[0])[:-1])
    matrices = [n for role, n in _roles(node) if role != "hx" and n in regions.constant]
    return steps * sum((sizes.elements(n) for n in matrices if n.meta["val"].ndim == 2), ChannelCount())


_MACS: Final[dict[str, _Macs]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("mm", "bmm", "matmul", "addmm", "baddbmm"), _matmul),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "linear": _linear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
}
