"""What operations without weights do to channel identities; what moves data is itself run on the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.cut import called
from joulecut.pruning.coupling.join import Value, join
from joulecut.pruning.coupling.propagate import Labels, Rule, Walk, narrowed, results, shape_of, varies
from joulecut.pruning.coupling.rules_layers import RULES
from joulecut.workload.trace import argument, operation, schema_of, source

__all__ = ["is_movement", "rule_of"]

# fmt: off
_ELEMENTWISE: Final = frozenset({
    "hardswish", "log_sigmoid", "rsub", "dropout", "feature_dropout", "alpha_dropout", "copy", "fill", "zero",
    "to", "type_as", "_to_copy", "contiguous", "clone", "alias", "detach", "lift_fresh_copy", "floor_divide",
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "bernoulli",
})
"""Elementwise operations that torch does not tag as such."""
_MOVES: Final = frozenset({
    "reshape", "_unsafe_view", "flatten", "unflatten", "repeat", "repeat_interleave", "tile", "roll", "flip",
    "rot90", "index", "index_select", "gather", "take_along_dim", "pixel_shuffle", "pixel_unshuffle",
})
"""Movements whose schema does not say that their result is a view."""
_REDUCTIONS: Final = (
    "mean", "sum", "nansum", "amax", "amin", "max", "min", "var", "std", "prod", "norm", "linalg_vector_norm",
    "logsumexp", "var_mean", "std_mean",
)
_NOTHING: Final = (
    "new_zeros", "new_ones", "new_full", "new_empty", "sym_size", "_assert_tensor_metadata",
)
"""Operations that read sizes only; so do those that read no tensor."""
# fmt: on
_WINDOWS: Final = re.compile(r"(?:pool|upsample|pad)\D*(\d)d|(cum|logcum)")
_LETTERS: Final = "abcdefghij"


def elementwise(walk: Walk, node: fx.Node) -> Labels:
    """Operands are coupled where both vary; a real extent without channels freezes its partner."""
    values = [n for n in node.all_input_nodes if shape_of(n)]
    if len(values) == 1 and shape_of(values[0]) == shape_of(node):
        return walk.of(values[0])
    return join(walk, node, ",".join(["..."] * len(values)) + "->...", *values, role="through")


def is_movement(node: fx.Node) -> bool:
    """Whether the operation only says where the elements of its first argument go."""
    schema = schema_of(node)
    infos = [one.alias_info for one in schema.returns[:1]] if schema is not None else []
    views = any(info is not None and not info.is_write for info in infos)
    return operation(node) not in _ELEMENTWISE and (operation(node) in _MOVES or views)


def movement(walk: Walk, node: fx.Node) -> Labels | tuple[Labels, ...]:
    """Run a movement of one tensor on each of its labels; an index that is computed must pick no channels."""
    value = source(node)
    if operation(node).endswith("_as"):  # to the shape of another value: what they share is coupled
        shape = shape_of(value) if operation(node) == "expand_as" else shape_of(node)
        labels = tuple(narrowed(x.expand(shape_of(value)).reshape(shape)) for x in walk.of(value))
        return join(walk, node, "...,...->...", Value(None, shape, labels), node.args[1])
    known = {n: _constant(walk, n) for n in node.all_input_nodes if n is not value and shape_of(n)}
    moved: list[Any] = []
    for label in walk.of(value):
        ends: list[Any] = []
        for end in (0, 1) if None in known.values() else (0,):
            picks = {n: torch.full(shape_of(n), end) if x is None else x for n, x in known.items()}
            ends.append(_run(node, {**picks, value: label.expand(shape_of(value))}))
        if None in ends:
            return walk.refuse(node, f"the operation {operation(node)} is not handled")
        if ends[0] is not ends[-1] and not torch.equal(*ends):
            walk.freeze((label,), node, "a computed number picks channels")
        moved.append(ends[0])
    for index in known:
        walk.freeze(walk.of(index), node, "it says where channels go")
    return tuple(zip(*moved, strict=True)) if isinstance(node.meta["val"], (list, tuple)) else tuple(moved)


def _run(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The node's own operation on labels, or None where it does not run on whole numbers."""
    try:
        return called(node, node.args, values)
    except RuntimeError:
        return None


