"""The one rule behind elementwise operations, products and norms: values meet along common dimensions.

As in ``einsum``, operands that share a letter are coupled along it; one that the result lacks is summed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from torch import Tensor, fx

from joulecut.pruning.coupling.propagate import ONLY, Labels, Use, Walk, shape_of, varies
from joulecut.workload.trace import operation

__all__ = ["Value", "join"]


@dataclass(frozen=True, slots=True)
class Value:
    """An operand: its shape, its labels, and a letter for each dimension; no node inside an operation."""

    node: fx.Node | None
    shape: tuple[int, ...]
    labels: Labels
    spelling: tuple[str, ...] = ()

    def relabelled(self, change: Callable[[Tensor], Tensor]) -> Value:
        """With another layout of every label."""
        return replace(self, labels=tuple(map(change, self.labels)))

    def unflattened(self, dim: int, count: int) -> Value:
        """With a dimension laid out as a table of ``count`` rows."""
        shape = (*self.shape[:dim], count, self.shape[dim] // count, *self.shape[dim + 1 :])
        sizes = {True: (count, -1), False: (1, 1)}
        return replace(self, shape=shape).relabelled(
            lambda x: x.reshape(*x.shape[:dim], *sizes[x.shape[dim] > 1], *x.shape[dim + 1 :])
        )

    def letters(self, label: Tensor) -> set[str]:
        """The letters along which a label varies."""
        return {self.spelling[d] for d in varies(label)}

    def part(self, walk: Walk, label: Tensor, order: Sequence[str], node: fx.Node) -> Tensor:
        """What a label says along some letters, laid out in their order."""
        dims = [d for d in varies(label) if self.spelling[d] in order]
        part = walk.project(label, dims, node).squeeze([d for d in range(label.ndim) if d not in dims])
        part = part.permute(sorted(range(len(dims)), key=lambda i: order.index(self.spelling[dims[i]])))
        sizes = {self.spelling[d]: label.shape[d] for d in dims}
        return part.reshape([sizes.get(letter, 1) for letter in order])


def join(walk: Walk, node: fx.Node, spec: str, *values: object, role: str = "") -> Labels:
    """Couple operands along the letters that they share; returns labels of the result.

    Args:
        walk: the walk.
        node: the operation.
        spec: an equation as of ``einsum``; ``*`` stands for the last letters of the result.
        values: nodes, with their own labels, or Values; anything else is left out with its term.
        role: of parameters; by default writer, reader along summed letters, through where none is summed.
    """
    inputs, _, output = spec.replace(" ", "").partition("->")
    given = [Value(n, shape_of(n), walk.of(n)) if isinstance(n, fx.Node) else n for n in values]
    terms = [(t, one) for t, one in zip(inputs.split(","), given, strict=False) if isinstance(one, Value)]
    widest = max((len(one.shape) + 3 - len(term) for term, one in terms if "..." in term), default=0)
    out = _spelled(output, widest + len(output) - 3)
    spelled = [replace(one, spelling=_spelled(term, len(one.shape), out)) for term, one in terms]
    operands = [_met(walk, node, one, spelled) for one in spelled]
    summed = {letter for one in operands for letter in one.spelling} - set(out)
    for one in operands:
        _note(walk, node, one, summed, role)
    for a, b in combinations(operands, 2):
        for left, right in ((left, right) for left in a.labels for right in b.labels):
            if common := sorted(a.letters(left) & b.letters(right)):
                walk.unite(a.part(walk, left, common, node), b.part(walk, right, common, node), node)
    return _result(walk, node, operands, out)


def _spelled(term: str, ndim: int, out: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Letters by dimension; the dots stand for all that are left, numbered from the end."""
    if term == "*":
        return out[len(out) - ndim :]
    before, dots, after = term.partition("...")
    rest = ndim - len(before) - len(after) if dots else 0
    return (*before, *(f"~{rest - d}" for d in range(rest)), *after)


def _met(walk: Walk, node: fx.Node, met: Value, operands: Sequence[Value]) -> Value:
    """An operand ready to be coupled: labelled where another is and it can be, else the other is frozen."""
    for other, label in ((one, label) for one in operands if one is not met for label in one.labels):
        fixed = []
        for letter in sorted(other.letters(label) & set(met.spelling)):
            dim = met.spelling.index(letter)
            if met.shape[dim] == 1 or any(letter in met.letters(mine) for mine in met.labels):
                continue
            if met.node is not None and walk.stretch(met.node, dim):
                met = replace(met, labels=walk.of(met.node))
            else:
                fixed.append(letter)
        if fixed:
            part = other.part(walk, label, fixed, node)
            walk.freeze((part,), node, f"{operation(node)} meets a value whose extent is fixed")
    return met


def _note(walk: Walk, node: fx.Node, one: Value, summed: set[str], role: str) -> None:
    """Record what the operation does with a parameter."""
    if one.node is None:
        return
    direct = one.node.op == "get_attr"
    writes = any(one.letters(label) - summed for label in one.labels)
    if direct and summed and not (role or writes) and len(shape_of(one.node)) > 1:
        walk.lone[str(one.node.target)] = walk.reason(node, ONLY)
    for label in one.labels:
        sums = bool(one.letters(label) & summed)
        chosen = role or ("reader" if sums else "writer" if summed else "through")
        if one.node.name not in walk.active and (direct or chosen != "through"):
            walk.uses.append(Use(chosen, label.flatten(), node.name))


def _result(walk: Walk, node: fx.Node, operands: Sequence[Value], out: Sequence[str]) -> Labels:
    """What is left of the labels; one that another operand's label says already is dropped."""
    found = [(one, one.letters(label) & set(out), label) for one in operands for label in one.labels]
    kept: list[tuple[Value, set[str], Tensor]] = []
    for one, letters, label in sorted(found, key=lambda item: -len(item[1])):
        if letters and not any(letters <= more and one is not other for other, more, _ in kept):
            kept.append((one, letters, one.part(walk, label, out, node)))
    return tuple(part for _, _, part in kept)
