"""The refit: identity without a cut, exact where nothing is lost, better than none elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, random_kept, relative  # noqa: F401
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.settings import RefitSettings
from joulecut.workload.trace import trace

ALMOST_FREE = RefitSettings(ridge=1e-6)


def folded(model: nn.Module, shape: tuple[int, ...]) -> Network:
    return Network.whole(Coupling(fold(trace(model, torch.zeros(1, *shape)).module)[0]))


def samples(shape: tuple[int, ...], count: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def duplicated(name: str) -> nn.Module:
    """Channels 3 and 5 of the first group repeat channel 0 at other scales, in every layer they pass."""
    model = build(EXACT[name].build)
    coupling = Coupling(trace(model, torch.zeros(1, *EXACT[name].shape)).module)
    group = coupling.all_groups()[0]
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for part in group.slices:
            if part.role != "reader":
                for channel in (3, 5):
                    tensor = tensors[part.parameter]
                    tensor.index_copy_(
                        part.dim,
                        part.positions[channel],
                        tensor.index_select(part.dim, part.positions[0]),
                    )
        first = group.of_role("writer")
        scaled = first[0].parameter.removesuffix(".weight")
        if not any("running_mean" in key for key in tensors):  # through ReLU a positive scale passes
            for key in (f"{scaled}.weight", f"{scaled}.bias"):
                tensors[key][5] *= 2.5
    return model


@pytest.mark.parametrize(
    "name", ["residual", "separable", "dense concat", "flatten", "perceptron", "conv1d", "scaled"]
)
def test_without_a_cut_nothing_changes(name: str) -> None:
    network = folded(build(EXACT[name].build), EXACT[name].shape)
    x = samples(EXACT[name].shape, 300)
    again = refit(network, teach(network, x, RefitSettings()), RefitSettings())
    assert relative(again(x), network(x)) < 1e-3


@pytest.mark.parametrize("name", ["residual", "separable", "flatten", "perceptron", "conv1d", "conv3d"])
def test_channels_that_repeat_another_are_made_up_for_exactly(name: str) -> None:
    network = folded(duplicated(name), EXACT[name].shape)
    x = samples(EXACT[name].shape, 400)
    group = network.coupling.all_groups()[0]
    cut = network.cut(group, [3, 5])
    assert relative(cut(x), network(x)) > 0.015
    again = refit(cut, teach(network, x, ALMOST_FREE), ALMOST_FREE)
    assert relative(again(x), network(x)) < 2e-3
    unseen = torch.randn(50, *EXACT[name].shape, generator=torch.Generator().manual_seed(9))
    assert relative(again(unseen), network(unseen)) < 3e-3


def test_a_linear_combination_is_made_up_for_too() -> None:
    """Without an activation between, channel 4 = channel 0 - 2 x channel 2 can go from two readers."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3)

        def forward(self, x: Tensor) -> Any:
            x = self.a(x)
            return (self.b(x).relu() - self.c(x).sigmoid()).mean((2, 3))

    model: Any = build(Plain)
    with torch.no_grad():
        model.a.weight[4] = model.a.weight[0] - 2 * model.a.weight[2]
        model.a.bias[4] = model.a.bias[0] - 2 * model.a.bias[2]
    network = folded(model, (3, 7, 7))
    x = samples((3, 7, 7), 200)
    cut = network.cut(network.coupling.all_groups()[0], [4])
    again = refit(cut, teach(network, x, ALMOST_FREE), ALMOST_FREE)
    assert relative(cut(x), network(x)) > 0.02
    assert relative(again(x), network(x)) < 1e-3


def test_the_second_branch_makes_up_for_the_first() -> None:
    """Of two linear branches that are summed, one loses half its hidden channels; the other sees the same
    input and, solved against the sum, takes over all that is missing.
    """

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.skip, self.head = (
                nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(8, 5), nn.Linear(5, 3),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Any:
            return self.head((self.b(self.a(x)) + self.skip(x)).relu())

    network = folded(build(Branches), (8,))
    x = samples((8,), 300)
    group = next(g for g in network.coupling.all_groups() if g.name == "a")
    cut = network.cut(group, [0, 2, 4])
    assert relative(cut(x), network(x)) > 0.1
    again = refit(cut, teach(network, x, ALMOST_FREE), ALMOST_FREE)
    assert relative(again(x), network(x)) < 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["residual", "separable", "dense concat", "attention", "flatten", "conv1d", "scaled"]
)
def test_a_refit_is_better_than_none(name: str, seed: int) -> None:
    network = folded(build(EXACT[name].build, seed), EXACT[name].shape)
    x = samples(EXACT[name].shape, 400)
    kept = random_kept(network.coupling, seed)
    cut = network
    for group in network.coupling.all_groups():
        keep = max(group.size // 2, len(kept[group.name]))
        cut = cut.cut(group, [c for c in range(group.size) if c not in kept[group.name]][: group.size - keep])
    again = refit(cut, teach(network, x, RefitSettings()), RefitSettings())
    unseen = torch.randn(200, *EXACT[name].shape, generator=torch.Generator().manual_seed(9))
    error = [float((net(unseen) - network(unseen)).pow(2).mean()) for net in (again, cut)]
    assert error[0] < 0.7 * error[1]
