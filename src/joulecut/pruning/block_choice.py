"""Blocks chosen without a search: those that change least of what they read."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from joulecut.errors import UsageError
from joulecut.pruning.blocks import Removable, removable_blocks
from joulecut.workload.trace import Traced

__all__ = ["block_changes", "choose_blocks"]


def block_changes(traced: Traced, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """How much each residual block adds to what it reads: |output - input| / |input|, by its name.

    Norms are over all samples and elements (Men et al. 2024, "ShortGPT", arXiv:2403.03853, rank layers by
    how little they turn what they read; the norm of what is added counts a change of length, too). A block
    that reads only zeros has an infinite one.

    Args:
        traced: a captured network.
        inputs: samples, as the network takes them.
    """
    blocks = removable_blocks(traced)
    wanted = {name for block in blocks for name in (block.input, block.output)}
    watching = _Watching(traced.module, wanted)
    with torch.no_grad():
        watching.run(*inputs)
    return {block.name: _change(watching.seen, block) for block in blocks}


def choose_blocks(
    changes: dict[str, float],
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
) -> tuple[str, ...]:
    """The blocks that go, those that change least first; exactly one of the choices is given.

    Args:
        changes: as ``block_changes`` gives them.
        count: so many.
        share: at most that share of all blocks, 0 to 1.
        threshold: all that change less.

    Raises:
        UsageError: more than there are, or none is chosen.

    >>> choose_blocks({"a": 0.5, "b": 0.1, "c": 0.3}, count=2)
    ('b', 'c')
    >>> choose_blocks({"a": 0.5, "b": 0.1, "c": 0.3}, threshold=0.2)
    ('b',)
    """
    order = sorted(changes, key=lambda name: changes[name])
    if count is not None and count > len(order):
        raise UsageError(f"{count} blocks cannot go: the network has {len(order)} residual blocks.")
    if threshold is not None:
        chosen = [name for name in order if changes[name] < threshold]
    else:
        chosen = order[: count if count is not None else math.floor((share or 0.0) * len(order))]
    if not chosen:
        least = f", the least of which changes {changes[order[0]]:.3g} of what it reads" if order else ""
        raise UsageError(
            f"none of {len(order)} residual blocks is chosen{least}.",
            hint="Raise the share or the threshold.",
        )
    return tuple(chosen)


class _Watching(fx.Interpreter):
    """Keeps copies of some values, so that nothing overwrites them."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.names:
            self.seen[n.name] = value.clone()
        return value


def _change(seen: dict[str, Tensor], block: Removable) -> float:
    before, after = (seen[name].double() for name in (block.input, block.output))
    size = float(before.norm())
    return float((after - before).norm()) / size if size else math.inf
