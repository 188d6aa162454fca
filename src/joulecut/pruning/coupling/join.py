"""The one rule behind elementwise operations, products and norms: values meet along common dimensions.

Each operand names its dimensions with letters, as ``einsum`` does. Operands that share a letter are coupled
along it; a letter that the result lacks is summed over.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor, fx

from joulecut.pruning.coupling.labels import Labels, varies
from joulecut.pruning.coupling.propagate import Use, Walk, shape_of
from joulecut.workload.trace import operation

__all__ = ["Operand", "Spelling", "join", "operand", "trailing"]

Spelling = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Operand:
    """A value with a letter for each of its dimensions; ``node`` is None for one inside an operation."""

    node: fx.Node | None
    spelling: tuple[Hashable, ...]
    shape: tuple[int, ...]
    labels: Labels

    def letters(self, label: Tensor) -> set[Hashable]:
        """The letters along which a label varies."""
        return {self.spelling[d] for d in varies(label)}

    def dims(self, letters: set[Hashable]) -> list[int]:
        """The dimensions that these letters name."""
        return [d for d, letter in enumerate(self.spelling) if letter in letters]


def operand(walk: Walk, node: fx.Node, spelling: Spelling, labels: Labels | None = None) -> Operand:
    """A node as an operand, with its own labels unless others are given."""
    return Operand(node, tuple(spelling), shape_of(node), walk.of(node) if labels is None else labels)


def trailing(node: fx.Node, spelling: Spelling) -> tuple[Hashable, ...]:
    """The last letters, as many as the node has dimensions: how broadcasting aligns it."""
    return tuple(spelling)[len(spelling) - len(shape_of(node)) :]


def join(
    walk: Walk, node: fx.Node, operands: Sequence[Operand], out: Spelling, role: str = ""
) -> tuple[Tensor, ...]:
    """Couple operands along the letters that they share.

    Args:
        walk: the walk.
        node: the operation.
        operands: what it reads.
        out: letters of the result.
        role: of parameters among the operands; by default ``writer`` along letters of the result and
            ``reader`` along summed ones, or ``through`` where none is summed.

    Returns:
        Labels of the result, laid out as ``out``.
    """
    operands = [_met(walk, node, one, operands) for one in operands]
    summed = {letter for one in operands for letter in one.spelling} - set(out)
    for one in operands:
        _note(walk, node, one, summed, role)
    for a, b in combinations(operands, 2):
        for left in a.labels:
            for right in b.labels:
                common = a.letters(left) & b.letters(right)
                if common:
                    order = sorted(common, key=a.spelling.index)
                    x = _laid(walk.project(left, a.dims(common), node), a.spelling, order)
                    y = _laid(walk.project(right, b.dims(common), node), b.spelling, order)
                    walk.unite(x, y, node)
    return _result(walk, node, operands, out)


def _met(walk: Walk, node: fx.Node, one: Operand, operands: Sequence[Operand]) -> Operand:
    """An operand ready to be coupled: labelled where another is and it can be, else the other is frozen."""
    own = one
    for other in operands:
        for label in other.labels if other is not own else ():
            fixed = set()
            for letter in other.letters(label) & set(one.spelling):
                dim = one.spelling.index(letter)
                if one.shape[dim] == 1 or any(letter in one.letters(mine) for mine in one.labels):
                    continue
                if one.node is not None and walk.stretch(one.node, dim):
                    one = Operand(one.node, one.spelling, one.shape, walk.of(one.node))
                else:
                    fixed.add(letter)
            if fixed:
                part = walk.project(label, other.dims(fixed), node)
                walk.freeze((part,), node, f"{operation(node)} meets a value whose extent is fixed")
    return one


def _note(walk: Walk, node: fx.Node, one: Operand, summed: set[Hashable], role: str) -> None:
    """Record what the operation does with a parameter, or that it sums over channels of a value."""
    weighs = len(one.shape) > 1 and bool(summed) and not role
    writes = any(one.letters(label) - summed for label in one.labels)
    if walk.is_parameter(one.node) and weighs and not writes:
        walk.lone[str(one.node.target)] = walk.reason(node, "it is the only channel of a value")
    for label in one.labels:
        sums = bool(one.letters(label) & summed)
        if one.node is not None and one.node.name not in walk.active:
            chosen = role or ("reader" if sums else "writer" if summed else "through")
            if chosen != "through" or walk.is_parameter(one.node):
                walk.uses.append(Use(chosen, label.flatten(), node.name))
        elif sums and one.node is not None:
            walk.reads[node.name, one.node.name] = None


def _laid(label: Tensor, spelling: Spelling, order: Spelling) -> Tensor:
    """A label laid out in another order of letters; it varies along none that the order lacks."""
    where = {letter: d for d, letter in enumerate(spelling)}
    present = [where[letter] for letter in order if letter in where]
    moved = label.permute(*present, *(d for d in range(label.ndim) if d not in present))
    return moved.reshape([label.shape[where[letter]] if letter in where else 1 for letter in order])


def _result(walk: Walk, node: fx.Node, operands: Sequence[Operand], out: Spelling) -> tuple[Tensor, ...]:
    """What is left of the labels; one that another operand's label says already is dropped."""
    found: list[tuple[Operand, set[Any], Tensor]] = []
    for one in operands:
        for label in one.labels:
            letters = one.letters(label) & set(out)
            if letters:
                part = walk.project(label, one.dims(letters), node)
                found.append((one, letters, _laid(part, one.spelling, out)))
    kept: list[tuple[Operand, set[Any], Tensor]] = []
    for item in sorted(found, key=lambda item: -len(item[1])):
        if not any(item[1] <= other[1] and item[0] is not other[0] for other in kept):
            kept.append(item)
    return tuple(label for _, _, label in kept)
