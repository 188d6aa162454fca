"""Channel identities: integers that say which slices of which tensors must live or die together.

Every index along every dimension of every parameter has an identity. Operations unite identities (a
residual add unites the channels of its operands), freeze them, with a reason (the model's output cannot
lose a channel), or factor them: the rows of a query projection are cells of a table of heads and widths,
and a cell dies with its head or with its width. All is solved by connected components.
"""

from __future__ import annotations

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
"""Tables of tables of heads: how deep factors may nest before they are frozen."""


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
            pair = self.factors[:, seen]
            if bool((pair != FIXED).any()):
                whole = (pair == FIXED).all(0)
                layers += [self.root[pair[1]], torch.where(whole, seen, self.root[pair[0]])]
            else:
                done.append(seen)
        return done

    def spread(self, alive: Tensor) -> Tensor:
        """From which classes live on their own (bool) to which live with all their factors."""
        for _ in range(_DEPTH):
            alive = alive & alive[self.factors[0]] & alive[self.factors[1]]
        return alive


class Identities:
    """A growing pool of identities, couplings and factors."""

    def __init__(self) -> None:
        self.count = 1
        self._edges: list[Tensor] = []
        self._frozen: list[tuple[Tensor, Reason]] = []
        self._tables: list[Tensor] = []
        self._table_reasons: list[Reason] = []
        self._solution: Solution | None = None

    def fresh(self, count: int) -> Tensor:
        """``count`` new identities, int64 of shape [count]."""
        first = self.count
        self.count += count
        self._solution = None
        return torch.arange(first, self.count)

    def unite(self, a: Tensor, b: Tensor, reason: Reason) -> None:
        """Couple identities element by element; the shapes broadcast.

        What is coupled to ``FIXED`` is frozen, for this reason.
        """
        edges = _pairs(a, b)
        fixed = (edges == FIXED).any(0)
        self.freeze(edges[:, fixed], reason)
        if not bool(fixed.all()):
            self._edges.append(edges[:, ~fixed])
            self._solution = None

    def freeze(self, ids: Tensor, reason: Reason) -> None:
        """Keep these channels, for a reason."""
        alive = torch.unique(ids[ids != FIXED])
        if len(alive):
            self._frozen.append((alive, reason))
            self._solution = None

    def factor(self, cells: Tensor, rows: Tensor, columns: Tensor, reason: Reason) -> None:
        """Say that each cell dies with its row or with its column; the shapes broadcast."""
        shape = np.broadcast_shapes(cells.shape, rows.shape, columns.shape)
        table = torch.stack([t.expand(shape).reshape(-1) for t in (cells, rows, columns)])
        self.freeze(table[1:, table[0] == FIXED], reason)
        table = table[:, table[0] != FIXED]
        self._tables.append(torch.cat([table, torch.full_like(table[:1], len(self._tables))]))
        self._table_reasons.append(reason)
        self._solution = None

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
        edges = torch.cat(self._edges, 1) if self._edges else torch.zeros((2, 0), dtype=torch.long)
        pairs = edges.numpy()
        graph = coo_array(
            (np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(self.count, self.count)
        )
        labels = connected_components(graph, directed=False)[1]
        first = np.full(int(labels.max()) + 1, self.count, dtype=np.int64)
        np.minimum.at(first, labels, np.arange(self.count))
        return torch.from_numpy(first[labels])

    def _factors(self, component: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of each class, and the classes to unite so that all its tables give the same.

        Another table of the same cells may hold rows and columns the other way round: it is read the way
        that agrees better.
        """
        factors = torch.zeros((2, self.count), dtype=torch.long)
        if not self._tables:
            return factors, factors[:, :0]
        table = torch.cat(self._tables, 1)
        cell, pair, number = component[table[0]], component[table[1:3]], table[3]
        first = torch.full((self.count,), len(cell)).scatter_reduce_(0, cell, torch.arange(len(cell)), "amin")
        known = pair[:, first[cell]]
        cost = [_distinct(number, known, found, len(self._tables)) for found in (pair, pair.flip(0))]
        pair = torch.where((cost[1] < cost[0])[number], pair.flip(0), pair)
        conflicts = torch.cat([torch.stack([known[i], pair[i]]) for i in (0, 1)], 1)
        own = (known == cell).any(0)  # a cell that is its row dies with no column
        for i, reason in enumerate(self._table_reasons if bool(own.any()) else ()):
            mine = known[:, own & (number == i)]
            self.freeze(mine[mine != cell[own & (number == i)]], reason)
        factors[:, cell] = torch.where(own, FIXED, known)
        endless = factors.any(0)
        for _ in range(_DEPTH):
            endless = endless[factors].any(0)
        rings = torch.nonzero(endless).flatten()
        conflicts = torch.cat([conflicts, *(torch.stack([rings, part[rings]]) for part in factors)], 1)
        return factors, torch.unique(conflicts[:, conflicts[0] != conflicts[1]], dim=1)

    def _frozen_out(self, component: Tensor, factors: Tensor) -> Solution:
        """A frozen class freezes its factors; a class whose factors are all frozen is frozen too."""
        reasons: dict[int, Reason] = {}
        root = component.clone()
        for ids, reason in self._frozen:
            for number in torch.unique(component[ids]).tolist():
                reasons.setdefault(number, reason)
        cells = torch.nonzero(factors.any(0)).flatten().tolist()
        pairs = dict(zip(cells, factors[:, cells].T.tolist(), strict=True))
        for _ in range(_DEPTH):
            for cell, (row, column) in pairs.items():
                if cell in reasons:
                    reasons.setdefault(row, reasons[cell])
                    reasons.setdefault(column, reasons[cell])
                elif row in reasons and column in reasons:
                    reasons[cell] = reasons[row]
        if reasons:
            root[torch.isin(component, torch.tensor(sorted(reasons)))] = FIXED
        return Solution(root, component, factors, reasons)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    shape = np.broadcast_shapes(a.shape, b.shape)
    edges = torch.stack([a.expand(shape).reshape(-1), b.expand(shape).reshape(-1)])
    edges = edges[:, edges[0] != edges[1]]
    return edges if edges.shape[1] < 4096 else torch.unique(edges, dim=1)


def _distinct(number: Tensor, known: Tensor, found: Tensor, tables: int) -> Tensor:
    """How many different pairs of known and found factors each table holds: int64 [tables]."""
    total = torch.zeros(tables, dtype=torch.long)
    for a, b in zip(known, found, strict=True):
        rows = torch.unique(torch.stack([number, a, b]), dim=1)[0]
        total += torch.bincount(rows, minlength=tables)
    return total