def _constant(walk: Walk, node: fx.Node) -> Tensor | None:
    """The value of a node that depends on no input of the network and is not written into, else None."""
    if node.name not in walk.numbers:
        walk.numbers[node.name] = None
        if node.op == "get_attr":
            walk.numbers[node.name] = attrgetter(str(node.target))(walk.module)
        elif node.name not in walk.active and not any(operation(user).endswith("_") for user in node.users):
            known = {n: _constant(walk, n) for n in node.all_input_nodes}
            walk.numbers[node.name] = None if None in known.values() else _run(node, known)
    return walk.numbers[node.name]


def concatenated(walk: Walk, node: fx.Node) -> Labels:
    """Lay the labels of all operands end to end; along the other dimensions the operands are coupled."""
    given: Any = node.args[0]
    ndim = len(shape_of(node))
    dim = int(argument(node, 1, "dim", 0)) % ndim
    values = [Value(n, shape_of(n), walk.of(n)) for n in given if shape_of(n) != (0,)]
    if operation(node) == "stack":
        shape = (*values[0].shape[:dim], 1, *values[0].shape[dim:])
        values = [Value(None, shape, tuple(x.unsqueeze(dim) for x in one.labels)) for one in values]
    pieces = [chr(256 + i) for i in range(len(values))]
    terms = [_LETTERS[:dim] + piece + _LETTERS[dim + 1 : ndim] for piece in pieces]
    join(walk, node, f"{','.join(terms)}->{_LETTERS[:ndim]}{''.join(pieces)}", *values, role="through")
    beside = {tuple(varies(x)): x for one in values for x in one.labels if x.shape[dim] == 1}
    inside = [[x for x in one.labels if x.shape[dim] > 1] for one in values]
    ends = []
    for i in range(max(map(len, inside))):
        used = [mine[i] if i < len(mine) else torch.zeros([1] * ndim, dtype=torch.long) for mine in inside]
        wide = list(np.broadcast_shapes(*(label.narrow(dim, 0, 1).shape for label in used)))
        shapes = [(*wide[:dim], one.shape[dim], *wide[dim + 1 :]) for one in values]
        ends.append(torch.cat([x.expand(shape) for x, shape in zip(used, shapes, strict=True)], dim))
    return (*beside.values(), *ends)


def scattered(walk: Walk, node: fx.Node) -> Labels:
    """A part put back into a whole: in its place the channels of both are coupled."""
    whole, part = source(node), argument(node, 1, "src", None)
    take = torch.ops.aten.slice.Tensor if operation(node) == "slice_scatter" else torch.ops.aten.select.int
    taken = tuple(take(x.expand(shape_of(whole)), *node.args[2:]) for x in walk.of(whole))
    join(walk, node, "...,...->...", Value(None, shape_of(part), taken), part, role="through")
    return walk.of(whole)


def reduction(walk: Walk, node: fx.Node) -> Labels:
    """Labels along other dimensions survive; a sum over channels reads them, a mean is inexact."""
    value, name, shapes = source(node), operation(node), list(results(node).values())
    names = [one.name for one in schema_of(node).arguments]
    dims = argument(node, names.index("dim"), "dim", None) if "dim" in names else None
    every = range(len(shape_of(value)))
    over = sorted(every[d] for d in ([dims] if isinstance(dims, int) else dims or every))
    if name in ("max", "min") and any(user.args[1] == 1 and user.users for user in node.users):
        return walk.refuse(node, "its result holds numbers of channels")
    sums = name in ("sum", "nansum") or (name.endswith("norm") and argument(node, 1, "ord", 2) in (1, 2, 3))
    walk.mark_inexact(() if sums else walk.of(value), over, node)
    over_left = _LETTERS.upper() if len(shapes[0]) == len(every) else [""] * len(every)
    rest = "".join(over_left[d] if d in over else _LETTERS[d] for d in every)
    return join(walk, node, f"{_LETTERS[: len(every)]}->{rest}", value, role="through")


