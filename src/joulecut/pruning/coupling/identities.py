"""Channel identities: integers that say which slices of which tensors must live or die together.

Every index along every dimension of every parameter has an identity. Operations unite identities (a
residual add unites the channels of its operands), freeze them, with a reason (the model's output cannot
lose a channel), or factor them: the rows of a query projection are cells of a table of heads and widths,
and a cell dies with its head or with its width. All is solved by connected components.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

__all__ = ["FIXED", "Identities", "Reason", "Solution"]

FIXED: Final = 0
"""The identity of everything that is no channel or must stay."""
_DEPTH: Final = 8
"""How deep tables may nest; what is nested deeper is united."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why channels must stay: a sentence, the operation, the graph node and the author's source line."""

    text: str
    op: str
    node: str
    source: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The solved couplings.

    Attributes:
        root: class of each identity, int64 of shape [identities]; ``FIXED`` where frozen.
        component: class of each identity whether frozen or not.
        factors: the two classes that a class dies with, int64 of shape [2, identities]; ``FIXED`` for a
            class that stands for itself.
        reasons: the first reason of each frozen class.
    """

    root: Tensor
    component: Tensor
    factors: Tensor
    reasons: dict[int, Reason]

    def layers(self, ids: Tensor) -> list[Tensor]:
        """Classes that stand for themselves, as many tensors as a cell has factors; FIXED where fewer."""
        layers, done = [self.root[ids]], []
        while layers:
            seen = layers.pop()
            rows, columns = self.factors[:, seen]
            if bool((rows != FIXED).any()):
                layers += [self.root[columns], torch.where(rows == FIXED, seen, self.root[rows])]
            else:
                done.append(seen)
        return done

    def spread(self, alive: Tensor) -> Tensor:
        """From which classes live on their own (bool) to which live with all their factors."""
        alive, cells = alive.clone(), torch.nonzero(self.factors.any(0)).flatten()
        for _ in range(_DEPTH if len(cells) else 0):
            alive[cells] &= alive[self.factors[:, cells]].all(0)
        return alive


class Identities:
    """A growing pool of identities, couplings and factors."""

    def __init__(self) -> None:
        self.count = 1
        self._edges = [torch.zeros((2, 0), dtype=torch.long)]
        self._frozen: list[tuple[Tensor, Reason]] = []
        self._tables: list[tuple[Tensor, Reason]] = []
        self._solution: Solution | None = None

    def fresh(self, shape: Sequence[int], dims: Collection[int]) -> Tensor:
        """New identities along some dimensions: int64 of a shape that is 1 along the others."""
        first, own = self.count, [size if d in dims else 1 for d, size in enumerate(shape)]
        self.count, self._solution = first + math.prod(own), None
        return torch.arange(first, self.count).reshape(own)

    def unite(self, a: Tensor, b: Tensor, reason: Reason) -> None:
        """Couple identities element by element (shapes broadcast); what meets ``FIXED`` is frozen."""
        edges = _columns(a, b)
        edges = edges[:, edges[0] != edges[1]]
        fixed = (edges == FIXED).any(0)
        self.freeze(edges[:, fixed], reason)
        self._edges.append(edges[:, ~fixed])

    def freeze(self, ids: Tensor, reason: Reason) -> None:
        """Keep these channels, for a reason."""
        self._frozen.append((torch.unique(ids[ids != FIXED]), reason))
        self._solution = None

    def factor(self, cells: Tensor, rows: Tensor, columns: Tensor, reason: Reason) -> None:
        """Say that each cell dies with its row or with its column; the shapes broadcast."""
        table = _columns(cells, rows, columns)
        self.freeze(table[1:, table[0] == FIXED], reason)
        self._tables.append((table[:, table[0] != FIXED], reason))

    def solve(self) -> Solution:
        """Classes of identities that go together (cached until something is added)."""
        while self._solution is None:
            component = self._components()
            factors, conflicts = self._factors(component)
            if conflicts.shape[1]:
                self._edges.append(conflicts)
            else:
                self._solution = self._frozen_out(component, factors)
        return self._solution

    def _components(self) -> Tensor:
        """The least identity that each is united with; it stands for them from here on."""
        pairs, every = torch.cat(self._edges, 1).numpy(), torch.arange(self.count)
        graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(self.count, self.count))
        labels = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
        component = _first(labels, self.count)[labels]
        self._edges = [torch.stack([every, component])]
        return component

    def _factors(self, component: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of each class, and the classes to unite so that all its tables give the same.

        Another table of the same cells may hold rows and columns the other way round: it is read the way
        that agrees better. A cell that is its own row dies with no column, so its column is frozen.
        """
        factors = torch.zeros((2, self.count), dtype=torch.long)
        edges = [torch.zeros((2, 0), dtype=torch.long)]
        for i, (table, reason) in enumerate(self._tables):
            cell, *pair = table = _distinct(component[table])
            self._tables[i] = (table, reason)
            new = ~factors[:, cell].any(0)
            factors[:, cell[new]] = table[1:, new]
            known = factors[:, cell]
            ways = (
                [torch.stack(both) for both in zip(known, way, strict=True)] for way in (pair, pair[::-1])
            )
            edges += min(ways, key=lambda way: sum(_distinct(both).shape[1] for both in way))
            self.freeze(known[(known == cell).any(0) & (known != cell)], reason)
        factors[:, (factors == torch.arange(self.count)).any(0)] = FIXED
        deep = factors.any(0)
        for _ in range(_DEPTH):
            deep = deep[factors].any(0)
        at = torch.nonzero(deep).flatten()
        conflicts = torch.cat([*edges, *(torch.stack([at, factor[at]]) for factor in factors)], 1)
        return factors, _distinct(conflicts[:, conflicts[0] != conflicts[1]])

    def _frozen_out(self, component: Tensor, factors: Tensor) -> Solution:
        """A frozen class freezes its factors; a class whose factors are all frozen is frozen too."""
        never = len(self._frozen)
        why = torch.full((self.count,), never)
        for i in reversed(range(never)):
            why[component[self._frozen[i][0]]] = i
        cells = torch.nonzero(factors.any(0)).flatten()
        pairs = factors[:, cells]
        for _ in range(_DEPTH if len(cells) else 0):
            why[cells] = torch.minimum(why[cells], why[pairs].amax(0))
            for factor in pairs:
                why.scatter_reduce_(0, factor, why[cells], "amin")
            why[FIXED] = never
        reasons = {c: self._frozen[int(why[c])][1] for c in torch.nonzero(why < never).flatten().tolist()}
        return Solution(torch.where(why < never, FIXED, component)[component], component, factors, reasons)


def _columns(*ids: Tensor) -> Tensor:
    """The same places of several tensors (shapes broadcast) beside each other: int64 [tensors, places]."""
    shape = np.broadcast_shapes(*(t.shape for t in ids))
    return torch.stack([t.expand(shape).flatten() for t in ids])


def _distinct(columns: Tensor) -> Tensor:
    """The different columns of a table of numbers from 0, in order."""
    rank, base = columns[0], int(columns.max()) + 1 if columns.numel() else 1
    for row in columns[1:]:
        rank = torch.unique(rank * base + row, return_inverse=True)[1]
    return columns[:, _first(rank, int(rank.max()) + 1 if len(rank) else 0)]


def _first(numbers: Tensor, count: int) -> Tensor:
    """Where each number below ``count`` comes first."""
    places = torch.arange(len(numbers))
    return torch.full((count,), len(numbers)).scatter_reduce_(0, numbers, places, "amin")
