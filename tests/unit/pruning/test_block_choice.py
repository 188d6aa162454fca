"""Blocks by how little they change what they read."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import UsageError
from joulecut.pruning.block_choice import block_changes, choose_blocks
from joulecut.workload.trace import trace


class Doubling(nn.Module):
    """Adds as much as it reads, in place."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.linear(x, self.weight)
        out += x
        return out


def test_the_change_is_of_what_is_read_even_where_it_is_written_over() -> None:
    first = nn.Linear(3, 2)
    first.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    first.bias.data.zero_()
    doubling = Doubling(torch.diag(torch.tensor([3.0, 4.0])))
    model = nn.Sequential(first, doubling, nn.Linear(2, 3))
    x = torch.tensor([[1.0, 1.0, 0.0]])
    assert block_changes(trace(model, x), (x,)) == {"1": pytest.approx(5 / math.sqrt(2))}
    assert block_changes(trace(model, x), (0 * x,)) == {"1": math.inf}


def test_choices_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="3 blocks cannot go: the network has 2"):
        choose_blocks({"a": 0.5, "b": 0.1}, count=3)
    with pytest.raises(
        UsageError, match=r"none of 2 residual blocks is chosen, the least of which changes 0\.1"
    ):
        choose_blocks({"a": 0.5, "b": 0.1}, threshold=0.05)
    with pytest.raises(UsageError, match="none of 0 residual blocks"):
        choose_blocks({}, share=0.5)
