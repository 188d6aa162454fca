"""Channel identities: integers that say which slices of which tensors must live or die together.

Operations unite identities, freeze them, with a reason, or factor them: the rows of a query projection are
cells of a table of heads and widths, and a cell dies with its head or with its width.
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
        root: class of each identity, int64 [identities]; ``FIXED`` where frozen.
        component: class of each identity whether frozen or not.
        factors: the classes that an identity dies with, int64 [most of one, identities]; else ``FIXED``.
        reasons: the first reason of each frozen class.
    """

    root: Tensor
    component: Tensor
    factors: Tensor
    reasons: dict[int, Reason]

    def layers(self, ids: Tensor) -> list[Tensor]:
        """The factors of identities, as many tensors as one of these has."""
        return [layer for layer in self.factors[:, ids] if bool(layer.any())]

    def spread(self, alive: Tensor) -> Tensor:
        """From which classes live on their own (bool) to which live with all their factors."""
        return alive[self.factors].all(0)


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
            pairs, conflicts = self._pairs(component)
            if conflicts.shape[1]:
                self._edges.append(conflicts)
            else:
                self._solution = self._frozen_out(component, _standing(pairs))
        return self._solution

    def _components(self) -> Tensor:
        """The least identity that each is united with; it stands for them from here on."""
        pairs, every = torch.cat(self._edges, 1).numpy(), torch.arange(self.count)
        graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(self.count, self.count))
        labels = connected_components(graph, directed=False)[1]
        component = torch.from_numpy(np.unique(labels, return_index=True)[1][labels])
        self._edges = [torch.stack([every, component])]
        return component

    def _pairs(self, component: Tensor) -> tuple[Tensor, Tensor]:
        """The row and column of each class, and the classes to unite so that all its tables give the same.

        Another table may hold rows and columns the other way round: it is read the way that agrees better.
        A cell that is its own row dies with no column, so its column is frozen.
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
        for layer in factors:
            why = why.scatter_reduce(0, layer, why, "amin")
        why[FIXED] = -1  # where a class has fewer factors than others
        why = torch.minimum(why, why[factors].amax(0))
        why[FIXED] = never
        reasons = {c: self._frozen[int(why[c])][1] for c in torch.nonzero(why < never).flatten().tolist()}
        root = torch.where(why < never, FIXED, torch.arange(self.count))
        return Solution(root[component], component, root[factors[:, component]], reasons)


def _standing(pairs: Tensor) -> Tensor:
    """From the row and column of each class to all the classes that it dies with and that have none."""
    done, layers = list[Tensor](), [torch.arange(pairs.shape[1])]
    while layers:
        seen = layers.pop()
        rows, columns = pairs[:, seen]
        if bool(rows.any()):
            layers += [columns, torch.where(rows == FIXED, seen, rows)]
        else:
            done.append(seen)
    return torch.stack(done)


def _columns(*ids: Tensor) -> Tensor:
    """The same places of several tensors (shapes broadcast) beside each other: int64 [tensors, places]."""
    shape = np.broadcast_shapes(*(t.shape for t in ids))
    return torch.stack([t.expand(shape).flatten() for t in ids])


def _distinct(columns: Tensor) -> Tensor:
    """The different columns of a table of numbers from 0."""
    rank = columns[0]
    for row in columns[1:]:
        rank = torch.unique(rank * (int(columns.max()) + 1 if len(row) else 1) + row, return_inverse=True)[1]
    return columns[:, np.unique(rank.numpy(), return_index=True)[1]]
