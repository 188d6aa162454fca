"""Gains brought near one, filters near two: the function stays; where a scale is fixed, so does the gain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.benchmarks.training import set_training
from joulecut.pruning.folding import folded_pairs
from joulecut.pruning.scales import even_scales
from joulecut.workload.trace import trace

LOW, HIGH = 2**-0.5 - 1e-6, 2**0.5 + 1e-6
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def uneven(model: nn.Module, seed: int = 0) -> nn.Module:
    """Gains between 1/16 and 4, and filters of norms between 1/8 and 8."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, BATCH_NORMS) and weight is not None:
                weight.copy_(2.0 ** (6 * torch.rand(weight.shape, generator=generator) - 4))
            elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and weight is not None:
                power = 6 * torch.rand(len(weight), generator=generator) - 3
                weight.mul_(2.0 ** power.reshape(-1, *[1] * (weight.ndim - 1)))
    return model


def samples(shape: tuple[int, ...], count: int = 16) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def evened(model: nn.Module, x: Tensor) -> Any:
    module = trace(model, x[:1]).module
    even_scales(module, folded_pairs(module))
    return module


@pytest.mark.parametrize("name", ["residual", "separable", "perceptron", "conv1d", "conv3d", "flatten"])
def test_the_network_evaluates_and_trains_to_the_same(name: str) -> None:
    model, x = uneven(build(EXACT[name].build)), samples(EXACT[name].shape)
    with torch.no_grad():
        assert relative(evened(model, x)(x), model(x)) < 1e-5
        for norm in (norm for norm in model.modules() if isinstance(norm, BATCH_NORMS)):
            norm.eps = 1e-12  # that alone does not scale along where a batch sets the variance
        module, untouched = evened(model, x), trace(model, x[:1]).module
        for network in (module, untouched):
            set_training(network, True)
        assert relative(module(x), untouched(x)) < 1e-4


@pytest.mark.parametrize("name", ["residual", "separable"])
def test_every_filter_and_every_gain_that_can_move_is_near_one(name: str) -> None:
    model, x = uneven(build(EXACT[name].build)), samples(EXACT[name].shape)
    module = evened(model, x)
    for pair in folded_pairs(module):
        norms = module.get_parameter(pair.weight).detach().flatten(1).norm(dim=1)
        assert float(norms.min()) >= 2 * LOW
        assert float(norms.max()) <= 2 * HIGH
    names = [name for name, part in model.named_modules() if isinstance(part, BATCH_NORMS)]
    gains = {name: module.get_parameter(f"{name}.weight").detach() for name in names}
    sums = [("bn0", "bnb"), ("bnd", "bns")] if name == "residual" else []
    alone = set(gains) - {norm for pair in sums for norm in pair}
    for gain in [gains[n] for n in alone] + [((gains[a] ** 2 + gains[b] ** 2) / 2).sqrt() for a, b in sums]:
        assert float(gain.min()) >= 0.99 * LOW  # a norm's epsilon moves a gain a little
        assert float(gain.max()) <= 1.01 * HIGH


class Two(nn.Module):
    """A layer with a batch norm, something between, and a layer that reads it."""

    def __init__(self, between: Callable[[Tensor], Tensor], groups: int = 1) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.second = nn.Conv2d(2, 2, 1, groups=groups)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.between(self.norm(self.first(x))))
        return y


def two(between: Callable[[Tensor], Tensor], groups: int = 1) -> nn.Module:
    """Gains 1/8 and 3, filters of norm two, a second layer of known weights."""
    model = Two(between, groups).eval()
    with torch.no_grad():
        model.first.weight.copy_(torch.tensor([2.0, -2.0]).reshape(2, 1, 1, 1))
        model.norm.weight.copy_(torch.tensor([0.125, 3.0]))
        model.norm.bias.copy_(torch.tensor([0.5, 1.0]))
        values = [3.0, 5.0] if groups == 2 else [1.0, 2.0, 3.0, 4.0]
        model.second.weight.copy_(torch.tensor(values).reshape(2, -1, 1, 1))
    return model


THROUGH = {
    "nothing": lambda x: x,
    "relu": functional.relu,
    "leaky": lambda x: functional.leaky_relu(x, 0.1),
    "pool": lambda x: functional.max_pool2d(functional.avg_pool2d(x, 2), 2),
    "zeros around": lambda x: functional.pad(x, (1, 0, 0, 1)),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "doubled": lambda x: functional.relu(x) + x,
}


