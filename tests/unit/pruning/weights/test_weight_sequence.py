"""Masks in the sequential refit: what is masked stays zero, and the rest makes up for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.refit import Teacher, refit, teach
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.weights.sequence import reapply, solved_in_order, zero_masks
from joulecut.workload.trace import trace

SETTINGS = RefitSettings(rows=2000, ridge=1e-6, passes=1)


class Mixed(nn.Module):
    """A residual sum, a depthwise and a grouped convolution, a strided one and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=2, stride=2)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.b(self.a(x).relu())).relu()
        x = self.grouped(self.deep(x)).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    model = Mixed().eval()
    model.get_buffer("norm.running_var").uniform_(0.5, 2.0)
    return Network.whole(Coupling(fold(trace(model, torch.zeros(1, 2, 6, 6)).module)[0]))


@pytest.fixture(scope="module")
def teacher(network: Network) -> Teacher:
    return teach(network, inputs(256), SETTINGS)


def inputs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def random_masks(network: Network, teacher: Teacher) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        layer.weight: torch.rand(network.weights[layer.weight].shape, generator=generator) > 0.4
        for layer in teacher.layers.values()
    }


def distance(network: Network, other: Network) -> float:
    x = inputs(200, seed=9)
    return float((network(x) - other(x)).square().mean())


def test_without_masks_nothing_changes(network: Network, teacher: Teacher) -> None:
    again = reapply(network, {}, teacher, SETTINGS)
    assert distance(again, network) < 1e-6 * float(network(inputs(200, seed=9)).square().mean())
    assert zero_masks(network, teacher.layers) == {}
    for name, tensor in again.weights.items():
        assert tensor.shape == network.weights[name].shape
        assert tensor.stride() == network.weights[name].stride()


def test_masks_hold_in_every_kind_of_layer_and_the_rest_makes_up(network: Network, teacher: Teacher) -> None:
    masks = random_masks(network, teacher)
    assert len(masks) == 6
    zeroed = network.with_weights({name: network.weights[name] * keep for name, keep in masks.items()})
    solved = reapply(zeroed, masks, teacher, SETTINGS)
    assert all(bool((solved.weights[name][~keep] == 0).all()) for name, keep in masks.items())
    assert all(torch.equal(keep, masks[name]) for name, keep in zero_masks(solved, teacher.layers).items())
    assert distance(solved, network) < 0.3 * distance(zeroed, network)


def test_a_refit_fills_zeros_and_reapplying_the_masks_empties_them(
    network: Network, teacher: Teacher
) -> None:
    masks = random_masks(network, teacher)
    zeroed = network.with_weights({name: network.weights[name] * keep for name, keep in masks.items()})
    filled = refit(zeroed, teacher, SETTINGS)
    assert set(zero_masks(filled, teacher.layers)) <= {"head.weight"}, "behind a channel that is always 0"
    again = reapply(filled, zero_masks(zeroed, teacher.layers), teacher, SETTINGS)
    assert set(zero_masks(again, teacher.layers)) == set(masks)
    assert distance(again, network) < distance(zeroed, network)


def test_masks_go_with_the_channels_that_a_cut_takes(network: Network, teacher: Teacher) -> None:
    masks = random_masks(network, teacher)
    zeroed = network.with_weights({name: network.weights[name] * keep for name, keep in masks.items()})
    group = next(g for g in network.coupling.all_groups() if any(p.parameter == "a.weight" for p in g.slices))
    cut = zeroed.cut(group, [1, 4])
    found = zero_masks(cut, teacher.layers)
    for name, keep in found.items():
        assert keep.shape == cut.weights[name].shape
    solved = reapply(cut, found, teacher, SETTINGS)
    assert all(bool((solved.weights[name][~keep] == 0).all()) for name, keep in found.items())
    assert distance(solved, network) < distance(cut, network)


def test_a_mask_is_chosen_on_what_the_layer_really_receives(network: Network, teacher: Teacher) -> None:
    """The chooser of a later layer sees the Gram of inputs that earlier zeros have changed."""
    seen: dict[str, Tensor] = {}

    def choose(layer: object, shape: object, problem: object) -> Tensor | None:
        name = layer.node  # type: ignore[attr-defined]
        seen[name] = problem.gram.xx  # type: ignore[attr-defined]
        if name == "conv2d":
            return torch.zeros(8, 2, 9, dtype=torch.bool)
        return None

    solved = solved_in_order(network, teacher, SETTINGS, choose)
    assert bool((solved.weights["stem.weight"] == 0).all())
    whole: dict[str, Tensor] = {}

    def watch(layer: object, shape: object, problem: object) -> None:
        whole[layer.node] = problem.gram.xx  # type: ignore[attr-defined]

    solved_in_order(network, teacher, SETTINGS, watch)
    assert torch.equal(seen["conv2d"], whole["conv2d"])
    assert not torch.allclose(seen["conv2d_1"], whole["conv2d_1"])
