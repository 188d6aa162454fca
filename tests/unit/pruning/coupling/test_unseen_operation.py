"""An operation that the engine has never seen, at random places of random networks: never a wrong cut."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from joulecut.pruning.coupling import couple


@torch.library.custom_op("joulecut_tests::whirl", mutates_args=())
def whirl(x: Tensor) -> Tensor:
    """Every channel takes something of its neighbours."""
    return x + 0.3 * x.roll(1, 1) - 0.2 * x.flip(1).cumsum(1)


@whirl.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Random(nn.Module):
    """Convolutions, residual where the widths allow it, with the operation in some places."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        widths = [3, *(draw.choice([4, 6, 8]) for _ in range(5))]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.after = [draw.random() < 0.3 for _ in self.layers]
        self.adds = [draw.random() < 0.7 for _ in self.layers]
        self.head = nn.Linear(widths[-1], 3)

    def forward(self, x: Tensor) -> Any:
        for layer, unknown, adds in zip(self.layers, self.after, self.adds, strict=True):
            y = layer(x)
            y = whirl(y) if unknown else functional.silu(y)
            x = x + y if adds and x.shape == y.shape else y
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("seed", range(12))
def test_less_is_pruned_and_nothing_wrong(seed: int) -> None:
    torch.manual_seed(seed)
    model = Random(seed).double().eval()
    coupling = couple(model, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    touched = {r.path for r in coupling.refused() if r.op == "whirl"}
    for i, unknown in enumerate(model.after):
        assert not unknown or f"layers.{i}" in touched
    kept = {group.name: list(range(0, group.size, 2)) for group in coupling.all_groups()}
    with torch.no_grad():
        x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        cut = coupling.apply(kept)(x)
        for group in coupling.all_groups():
            gone = sorted(set(range(group.size)) - set(kept[group.name]))
            for part in group.of_role("reader"):
                model.get_parameter(part.parameter).index_fill_(part.dim, part.positions[gone].flatten(), 0)
        expected = model(x)
    assert float((cut - expected).abs().max()) < 1e-9 * float(expected.abs().max())
