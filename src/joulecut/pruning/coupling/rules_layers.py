"""What layers with weights, products of values and norms do to channel identities."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.join import Value, join
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
_NORMS: Final = {
    "layer_norm": "...,...,...->...",
    "rms_norm": "...,...->...",
    "group_norm": "bc...,c,c->bc...",
    "_weight_norm": "...,...->...",
    "batch_norm": "bc...,c,c,c,c->bc...",
    "instance_norm": "bc...,c,c,c,c->bc...",
    **dict.fromkeys(("softmax", "log_softmax", "_softmax", "_safe_softmax"), "...->..."),
}


def product(walk: Walk, node: fx.Node) -> Labels:
    """Layers and products that one equation describes: of the table, the author's, or for any ranks."""
    spec, operands = _EQUATIONS.get(operation(node), ""), list[Any](node.args)
    if operation(node) == "matmul":
        left, right = (len(shape_of(one)) > 1 for one in operands)
        row, column = "i" if left else "", "k" if right else ""
        spec = f"{'...' if left else ''}{row}j,{'...' if right else ''}j{column}->...{row}{column}"
    if operation(node) == "einsum":
        inputs, arrow, out = str(node.args[0]).replace(" ", "").partition("->")
        if any(len(set(term)) < len(term.replace("...", ".")) for term in inputs.split(",")):
            return walk.refuse(node, "its equation repeats a letter in one operand")
        once = sorted(letter for letter in set(inputs) if letter.isalpha() and inputs.count(letter) == 1)
        spec = f"{inputs}->{out if arrow else '...' * ('...' in inputs) + ''.join(once)}"
        operands = argument(node, 1, "tensors", ())
    return join(walk, node, spec, *operands)


def convolution(walk: Walk, node: fx.Node) -> Labels:
    """Convolution, dense, grouped or depthwise, transposed or not: a table of groups and their channels.

    Where a group has several the same one goes in each; depthwise, it goes with all that it writes.
    """
    value, weight, bias = (argument(node, i, n, None) for i, n in enumerate(("input", "weight", "bias")))
    groups, spatial = int(argument(node, 6, "groups", 1)), len(shape_of(weight)) - 2
    dim = len(shape_of(value)) - spatial - 1
    deep = shape_of(value)[dim] > groups
    operands: list[Any] = []
    for n, first, over in ((value, dim, range(dim + 1, 9)), (weight, 0, range(2, 9)), (bias, 0, ())):
        one = (
            Value(n, shape_of(n), walk.mixed(walk.of(n), over, node)).unflattened(first, groups)
            if n
            else None
        )
        operands.append(one)
        for label in one.labels if one and groups > 1 and (deep or n is not value) else ():
            walk.tie(label, [first] if deep else [1, 2], node)
    batch, (window, taps, out) = "b" * dim, (letters[:spatial] for letters in ("xyz", "uvw", "XYZ"))
    spelled = f"gio{taps}" if operation(node).startswith("conv_transpose") else f"goi{taps}"
    labels = join(walk, node, f"{batch}gi{window},{spelled},go->{batch}go{out}", *operands)
    sizes = (groups, shape_of(node)[dim] // groups)
    return tuple(x.expand(*x.shape[:dim], *sizes, *x.shape[dim + 2 :]).flatten(dim, dim + 1) for x in labels)


def attention(walk: Walk, node: fx.Node) -> Labels:
    """Scaled dot product: queries meet keys over the width, the scores meet values over the keys."""
    query, key, value = (Value(n, shape_of(n), walk.of(n)) for n in node.args[:3] if isinstance(n, fx.Node))
    if node.kwargs.get("enable_gqa"):  # each head of keys and values stands for several
        times = query.shape[-3] // key.shape[-3]
        key, value = (
            one.relabelled(lambda x: x.repeat_interleave(times if x.shape[-3] > 1 else 1, -3))
            for one in (key, value)
        )
    shape = (*query.shape[:-1], key.shape[-2])
    scores = Value(None, shape, join(walk, node, "...qi,...ki->...qk", query, key))
    masked = join(walk, node, "...qk,*->...qk", scores, argument(node, 3, "attn_mask", None))
    walk.mark_inexact(masked, [len(shape) - 1], node)
    return join(walk, node, "...qk,...kv->...qv", Value(None, shape, masked), value)


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
    parts, directions = 4 if biased else 2, 1 + int(bool(node.args[7]))
    if len(weights) != parts * directions * int(str(layers)):
        return walk.refuse(node, "a projected hidden state is not handled")
    last = len(shape_of(value)) - 1
    inputs = walk.mixed(walk.of(value), range(last), node)
    read = [label.flatten() for label in inputs] or [torch.zeros(shape_of(value)[-1], dtype=torch.long)]
    hidden: list[Tensor] = []
    for first in range(0, len(weights), parts):
        if first and first % (parts * directions) == 0:
            read = [torch.cat(hidden[-directions:])]
        hidden.append(_cell(walk, node, list(weights[first : first + parts]), read))
    output = torch.cat(hidden[-directions:]).reshape([1] * last + [-1])
    ends = torch.stack(hidden).reshape([len(hidden), *[1] * (last - 1), -1])
    states: Any = given if isinstance(given, (list, tuple)) else [given]
    for state in states:
        join(walk, node, "...,...->...", Value(None, tuple(ends.shape), (ends,)), state)
    return ((output,), *((ends,) for _ in states))


def _cell(walk: Walk, node: fx.Node, weights: list[Any], read: list[Tensor]) -> Tensor:
    """One layer in one direction; returns its hidden units."""
    gates = {"lstm": 4, "gru": 3}.get(operation(node), 1)
    hidden = torch.zeros(shape_of(weights[0])[0] // gates, dtype=torch.long)
    for i, label in ((i, label) for i, weight in enumerate(weights) for label in walk.of(weight)):
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
    """Gains, biases and statistics go with their channel; a norm that runs over channels is inexact.

    Where a norm runs over each of several groups of channels, whole groups go, which is exact.
    """
    name, args, every = operation(node), node.args, range(len(shape_of(source(node))))
    sizes = name in ("layer_norm", "rms_norm", "group_norm")  # the second argument is no tensor
    role = "through" if name == "_weight_norm" else ""
    labels = join(walk, node, _NORMS[name], args[0], *args[2 if sizes else 1 :], role=role)
    if name in ("layer_norm", "rms_norm"):
        over = [*every[len(every) - len(argument(node, 1, "normalized_shape", ())) :]]
    elif name.endswith("softmax"):
        over = [every[argument(node, 1, "dim", -1)]]
    elif name == "_weight_norm":
        over = [d for d in every if d != every[argument(node, 2, "dim", 0)]]
    elif name == "group_norm":
        groups = int(argument(node, 1, "num_groups", 1))
        over = [*every[1 + int(groups > 1) :]]
        for label in (label for label in labels if groups > 1 and label.shape[1] > 1):
            table = walk.project(label, [1], node).reshape(groups, -1)
            walk.unite(table, table[:, :1], node)
    else:
        over = [d for d in every if d != 1 and args[5] and (d or name == "batch_norm")]
    walk.mark_inexact(labels, over, node)
    return labels


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys((*_EQUATIONS, "matmul", "einsum"), product),
    **dict.fromkeys((f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)), convolution),
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
    **dict.fromkeys(_NORMS, norm),
}
