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
        for _ in range(_DEPTH):
            alive = alive & alive[self.factors[0]] & alive[self.factors[1]]
        return alive


class Identities:
    """A growing pool of identities, couplings and factors."""

    def __init__(self) -> None:
        self.count = 1
        self._edges = [torch.zeros((2, 0), dtype=torch.long)]
        self._frozen: list[tuple[Tensor, Reason]] = []
        self._tables: list[tuple[Tensor, Reason]] = []
        self._solution: Solution | None = None

    def fresh(self, *shape: int) -> Tensor:
        """New identities, int64 of a shape."""
        first = self.count
        self.count += int(torch.Size(shape).numel())
        self._solution = None
        return torch.arange(first, self.count).reshape(shape)

    def unite(self, a: Tensor, b: Tensor, reason: Reason) -> None:
        """Couple identities element by element (shapes broadcast); what meets ``FIXED`` is frozen."""
        edges = _columns(a, b)
        edges = edges[:, edges[0] != edges[1]]
        edges = edges if edges.shape[1] < 4096 else torch.unique(edges, dim=1)
        fixed = (edges == FIXED).any(0)
        self.freeze(edges[:, fixed], reason)
        self._edges.append(edges[:, ~fixed])
        self._solution = None

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
        pairs = torch.cat(self._edges, 1).numpy()
        ones = np.ones(pairs.shape[1], np.int8)
        graph = coo_array((ones, (pairs[0], pairs[1])), shape=(self.count, self.count))
        labels = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
        first = torch.full((int(labels.max()) + 1,), self.count)
        return first.scatter_reduce_(0, labels, torch.arange(self.count), "amin")[labels]

    def _factors(self, component: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of each class, and the classes to unite so that all its tables give the same.

        Another table of the same cells may hold rows and columns the other way round: it is read the way
        that agrees better. A cell that is its own row dies with no column, so its column is frozen.
        """
        factors = torch.zeros((2, self.count), dtype=torch.long)
        if not self._tables:
            return factors, factors[:, :0]
        cell, *pairs = component[torch.cat([table for table, _ in self._tables], 1)]
        pair, order = torch.stack(pairs), torch.arange(len(cell))
        number = torch.cat([torch.full((t.shape[1],), i) for i, (t, _) in enumerate(self._tables)])
        first = torch.full((self.count,), len(cell)).scatter_reduce_(0, cell, order, "amin")
        known = pair[:, first[cell]]
        straight, crossed = (self._distinct(number, known, found) for found in (pair, pair.flip(0)))
        pair = torch.where((crossed < straight)[number], pair.flip(0), pair)
        own = (known == cell).any(0)
        for i in torch.unique(number[own]).tolist():
            mine = known[:, own & (number == i)]
            self.freeze(mine[mine != cell[own & (number == i)]], self._tables[i][1])
        factors[:, cell] = torch.where(own, FIXED, known)
        deep = factors.any(0)
        for _ in range(_DEPTH):
            deep = deep[factors].any(0)
        at = torch.nonzero(deep).flatten()
        edges = [torch.stack([known[i], pair[i]]) for i in (0, 1)]
        edges += [torch.stack([at, factors[i, at]]) for i in (0, 1)]
        conflicts = torch.cat(edges, 1)
        return factors, torch.unique(conflicts[:, conflicts[0] != conflicts[1]], dim=1)

    def _distinct(self, number: Tensor, known: Tensor, found: Tensor) -> Tensor:
        """How many different pairs of known and found factors each table holds."""
        pairs = [
            torch.unique(torch.stack([number, *both]), dim=1)[0] for both in zip(known, found, strict=True)
        ]
        return torch.bincount(torch.cat(pairs), minlength=len(self._tables))

    def _frozen_out(self, component: Tensor, factors: Tensor) -> Solution:
        """A frozen class freezes its factors; a class whose factors are all frozen is frozen too."""
        reasons: dict[int, Reason] = {}
        for ids, reason in self._frozen:
            for number in torch.unique(component[ids]).tolist():
                reasons.setdefault(number, reason)
        cells = torch.nonzero(factors.any(0)).flatten()
        for _ in range(_DEPTH):
            for cell, row, column in torch.stack([cells, *factors[:, cells]], 1).tolist():
                if cell in reasons:
                    reasons.setdefault(row, reasons[cell])
                    reasons.setdefault(column, reasons[cell])
                elif row in reasons and column in reasons:
                    reasons[cell] = reasons[row]
        root = component.clone()
        root[torch.isin(component, torch.tensor([FIXED, *reasons]))] = FIXED
        return Solution(root, component, factors, reasons)


def _columns(*ids: Tensor) -> Tensor:
    shape = np.broadcast_shapes(*(t.shape for t in ids))
    return torch.stack([t.expand(shape).reshape(-1) for t in ids])
