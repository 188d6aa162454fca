"""What layers with weights and products of values do to channel identities."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.join import Operand, Spelling, join, operand, trailing
from joulecut.pruning.coupling.labels import Labels, along, channel_label, varies
from joulecut.pruning.coupling.propagate import Rule, Use, Walk, shape_of
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES"]


def _letters(node: fx.Node, last: int = 0, prefix: str = "d") -> tuple[Hashable, ...]:
    """Letters for the dimensions of a value before its last ones, counted from the right."""
    count = len(shape_of(node)) - last
    return tuple(f"{prefix}{count - d}" for d in range(count))


def _with_bias(
    walk: Walk, node: fx.Node, bias: Any, labels: Labels, dim: int, role: str = "writer"
) -> Labels:
    """A bias is coupled to the channels along ``dim``."""
    if not isinstance(bias, fx.Node):
        return labels
    spelling = tuple(range(len(shape_of(node))))
    result = Operand(None, spelling, shape_of(node), labels)
    bias_letters = (spelling[dim],) if len(shape_of(bias)) == 1 else trailing(bias, spelling)
    return join(walk, node, [result, operand(walk, bias, bias_letters)], spelling, role)


def linear(walk: Walk, node: fx.Node) -> Labels:
    """Sums over the last dimension: columns of the weight read, its rows write."""
    beside = _letters(source(node), 1)
    weight = argument(node, 1, "weight", None)
    read = [operand(walk, source(node), (*beside, "in")), operand(walk, weight, ("out", "in"))]
    found = join(walk, node, read, (*beside, "out"))
    return _with_bias(walk, node, argument(node, 2, "bias", None), found, -1)


def convolution(walk: Walk, node: fx.Node) -> Labels:
    """Convolution of any number of dimensions, dense, grouped or depthwise, transposed or not."""
    value, weight = source(node), argument(node, 1, "weight", None)
    transposed = operation(node).startswith("conv_transpose")
    spatial = len(shape_of(weight)) - 2
    slides = f"{operation(node)} slides over it"
    dim = len(shape_of(value)) - spatial - 1
    labels = walk.without(walk.of(value), range(dim + 1, dim + 1 + spatial), node, slides)
    kernel = walk.without(walk.of(weight), range(2, 2 + spatial), node, "its kernel is indexed by it")
    batch = ("batch",) * dim
    window, taps, out = (tuple(f"{p}{d}" for d in range(spatial)) for p in ("window", "tap", "out"))
    groups = int(argument(node, 6, "groups", 1))
    if groups == 1:
        spelled = ("in", "out") if transposed else ("out", "in")
        read = [
            operand(walk, value, (*batch, "in", *window), labels),
            operand(walk, weight, (*spelled, *taps), kernel),
        ]
        found = join(walk, node, read, (*batch, "out", *out))
    else:
        found = _grouped(walk, node, labels, kernel, groups, dim)
    return _with_bias(walk, node, argument(node, 2, "bias", None), found, dim)


def _grouped(walk: Walk, node: fx.Node, labels: Labels, kernel: Labels, groups: int, dim: int) -> Labels:
    """Depthwise: channels pass through. Grouped: the same position goes in every group."""
    transposed = operation(node).startswith("conv_transpose")
    weight = argument(node, 1, "weight", None)
    read = [walk.project(label, [dim], node) for label in labels if label.shape[dim] > 1]
    passing = [walk.project(x, set(varies(x)) - {dim}, node) for x in labels if set(varies(x)) - {dim}]
    inside = torch.zeros(shape_of(source(node))[dim], dtype=torch.long)
    inside = along(read[0], dim) if read else inside
    rows = next((along(x, 0) for x in kernel if varies(x) == [0]), torch.zeros(shape_of(weight)[0]).long())
    columns = next((along(x, 1) for x in kernel if varies(x) == [1]), torch.zeros(shape_of(weight)[1]).long())
    if not read and len(inside) == groups:
        walk.freeze((rows,), node, "it reads one fixed channel in each group")
    walk.uses.append(Use("writer", rows, node.name))
    per_group = inside.reshape(groups, -1)
    wide = rows.reshape(groups, -1)
    out = rows
    if per_group.shape[1] == 1:
        walk.unite(per_group, wide, node)
        if transposed:
            walk.freeze((columns,), node, "each channel writes as many")
            out = rows.repeat_interleave(len(columns))
    elif transposed:
        return walk.refuse(node, "a grouped transposed convolution is not handled")
    else:
        walk.unite(per_group, per_group[:1], node)
        walk.unite(wide, wide[:1], node)
        walk.unite(columns, per_group[0], node)
        walk.uses.append(Use("reader", columns, node.name))
        walk.reads[node.name, source(node).name] = None
    return (*passing, channel_label(out, dim, len(shape_of(node))))


def matmul(walk: Walk, node: fx.Node) -> Labels:
    """Products of matrices, batched or not; ``addmm`` and ``baddbmm`` add a first operand."""
    adds = operation(node) in ("addmm", "baddbmm", "addmv")
    a, b = (n for n in node.args[int(adds) : int(adds) + 2] if isinstance(n, fx.Node))
    rows = () if len(shape_of(a)) == 1 else (*_letters(a, 2), "row")
    columns = () if len(shape_of(b)) == 1 else (*_letters(b, 2), "column")
    inner = ("inner", *columns[-1:])
    batch = max(rows[:-1], columns[:-1], key=len)
    out = (*batch, *rows[-1:], *columns[-1:])
    read = [operand(walk, a, (*rows, "inner")), operand(walk, b, (*columns[:-1], *inner))]
    found = join(walk, node, read, out)
    return _with_bias(walk, node, source(node), found, -1) if adds else found


def einsum(walk: Walk, node: fx.Node) -> Labels:
    """The equation says which dimensions are shared and which are summed over."""
    equation = str(node.args[0]).replace(" ", "")
    values = argument(node, 1, "tensors", ())
    inputs, arrow, out = equation.partition("->")
    spelled = inputs.split(",")
    once = sorted(letter for letter in set(inputs) if letter.isalpha() and inputs.count(letter) == 1)
    out = out if arrow else ("..." if "..." in inputs else "") + "".join(once)
    if any(len(set(text.replace(".", ""))) != len(text.replace(".", "")) for text in spelled):
        return walk.refuse(node, "its equation repeats a letter in one operand")
    widest = max(len(shape_of(n)) - len(s.replace("...", "")) for n, s in zip(values, spelled, strict=True))

    def letters(text: str, rest: int) -> Spelling:
        before, dots, after = text.partition("...")
        dotted = tuple(f"dot{rest - d}" for d in range(rest)) if dots else ()
        return (*before, *dotted, *after)

    read = [
        operand(walk, n, letters(s, len(shape_of(n)) - len(s.replace("...", ""))))
        for n, s in zip(values, spelled, strict=True)
    ]
    return join(walk, node, read, letters(out, widest))


def attention(walk: Walk, node: fx.Node) -> Labels:
    """Scaled dot product: queries meet keys over the width, the scores meet values over the keys."""
    query, key, value = (n for n in node.args[:3] if isinstance(n, fx.Node))
    lead = _letters(query, 2)
    repeat = shape_of(query)[-3] // shape_of(key)[-3] if argument(node, 7, "enable_gqa", False) else 1
    keys, values = (_repeated(walk, n, repeat) for n in (key, value))
    read = [
        operand(walk, query, (*lead, "row", "inner")),
        operand(walk, key, (*_letters(key, 2), "column", "inner"), keys),
    ]
    spelled = (*lead, "row", "column")
    shape = (*shape_of(query)[:-1], shape_of(key)[-2])
    scores = Operand(None, spelled, shape, join(walk, node, read, spelled))
    mask = argument(node, 3, "attn_mask", None)
    if isinstance(mask, fx.Node):
        met = join(walk, node, [scores, operand(walk, mask, trailing(mask, spelled))], spelled)
        scores = Operand(None, spelled, shape, met)
    walk.mark_inexact(scores.labels, [len(shape) - 1], node)
    held = operand(walk, value, (*_letters(value, 2), "column", "width"), values)
    return join(walk, node, [scores, held], (*lead, "row", "width"))


def _repeated(walk: Walk, node: fx.Node, times: int) -> Labels:
    """Labels of grouped keys or values, each head standing for several."""
    return tuple(
        label.repeat_interleave(times, -3) if times > 1 and label.shape[-3] > 1 else label
        for label in walk.of(node)
    )


def embedding(walk: Walk, node: fx.Node) -> Labels:
    """A table read by row: rows stay, columns are channels."""
    weight, numbers = source(node), argument(node, 1, "indices", None)
    columns = walk.without(walk.of(weight), [0], node, "its rows are looked up by number")
    walk.freeze(walk.of(numbers), node, "it says which rows to look up")
    walk.uses += [Use("writer", label.flatten(), node.name) for label in columns]
    return tuple(channel_label(label.flatten(), -1, len(shape_of(node))) for label in columns)


def recurrent(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """LSTM, GRU and plain recurrent layers: a hidden unit is a row of every gate and a column of each."""
    name, value = operation(node), source(node)
    if isinstance(node.args[2], bool) or not isinstance(node.args[2], (list, tuple)):
        return walk.refuse(node, "a packed sequence is not handled")
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    states = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
    biased, layers, both, batch_first = (node.args[i] for i in (3, 4, 7, 8))
    parts, directions = (4 if biased else 2), 1 + int(bool(both))
    weights = [n for n in node.args[2] if isinstance(n, fx.Node)]
    if len(weights) != parts * directions * int(str(layers)):
        return walk.refuse(node, "a projected hidden state is not handled")
    last = len(shape_of(value)) - 1
    labels = walk.without(walk.of(value), range(last), node, f"{name} runs over it")
    read = [along(label, last) for label in labels]
    walk.reads[node.name, value.name] = None
    hidden: list[Tensor] = []
    for first in range(0, len(weights), parts):
        if first and first % (parts * directions) == 0:
            read = [torch.cat(hidden[-directions:])]
        hidden.append(_cell(walk, node, weights[first : first + parts], read, gates))
    output = channel_label(torch.cat(hidden[-directions:]), last, last + 1)
    ends = torch.stack(hidden)[:, None] if last == 2 else torch.stack(hidden)
    spelling = tuple(range(ends.ndim))
    for state in states:
        begins = Operand(None, spelling, tuple(ends.shape), (ends,))
        given = Operand(state, spelling, shape_of(state), walk.of(state))  # type: ignore[arg-type]
        join(walk, node, [begins, given], spelling)
    return ((output,), *((ends,) for _ in states)) if batch_first is not None else ()


def _cell(walk: Walk, node: fx.Node, weights: list[fx.Node], read: list[Tensor], gates: int) -> Tensor:
    """One layer in one direction; returns its hidden units."""
    units = shape_of(weights[0])[0] // gates
    fixed = torch.zeros(shape_of(weights[0])[1], dtype=torch.long)
    hidden = torch.zeros(units, dtype=torch.long)
    for i, weight in enumerate(weights):
        for label in walk.of(weight):
            if label.shape[0] > 1:
                table = label.reshape(gates, units)
                hidden = table[0] if i == 0 else hidden
                walk.unite(table, hidden, node)
                for role, ids in (("writer", table[0]), ("through", table[1:].flatten())):
                    walk.uses.append(Use(role if i == 0 else "through", ids, node.name))
            else:
                for own in (hidden,) if i == 1 else read or (fixed,):
                    walk.unite(label.flatten(), own, node)
                walk.uses.append(Use("reader", label.flatten(), node.name))
    return hidden


RULES: Final[dict[str, Rule]] = {
    "linear": linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), convolution),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "addmm", "baddbmm"), matmul),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
}