def windows(walk: Walk, node: fx.Node) -> Labels:
    """Pools, padding, interpolation and running sums mix what lies along some dimensions."""
    found, ndim = _WINDOWS.search(operation(node)), len(shape_of(source(node)))
    pooled = range(ndim - int(found[1]), ndim) if found and found[1] else None
    return walk.mixed(walk.of(source(node)), pooled or [argument(node, 1, "dim", 0) % ndim], node)


def pad(walk: Walk, node: fx.Node) -> Labels:
    """Constants around a value: channels that are padded lie beside fixed ones."""
    labels, ndim = walk.of(source(node)), len(shape_of(source(node)))
    given = argument(node, 1, "pad", ())
    sizes = {ndim - 1 - i // 2: given[i : i + 2] for i in range(0, len(given), 2)}
    if argument(node, 2, "mode", "constant") in ("reflect", "replicate", "circular"):
        return walk.mixed(labels, [d for d, ends in sizes.items() if any(ends)], node)
    return tuple(
        torch.constant_pad_nd(x, [n if x.shape[d] > 1 else 0 for d, ends in sizes.items() for n in ends])
        for x in labels
    )


def halves(walk: Walk, node: fx.Node) -> Labels:
    """``glu``: one half of the channels gates the other. ``channel_shuffle``: groups change places."""
    shuffles, labels = operation(node) == "channel_shuffle", walk.of(source(node))
    count, dim = (argument(node, 1, "groups", 1), 1) if shuffles else (2, argument(node, 1, "dim", -1))
    chunks = [label.chunk(count, dim) for label in labels if label.shape[dim] > 1]
    for first, *others in chunks:
        for other in others:
            walk.unite(other, first, node)
    beside = tuple(label for label in labels if label.shape[dim] == 1)
    return movement(walk, node) if shuffles else (*beside, *(first for first, *_ in chunks))  # type: ignore[return-value]


def patches(walk: Walk, node: fx.Node) -> Labels:
    """``im2col`` makes of a channel as many as a patch has places; ``col2im`` sums these up again."""
    folds, ndim = operation(node) == "col2im", len(shape_of(source(node)))
    kernel: Any = node.args[2 if folds else 1]
    places = int(torch.Size(kernel).numel())
    labels = walk.mixed(walk.of(source(node)), range(ndim - (1 if folds else 2), ndim), node)
    if not folds:
        return tuple((x.repeat_interleave(places, -3) if x.shape[-3] > 1 else x).squeeze(-1) for x in labels)
    tables = [x.reshape(*x.shape[:-2], -1, places if x.shape[-2] > 1 else 1, 1) for x in labels]
    return tuple(walk.tie(table, [table.ndim - 2], node) for table in tables)


_RULES: Final[dict[str, Rule]] = {
    **RULES,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), concatenated),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("slice_scatter", "select_scatter"), scattered),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("glu", "channel_shuffle"), halves),
    **dict.fromkeys(("im2col", "col2im"), patches),
    **dict.fromkeys(_NOTHING, lambda _walk, _node: ()),
    "getitem": lambda walk, node: walk.labels.get(f"{source(node).name}[{node.args[1]}]", ()),
}


def rule_of(node: fx.Node) -> Rule | None:
    """The rule of an operation, by its name or by its kind; None where there is none."""
    name = operation(node)
    if name in _RULES or not any(map(shape_of, node.all_input_nodes)):
        return _RULES.get(name, _RULES["sym_size"])
    if torch.Tag.pointwise in getattr(node.target, "tags", ()) or name.rstrip("_") in _ELEMENTWISE:
        return elementwise
    if is_movement(node):
        return movement
    return windows if _WINDOWS.search(name) else None
