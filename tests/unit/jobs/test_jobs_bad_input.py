"""Networks that cannot be cut: one sentence each, with what to do, from every public function that cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import joulecut as jc
from joulecut.errors import ModelError, TraceError, UsageError
from joulecut.pruning.recipe import Recipe

DEVICE = "reference/edge/float32"


class Branching(nn.Sequential):
    def forward(self, input: Tensor) -> Any:  # noqa: A002 - the name that Sequential gives it
        for layer in self:
            input = layer(input if input.sum() > 0 else -input)  # noqa: A001
        return input


def plain(kind: type[nn.Sequential] = nn.Sequential) -> nn.Module:
    return kind(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


ONE = torch.zeros(1, 4)
RECIPE = Recipe("net", "", "", "", 0, {}, {"0.weight": {"0": (1,)}}, inputs="1x4")
CUTS: dict[str, Callable[[nn.Module, Any], object]] = {
    "nodes": lambda model, example: jc.prune_nodes(model, example, "0", count=1, device=DEVICE),
    "blocks": lambda model, example: jc.remove_blocks(model, example, ["0"], device=DEVICE),
    "apply": lambda model, example: jc.apply(RECIPE, model, example),
}


@pytest.mark.parametrize("cut", sorted(CUTS))
@pytest.mark.parametrize(
    ("model", "example", "error", "says"),
    [
        (plain(Branching), ONE, TraceError, r"test_jobs_bad_input.py:\d+: .*data-dependent.* torch\.where"),
        (plain(), torch.zeros(1, 5), TraceError, "cannot capture Sequential.*Check that the network runs"),
        (plain().to("meta"), ONE, TraceError, r"several devices \(cpu, meta\)\. Move both to one device"),
        (plain(), ONE.to("meta"), TraceError, r"several devices \(cpu, meta\)\. Move both to one device"),
        (plain(), (ONE, ONE), UsageError, "takes input, and the example is 2 tensors"),
    ],
)
def test_networks_that_cannot_be_captured(
    cut: str, model: nn.Module, example: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as refused:
        CUTS[cut](model, example)
    assert "\n" not in str(refused.value)


def test_a_network_without_data_and_one_without_channels() -> None:
    with pytest.raises(ModelError, match=r"on the device meta, which holds no data"):
        jc.prune_nodes(plain().to("meta"), ONE.to("meta"), "0", count=1, device=DEVICE)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(
        UsageError, match="has no channel that can be removed: it is an output of the network"
    ):
        jc.prune_nodes(flat, ONE, "1", count=1, device=DEVICE)
