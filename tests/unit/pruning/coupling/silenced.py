"""The reference that cuts are held to, run on the graph of the network at its full size."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from joulecut.pruning.coupling import Coupling
from joulecut.pruning.coupling.cut import retargeted
from joulecut.workload.trace import operation

__all__ = ["Silenced", "random_kept"]

SUMS = re.compile(
    r"linear|mm|bmm|mv|addmm|baddbmm|matmul|einsum|conv\w+|scaled_dot_product_attention|lstm|gru|rnn_\w+"
    r"|sum|nansum|norm|linalg_vector_norm"
)
"""Operations that sum over channels of what they read."""


def random_kept(coupling: Coupling, seed: int) -> dict[str, list[int]]:
    """Between one channel and all but one of every group."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in coupling.all_groups():
        count = int(torch.randint(1, group.size, (1,), generator=generator))
        kept[group.name] = sorted(torch.randperm(group.size, generator=generator)[:count].tolist())
    return kept


class Silenced(fx.Interpreter):
    """The original at its full size: what sums over removed channels reads zeros there.

    A norm, a mean or a softmax over removed channels runs over the kept ones alone.
    """

    def __init__(self, coupling: Coupling, kept: dict[str, list[int]]) -> None:
        super().__init__(coupling.module)
        self.alive, self.cutter = coupling.alive(kept), coupling.cutter
        self.over = {op for group in coupling.all_groups() for op in group.inexact.split(", ")}
        self.columns: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for group in coupling.all_groups():
            gone = ~self.alive[group.classes]
            for part in group.of_role("reader"):
                self.columns[part.parameter].append((part.dim, part.positions[gone].flatten()))

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "get_attr" and n.target in self.columns:
            value = super().run_node(n).clone()
            for dim, at in self.columns[str(n.target)]:
                value.index_fill_(dim, at, 0.0)
            return value
        if n.op == "call_function" and operation(n) in self.over:
            target, args, kwargs = retargeted(n, self.cutter.arguments(n, self.alive))
            args, kwargs = map_arg((args, kwargs), lambda x: self.cut(x, self.env[x]))
            return self.spread(n, target(*args, **kwargs))
        if n.op == "call_function":
            args, kwargs = map_arg((n.args, dict(n.kwargs)), lambda x: self.read(n, x))
            return n.target(*args, **kwargs)  # type: ignore[operator]
        return super().run_node(n)

    def read(self, node: fx.Node, value: fx.Node) -> Any:
        found = self.env[value]
        if isinstance(found, Tensor) and SUMS.fullmatch(operation(node)):
            for dim, mask in enumerate(self.cutter.value_masks(value, self.alive)):
                if not mask.all():
                    found = found * mask.reshape([-1 if d == dim else 1 for d in range(found.ndim)])
        return found

    def cut(self, node: fx.Node, value: Any) -> Any:
        if isinstance(value, Tensor):
            for dim, mask in enumerate(self.cutter.value_masks(node, self.alive)):
                if not mask.all():
                    value = value.index_select(dim, mask.nonzero().flatten())
        return value

    def spread(self, node: fx.Node, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            raise NotImplementedError(node.name)
        for dim, mask in enumerate(self.cutter.value_masks(node, self.alive)):
            if not mask.all():
                full = value.new_zeros([len(mask) if d == dim else n for d, n in enumerate(value.shape)])
                value = full.index_copy(dim, mask.nonzero().flatten(), value)
        return value
