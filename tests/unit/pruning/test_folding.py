"""Batch norm folded, unfolded and recalibrated; in-place operations replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn

from joulecut.benchmarks.training import set_training
from joulecut.errors import ModelError
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold, folded_pairs, unfold
from joulecut.pruning.inplace import out_of_place
from joulecut.pruning.network import Network
from joulecut.pruning.recover import matched_moments, output_moments, recalibrated
from joulecut.workload.trace import trace

NORMS = {"residual": 6, "separable": 3, "dense concat": 0, "depth multiplier": 1, "conv1d": 1, "conv3d": 1}
NORMS |= {"perceptron": 2, "transposed": 0, "flatten": 1}


def samples(shape: tuple[int, ...], count: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_folded_network_gives_the_same_and_its_norms_are_gone(name: str) -> None:
    model, x = build(EXACT[name].build), samples(EXACT[name].shape)
    module = trace(model, x[:1]).module
    folded, pairs = fold(module)
    assert len(pairs) == NORMS[name]
    left = sum("batch_norm" in str(node.target) for node in folded.graph.nodes)
    assert left == sum("batch_norm" in str(node.target) for node in module.graph.nodes) - len(pairs)
    with torch.no_grad():
        assert relative(folded(x), model(x)) < 1e-5


@pytest.mark.parametrize("name", ["residual", "separable", "perceptron", "conv1d", "conv3d"])
def test_unfolding_any_weights_evaluates_to_the_folded_map_and_trains_from_fitting_statistics(
    name: str,
) -> None:
    model, x = build(EXACT[name].build), samples(EXACT[name].shape, 256)
    module = trace(model, x[:1]).module
    folded, pairs = fold(module)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # other weights than those that the norms would give
        for pair in pairs:
            for path in (pair.weight, pair.bias):
                weight = folded.get_parameter(path)
                weight.add_(0.5 * weight.abs().mean() * torch.randn(weight.shape, generator=generator))
    moments = output_moments(Network.whole(Coupling(folded)), x, frozenset(pair.layer for pair in pairs))
    for pair in pairs:
        weight, bias = folded.get_parameter(pair.weight), folded.get_parameter(pair.bias)
        unfold(module, pair, weight, bias, *moments[pair.layer])
    with torch.no_grad():
        expected = folded(x)
        assert relative(module(x), expected) < 1e-5
        set_training(module, True)
        assert relative(module(x), expected) < 0.02
        assert relative(module(x), model(x)) > 0.05


def test_a_norm_without_gain_and_shift_unfolds_too() -> None:
    model = build(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.ReLU()))
    x = samples((3, 5, 5))
    module = trace(model, x[:1]).module
    folded, (pair,) = fold(module)
    moments = output_moments(Network.whole(Coupling(folded)), x, frozenset([pair.layer]))
    weight, bias = folded.get_parameter(pair.weight), folded.get_parameter(pair.bias)
    unfold(module, pair, weight, bias, *moments[pair.layer])
    with torch.no_grad():
        assert relative(module(x), model(x)) < 1e-5


class SharedNorm(nn.Module):
    """One norm behind two layers cannot be part of either."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.b(self.norm(self.a(x)).relu())).mean((2, 3))


def test_a_norm_behind_two_layers_stays_and_keeps_its_statistics() -> None:
    model, x = build(SharedNorm), samples((2, 3, 3))
    module = trace(model, x[:1]).module
    folded, pairs = fold(module)
    assert pairs == ()
    with torch.no_grad():
        assert relative(folded(x), model(x)) < 1e-5
        assert relative(recalibrated(module, x)(x), model(x)) < 1e-6


