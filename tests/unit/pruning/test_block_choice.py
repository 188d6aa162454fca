"""Blocks by how little they change what they read."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from joulecut.errors import UsageError
from joulecut.pruning.block_choice import block_changes, choose_blocks
from joulecut.workload.trace import trace


class Doubling(nn.Linear):
    """Adds as much as it reads, in place."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        out += x
        return out


def test_the_change_is_of_what_is_read_even_where_it_is_written_over() -> None:
    model = nn.Sequential(nn.Linear(3, 2), Doubling(2, 2, bias=False), nn.Linear(2, 3))
    model[1].weight.data = torch.diag(torch.tensor([3.0, 4.0]))
    model[0].weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    model[0].bias.data.zero_()
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
