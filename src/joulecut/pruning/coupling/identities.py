"""Channel identities: integers that say which slices of which tensors must live or die together.

Every channel of every weight gets a fresh identity. Operations unite identities (a residual add unites
the channels of its operands) or freeze them, with a reason (the model's output cannot lose a channel).
All couplings are solved in one connected-components call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

__all__ = ["FIXED", "Identities", "Reason", "Solution"]

FIXED = 0
"""The identity of everything that is no channel or must stay."""


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
        reasons: the first reason of each frozen class, by the class number it would have had.
        component: class of each identity whether frozen or not.
    """

    root: Tensor
    component: Tensor
    reasons: dict[int, Reason]


class Identities:
    """A growing pool of identities and couplings."""

    def __init__(self) -> None:
        self.count = 1
        self._edges: list[Tensor] = []
        self._frozen: list[tuple[Tensor, Reason]] = []
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
        shape = np.broadcast_shapes(a.shape, b.shape)
        edges = torch.stack([a.expand(shape).reshape(-1), b.expand(shape).reshape(-1)])
        edges = torch.unique(edges[:, edges[0] != edges[1]], dim=1)
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

    def solve(self) -> Solution:
        """Classes of identities that go together (cached until something is added)."""
        if self._solution is None:
            self._solution = self._solved()
        return self._solution

    def _solved(self) -> Solution:
        edges = torch.cat(self._edges, 1) if self._edges else torch.zeros((2, 0), dtype=torch.long)
        pairs = edges.numpy()
        graph = coo_array(
            (np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(self.count, self.count)
        )
        labels = connected_components(graph, directed=False)[1]
        first = np.full(int(labels.max()) + 1, self.count, dtype=np.int64)
        np.minimum.at(first, labels, np.arange(self.count))
        component = torch.from_numpy(first[labels])
        reasons: dict[int, Reason] = {}
        for ids, reason in self._frozen:
            for number in torch.unique(component[ids]).tolist():
                reasons.setdefault(number, reason)
        root = component.clone()
        if reasons:
            root[torch.isin(component, torch.tensor(sorted(reasons)))] = FIXED
        return Solution(root, component, reasons)