class BiasOfItsOwn(nn.Module):
    """A bias beside a layer without one, under the name that the layer's own would have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 2, 1, 1)), nn.Parameter(torch.randn(4))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(torch.conv2d(x, self.weight))
        return x.mean((2, 3)) * self.bias


def test_a_folded_bias_takes_no_name_that_is_in_use() -> None:
    model, x = build(BiasOfItsOwn), samples((2, 3, 3))
    folded, pairs = fold(trace(model, x[:1]).module)
    assert len(pairs) == 1
    with torch.no_grad():
        assert relative(folded(x), model(x)) < 1e-5


def test_recalibration_is_what_one_training_batch_of_all_samples_would_set() -> None:
    model, x = build(EXACT["residual"].build), samples((3, 8, 8), 64) * 2 + 1
    found = recalibrated(trace(model, x[:1]).module, x)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(x)
    model.eval()
    counts = {"bn0": 64, "bna": 64, "bnb": 64, "bnc": 16, "bnd": 16, "bns": 16}
    for path, positions in counts.items():
        n = 64 * positions  # torch keeps the unbiased variance
        torch.testing.assert_close(
            found.get_buffer(f"{path}.running_mean"),
            model.get_buffer(f"{path}.running_mean"),
            rtol=1e-4,
            atol=1e-5,
        )
        torch.testing.assert_close(
            found.get_buffer(f"{path}.running_var"),
            model.get_buffer(f"{path}.running_var") * (n - 1) / n,
            rtol=1e-4,
            atol=1e-5,
        )


def test_matched_moments_are_those_of_the_original() -> None:
    x = samples((3, 8, 8), 64)
    folded, pairs = fold(trace(build(EXACT["residual"].build), x[:1]).module)
    network = Network.whole(Coupling(folded))
    layers = frozenset(pair.layer for pair in pairs)
    original = output_moments(network, x, layers)
    bent = network.with_weights({pair.weight: network.weights[pair.weight] * 0.8 for pair in pairs})
    found = output_moments(matched_moments(bent, x, pairs, original), x, layers)
    for layer in layers:
        torch.testing.assert_close(found[layer][0], original[layer][0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found[layer][1], original[layer][1], rtol=1e-3, atol=1e-4)


class Overwrites(nn.Module):
    """Reads a value under its old name after an operation has overwritten it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        y.relu_()
        y.mul_(2).add_(1)
        return self.b(y) + self.b(self.a(torch.tanh_(x)))


class OverwritesView(nn.Module):
    """Reads the whole after a part was overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        y.t().mul_(2.0)
        return self.b(y)


class OverwritesSlices(nn.Module):
    """Writes into slices of slices, at an index, and into a part that was written before."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        y[:, 1:][:, :3].mul_(2.0)
        y[:, -1] = 0.5
        y[:, :2].relu_()
        return self.b(y)


def test_in_place_operations_are_replaced_and_later_readers_follow() -> None:
    model, x = build(Overwrites), samples((4,))
    module = trace(model, x[:1]).module
    out_of_place(module)
    names = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    assert not [name for name in names if name.split(".")[1].endswith("_")]
    before = x.clone()
    with torch.no_grad():
        found = module(x)
        assert torch.equal(x, before)
        assert torch.equal(found, model(x))


def test_what_is_written_into_slices_is_put_back_into_the_whole() -> None:
    model, x = build(OverwritesSlices), samples((4,))
    module = fold(trace(model, x[:1]).module)[0]
    with torch.no_grad():
        assert torch.equal(module(x), model(x))
    coupling = Coupling(module)
    places = [group.slices[0].positions.flatten().tolist() for group in coupling.all_groups()]
    assert places == [[0], [1], [2, 3], [4]]  # each with its own slices around it; the last is a constant
    small = Network.whole(coupling).cut(coupling.all_groups()[2], [1])
    with torch.no_grad():
        model.get_parameter("b.weight")[:, 3] = 0.0
        assert relative(small(x), model(x)) < 1e-6


def test_a_view_written_in_place_is_refused_with_its_line() -> None:
    line = OverwritesView.forward.__code__.co_firstlineno + 2
    with pytest.raises(ModelError, match=rf"mul_ at test_folding\.py:{line} writes into a value"):
        fold(trace(build(OverwritesView), torch.zeros(1, 4)).module)


def test_pairs_need_a_norm_in_evaluation() -> None:
    module = trace(build(EXACT["separable"].build), torch.zeros(1, 1, 10, 10)).module
    set_training(module, True)
    assert folded_pairs(module) == ()
