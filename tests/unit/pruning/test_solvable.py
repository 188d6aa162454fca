"""The rows of each layer's problem: times the weight they must give what torch's own layer gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn

from joulecut.pruning.solvable import SolvableLayer, columns, sample_rows, solvable_layers, targets
from joulecut.workload.trace import trace

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.Conv1d(3, 4, 5, padding=2), (3, 11)),
    "1d stride dilation": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=3, groups=2), (4, 13)),
    "1d same, even": (lambda: nn.Conv1d(2, 3, 4, padding="same"), (2, 9)),
    "2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 7)),
    "2d oblong": (lambda: nn.Conv2d(3, 4, (5, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2)), (3, 9, 8)),
    "2d valid": (lambda: nn.Conv2d(3, 4, 3, padding="valid", bias=False), (3, 6, 6)),
    "2d same, dilated": (lambda: nn.Conv2d(3, 4, (2, 3), padding="same", dilation=2), (3, 6, 6)),
    "2d grouped": (lambda: nn.Conv2d(6, 9, 3, stride=2, padding=1, groups=3), (6, 7, 7)),
    "depthwise": (lambda: nn.Conv2d(5, 5, 3, padding=1, groups=5), (5, 6, 6)),
    "multiplier": (lambda: nn.Conv2d(5, 10, 3, padding=1, groups=5, bias=False), (5, 6, 6)),
    "3d": (lambda: nn.Conv3d(2, 3, (3, 2, 1), stride=(1, 2, 1), padding=(1, 0, 0)), (2, 4, 5, 3)),
    "linear": (lambda: nn.Linear(6, 5), (6,)),
    "linear on tokens": (lambda: nn.Linear(6, 5, bias=False), (4, 6)),
    "linear on a grid": (lambda: nn.Linear(6, 5), (3, 4, 6)),
}


def layer_of(model: nn.Module, x: Tensor) -> SolvableLayer:
    (layer,) = solvable_layers(trace(model, x[:1]).module).values()
    return layer


@pytest.mark.parametrize("cap", [10_000, 17])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_rows_times_weights_are_the_layers_own_output(name: str, cap: int) -> None:
    factory, shape = LAYERS[name]
    model: Any = build(factory)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    layer = layer_of(model, x)
    with torch.no_grad():
        value = model(x)
    linear = isinstance(model, nn.Linear)
    rows = sample_rows(value.shape, linear, cap)
    assert len(rows.sample) == min(cap, value.numel() // model.weight.shape[0])
    problem = columns(layer, x, tuple(value.shape[2:]), rows)
    groups = 1 if linear else model.groups
    weight = model.weight.detach().reshape(groups, model.weight.shape[0] // groups, -1)
    if model.bias is not None:
        weight = torch.cat([weight, model.bias.detach().reshape(groups, -1, 1)], 2)
        assert bool((problem[..., -1] == 1).all())
    found = torch.einsum("grc,goc->rgo", problem, weight).reshape(len(rows.sample), -1)
    assert relative(found, targets(value, rows, linear)) < 1e-5


def test_targets_are_the_values_at_their_place() -> None:
    """Sample 1, position 5 of a 2 x 3 x 4 map is row 1, column 1."""
    value = torch.arange(48.0).reshape(2, 2, 3, 4)
    rows = sample_rows(value.shape, False, 100)
    found = targets(value, rows, False)
    index = int(((rows.sample == 1) & (rows.position == 5)).nonzero())
    assert found[index].tolist() == [float(value[1, 0, 1, 1]), float(value[1, 1, 1, 1])]


def test_rows_are_chosen_once_for_one_number_of_positions() -> None:
    a, b = sample_rows((8, 3, 5, 5), False, 60), sample_rows((8, 9, 5, 5), False, 60)
    assert torch.equal(a.sample, b.sample)
    assert torch.equal(a.position, b.position)
    assert len(torch.unique(a.sample * 25 + a.position)) == 60


def test_knees_and_sums_are_read_off_the_graph() -> None:
    layers = solvable_layers(trace(build(EXACT["residual"].build), torch.zeros(1, 3, 8, 8)).module)
    assert list(layers) == ["conv2d", *(f"conv2d_{i}" for i in range(1, 6)), "linear"]
    assert [layer.weight for layer in layers.values()][-1] == "head.weight"

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Any:
            return self.c(nn.functional.relu6(self.a(x)) + self.b(x))

    found = solvable_layers(trace(build(Branches), torch.zeros(1, 4)).module)
    a, b, c = found.values()
    assert (a.low, a.high, a.sum_node) == (0.0, 6.0, "")
    assert b.sum_node
    assert "hardtanh" in b.other or "relu6" in b.other
    assert (c.low, c.sum_node) == (None, "")


def test_a_weight_that_two_layers_read_is_not_solved() -> None:
    module = trace(build(EXACT["called twice"].build), torch.zeros(1, 3, 6, 6)).module
    assert [layer.weight for layer in solvable_layers(module).values()] == ["stem.weight", "head.weight"]