@pytest.mark.parametrize("between", THROUGH.values(), ids=THROUGH)
def test_a_factor_moves_by_hand_and_rounds_nothing(between: Callable[[Tensor], Tensor]) -> None:
    model, x = two(between), samples((1, 4, 4))
    module = evened(model, x)
    # 1/8 takes 8 and becomes 1; 3 takes a quarter (log2 3 = 1.58) and becomes 3/4
    assert module.get_parameter("norm.weight").tolist() == [1.0, 0.75]
    assert module.get_parameter("norm.bias").tolist() == [4.0, 0.25]
    assert module.get_parameter("second.weight").flatten().tolist() == [0.125, 8.0, 0.375, 16.0]
    assert module.get_parameter("first.weight").flatten().tolist() == [2.0, -2.0]
    with torch.no_grad():
        assert torch.equal(module(x), model(x))


def test_a_depthwise_reader_takes_the_factor_of_its_channel() -> None:
    model, x = two(functional.relu, groups=2), samples((1, 4, 4))
    module = evened(model, x)
    assert module.get_parameter("second.weight").flatten().tolist() == [0.375, 20.0]
    with torch.no_grad():
        assert torch.equal(module(x), model(x))


FIXED = {
    "sigmoid": torch.sigmoid,
    "relu6": functional.relu6,
    "ones around": lambda x: functional.pad(x, (1, 1, 1, 1), value=1.0),
    "a number added": lambda x: x + 1.0,
    "channels added up": lambda x: x + x.sum(1, keepdim=True),
    "channels swapped": lambda x: x.flip(1),
    "a product": lambda x: x * x.mean((2, 3), keepdim=True),
    "the mean of channels": lambda x: x - x.mean(1, keepdim=True),
}


@pytest.mark.parametrize("between", FIXED.values(), ids=FIXED)
def test_gains_stay_where_something_fixes_the_scale(between: Callable[[Tensor], Tensor]) -> None:
    module = evened(two(between), samples((1, 4, 4)))
    assert module.get_parameter("norm.weight").tolist() == [0.125, 3.0]
    assert module.get_parameter("second.weight").flatten().tolist() == [1.0, 2.0, 3.0, 4.0]


class Flattened(nn.Module):
    """A linear layer reads pooled channels through a view whose size the graph computes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.adaptive_avg_pool2d(functional.relu(self.norm(self.first(x))), 1)
        logits: Tensor = self.last(y.view(x.shape[0], -1))
        return logits


def test_a_view_of_one_position_lets_factors_through() -> None:
    model, x = uneven(build(Flattened)), samples((2, 4, 4))
    module = evened(model, x)
    gain = module.get_parameter("norm.weight").detach()
    assert float(gain.min()) >= 0.99 * LOW
    assert float(gain.max()) <= 1.01 * HIGH
    with torch.no_grad():
        assert relative(module(x), model(x)) < 1e-5


class Shared(nn.Module):
    """The layer that reads also reads something else; or the network gives the value out."""

    def __init__(self, *, out: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.second, self.out = nn.Conv2d(2, 2, 1), out

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.first(x))
        return (self.second(y), y) if self.out else self.second(y) + self.second(x)


@pytest.mark.parametrize("out", [False, True])
def test_gains_stay_where_the_value_or_its_reader_is_needed_elsewhere(out: bool) -> None:
    model, x = uneven(build(lambda: Shared(out=out))), samples((2, 4, 4))
    module = evened(model, x)
    assert torch.equal(module.get_parameter("second.weight"), model.get_parameter("second.weight"))
    with torch.no_grad():
        found, wanted = module(x), model(x)
    assert relative(found[0], wanted[0]) < 1e-5


def test_a_filter_of_zeros_and_a_norm_without_gain_stay_as_they_are() -> None:
    layers = [nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1)]
    model = build(lambda: nn.Sequential(*layers, nn.BatchNorm2d(4, affine=False)))
    x = samples((2, 4, 4))
    with torch.no_grad():
        model.get_parameter("0.weight")[1] = 0.0
        model.get_parameter("3.weight").mul_(64)
    module = evened(model, x)
    assert not module.get_parameter("0.weight")[1].any()
    assert float(module.get_parameter("3.weight").detach().norm()) > 16
    with torch.no_grad():
        found = module(x)
        assert torch.isfinite(found).all()
        assert relative(found, model(x)) < 1e-5
