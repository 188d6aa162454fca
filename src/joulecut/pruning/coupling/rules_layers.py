"""What layers with weights, products of values and norms do to channel identities."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.join import Value, join, joined
from joulecut.pruning.coupling.propagate import Labels, Rule, Use, Walk, shape_of
from joulecut.workload.trace import argument, operation, source

__all__ = ["RULES"]

_EQUATIONS: Final = {
    "linear": "...i,oi,o->...o",
    "mm": "ij,jk->ik",
    "bmm": "bij,bjk->bik",
    "mv": "ij,j->i",
    "addmm": "*,ij,jk->ik",
    "baddbmm": "*,bij,bjk->bik",
    "prelu": "bc...,c->bc...",
}


def equation(walk: Walk, node: fx.Node) -> Labels:
    """Layers and products that one equation describes."""
    spec = _EQUATIONS[operation(node)]
    terms = spec.partition("->")[0].count(",") + 1
    return joined(walk, node, spec, *[*node.args, *[None] * terms][:terms])


def matmul(walk: Walk, node: fx.Node) -> Labels:
    """Product of matrices, vectors or batches of them."""
    left, right = (len(shape_of(n)) > 1 for n in node.args if isinstance(n, fx.Node))
    row, column = "i" if left else "", "k" if right else ""
    spec = f"{'...' if left else ''}{row}j,{'...' if right else ''}j{column}->...{row}{column}"
    return joined(walk, node, spec, *node.args)


def einsum(walk: Walk, node: fx.Node) -> Labels:
    """The equation says which dimensions are shared and which are summed over."""
    inputs, arrow, out = str(node.args[0]).replace(" ", "").partition("->")
    once = sorted(letter for letter in set(inputs) if letter.isalpha() and inputs.count(letter) == 1)
    out = out if arrow else ("..." if "..." in inputs else "") + "".join(once)
    if any(len(set(term)) < len(term.replace("...", ".")) for term in inputs.split(",")):
        return walk.refuse(node, "its equation repeats a letter in one operand")
    return joined(walk, node, f"{inputs}->{out}", *argument(node, 1, "tensors", ()))


def convolution(walk: Walk, node: fx.Node) -> Labels:
    """Convolution of any number of dimensions, dense, grouped or depthwise, transposed or not.

    The channels are a table of groups and channels of a group. Where a group has several the same position
    goes in each; depthwise, a group is a channel, and goes with all that it writes.
    """
    value, weight, bias = (argument(node, i, n, None) for i, n in enumerate(("input", "weight", "bias")))
    groups, spatial = int(argument(node, 6, "groups", 1)), len(shape_of(weight)) - 2
    dim = len(shape_of(value)) - spatial - 1
    transposed = operation(node).startswith("conv_transpose")
    read = _grouped(
        Value(value, shape_of(value), walk.mixed(walk.of(value), range(dim + 1, 9), node)), dim, groups
    )
    kernel = _grouped(
        Value(weight, shape_of(weight), walk.mixed(walk.of(weight), range(2, 9), node)), 0, groups
    )
    added = (
        _grouped(Value(bias, shape_of(bias), walk.of(bias)), 0, groups) if isinstance(bias, fx.Node) else None
    )
    batch, (window, taps, out) = "b" * dim, (letters[:spatial] for letters in ("xyz", "uvw", "XYZ"))
    spelled = f"gio{taps}" if transposed else f"goi{taps}"
    deep = read.shape[dim + 1] > 1
    for one, first in ((read, dim), (kernel, 0), (added, 0)) if groups > 1 else ():
        for label in one.labels if one and (deep or one is not read) else ():
            walk.tie(label, [first] if deep else [1, 2], node)
    labels = join(walk, node, f"{batch}gi{window},{spelled},go->{batch}go{out}", [read, kernel, added])
    shape = (*read.shape[:dim], groups, shape_of(node)[dim] // groups, *shape_of(node)[dim + 1 :])
    return tuple(
        label.expand(
            [n if d in (dim, dim + 1) else s for d, (n, s) in enumerate(zip(shape, label.shape, strict=True))]
        ).flatten(dim, dim + 1)
        for label in labels
    )


def _grouped(one: Value, dim: int, groups: int) -> Value:
    """A value whose channels are laid out as groups and channels of a group."""
    labels = tuple(
        x.reshape(*x.shape[:dim], *((groups, -1) if x.shape[dim] > 1 else (1, 1)), *x.shape[dim + 1 :])
        for x in one.labels
    )
    shape = (*one.shape[:dim], groups, one.shape[dim] // groups, *one.shape[dim + 1 :])
    return Value(one.node, shape, labels)


def attention(walk: Walk, node: fx.Node) -> Labels:
    """Scaled dot product: queries meet keys over the width, the scores meet values over the keys."""
    query, key, value = (Value(n, shape_of(n), walk.of(n)) for n in node.args[:3] if isinstance(n, fx.Node))
    if node.kwargs.get("enable_gqa"):  # each head of keys and values stands for several
        times = query.shape[-3] // key.shape[-3]
        key, value = (
            Value(
                n.node,
                n.shape,
                tuple(x.repeat_interleave(times, -3) if x.shape[-3] > 1 else x for x in n.labels),
            )
            for n in (key, value)
        )
    shape = (*query.shape[:-1], key.shape[-2])
    scores = Value(None, shape, join(walk, node, "...qi,...ki->...qk", [query, key]))
    mask = argument(node, 3, "attn_mask", None)
    if isinstance(mask, fx.Node):
        met = [scores, Value(mask, shape_of(mask), walk.of(mask))]
        scores = Value(None, shape, join(walk, node, "...qk,*->...qk", met))
    walk.mark_inexact(scores.labels, [len(shape) - 1], node)
    return join(walk, node, "...qk,...kv->...qv", [scores, value])


def embedding(walk: Walk, node: fx.Node) -> Labels:
    """A table read by row: rows stay, columns are channels."""
    weight, numbers = node.args[:2]
    walk.freeze(walk.of(numbers), node, "it says which rows to look up")
    rows = tuple(label for label in walk.of(weight) if label.shape[0] > 1)
    walk.freeze(rows, node, "its rows are looked up by number")
    columns = [label for label in walk.of(weight) if label.shape[0] == 1]
    walk.uses += [Use("writer", label.flatten(), node.name) for label in columns]
    return tuple(x.reshape([1] * (len(shape_of(node)) - 1) + [-1]) for x in columns)


def recurrent(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """LSTM, GRU and plain recurrent layers: a hidden unit is a row of every gate and a column of each."""
    value, given, weights, biased, layers, *_ = node.args
    if not isinstance(weights, (list, tuple)) or not isinstance(value, fx.Node):
        return walk.refuse(node, "a packed sequence is not handled")
    states: Any = given if isinstance(given, (list, tuple)) else [given]
    parts, directions = 4 if biased else 2, 1 + int(bool(node.args[7]))
    if len(weights) != parts * directions * int(str(layers)):
        return walk.refuse(node, "a projected hidden state is not handled")
    last = len(shape_of(value)) - 1
    inputs = walk.mixed(walk.of(value), range(last), node)
    read = [label.flatten() for label in inputs] or [torch.zeros(shape_of(value)[-1], dtype=torch.long)]
    walk.reads[node.name, value.name] = None
    hidden: list[Tensor] = []
    for first in range(0, len(weights), parts):
        if first and first % (parts * directions) == 0:
            read = [torch.cat(hidden[-directions:])]
        hidden.append(_cell(walk, node, list(weights[first : first + parts]), read))
    output = torch.cat(hidden[-directions:]).reshape([1] * last + [-1])
    ends = torch.stack(hidden).reshape([len(hidden), *[1] * (last - 1), -1])
    for state in states:
        both = [Value(None, tuple(ends.shape), (ends,)), Value(state, shape_of(state), walk.of(state))]
        join(walk, node, "...,...->...", both)
    return ((output,), *((ends,) for _ in states))


def _cell(walk: Walk, node: fx.Node, weights: list[Any], read: list[Tensor]) -> Tensor:
    """One layer in one direction; returns its hidden units."""
    gates = {"lstm": 4, "gru": 3}.get(operation(node), 1)
    hidden = torch.zeros(shape_of(weights[0])[0] // gates, dtype=torch.long)
    for i, weight in enumerate(weights):
        for label in walk.of(weight):
            ids = label.flatten()
            if label.shape[0] == 1:
                for own in (hidden,) if i == 1 else read:
                    walk.unite(ids, own, node)
                walk.uses.append(Use("reader", ids, node.name))
                continue
            units = ids[: len(hidden)]
            hidden = units if i == 0 else hidden
            walk.unite(ids.reshape(gates, -1), hidden, node)
            walk.uses.append(Use("through" if i else "writer", units, node.name))
            walk.uses.append(Use("through", ids[len(hidden) :], node.name))
    return hidden


def norm(walk: Walk, node: fx.Node) -> Labels:
    """Gains, biases and statistics go with their channel; a norm that runs over channels is inexact."""
    name, args = operation(node), node.args
    ndim = len(shape_of(source(node)))
    every = range(ndim)
    if name in ("layer_norm", "rms_norm"):
        labels = joined(walk, node, "...,...,...->...", args[0], *[*args[2:4], None, None][:2])
        over = [*every[ndim - len(argument(node, 1, "normalized_shape", ())) :]]
    elif name == "group_norm":
        labels = joined(walk, node, "bc...,c,c->bc...", args[0], *[*args[2:4], None, None][:2])
        groups, channels = int(argument(node, 1, "num_groups", 1)), shape_of(node)[1]
        for label in labels:
            if groups < channels and label.shape[1] > 1:
                table = walk.project(label, [1], node).reshape(groups, -1)
                walk.unite(table, table[:1], node)
        over = [*every[1 + int(groups == channels) :]]
    elif name == "_weight_norm":
        labels = joined(walk, node, "...,...->...", *args[:2], role="through")
        over = [d for d in every if d != int(argument(node, 2, "dim", 0)) % ndim]
    else:
        labels = joined(walk, node, "bc...,c,c,c,c->bc...", *args[:5])
        over = [d for d in every if d != 1 and args[5] and (d or name == "batch_norm")]
    walk.mark_inexact(labels, over, node)
    return labels


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(_EQUATIONS, equation),
    **dict.fromkeys((f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)), convolution),
    "matmul": matmul,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
    **dict.fromkeys(
        ("layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm", "_weight_norm"), norm
    ),
}
