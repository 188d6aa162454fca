"""OBS costs and joint elimination, against least squares solved from scratch without the channels."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.elimination import readers
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.obs import Moments, eliminate, measure_moments, removal_costs
from joulecut.pruning.solvable import solvable_layers
from joulecut.workload.trace import trace


def whole(name: str, samples: int = 64) -> tuple[Network, Tensor]:
    shape = EXACT[name].shape
    x = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(3))
    graph = trace(build(EXACT[name].build), x[:1])
    return Network.whole(Coupling(fold(graph.module)[0])), x


def loss_without(network: Network, group: Group, moments: Moments, gone: list[int]) -> float:
    """1/2 tr(S D A D'), D the change of weights when the readers are solved anew without some channels."""
    layers = solvable_layers(network.coupling.module)
    total = 0.0
    for layer, index in readers(group, layers):
        weight = network.weights[layer.weight]
        w = weight.reshape(len(weight), -1).double()
        if layer.bias:
            w = torch.cat([w, network.weights[layer.bias].double()[:, None]], 1)
        taps = weight[0, 0].numel()
        at = group.slices[index].positions[gone].flatten()
        columns = (at[:, None] * taps + torch.arange(taps)).flatten()
        stays = torch.ones(w.shape[1], dtype=torch.bool)
        stays[columns] = False
        gram = moments.grams[layer.node]
        a = gram.xx[0] + torch.diag(gram.penalty(1e-3)[0])
        refitted = torch.zeros_like(w)
        refitted[:, stays] = torch.linalg.solve(a[stays][:, stays], a[stays] @ w.T).T
        change = w - refitted
        root = moments.roots[layer.node]
        total += 0.5 * float(torch.trace(root @ root.T @ change @ a @ change.T))
    return total


@pytest.mark.parametrize("name", ["residual", "separable", "dense concat", "flatten", "conv1d", "perceptron"])
def test_costs_are_those_of_least_squares_without_the_channels(name: str) -> None:
    network, x = whole(name)
    layers = solvable_layers(network.coupling.module)
    moments = measure_moments(network, x, gradient_samples=512, seed=0)
    alone = removal_costs(network, x, seed=0)
    for group in network.coupling.all_groups():
        expected = [loss_without(network, group, moments, [c]) for c in range(group.size)]
        assert alone[group.name].tolist() == pytest.approx(expected, rel=1e-3)
        blocks = list(eliminate(network, group, layers, moments, 2))
        gone: list[int] = []
        total = 0.0
        for block in blocks:
            gone += block.channels
            total += block.cost
            assert total == pytest.approx(loss_without(network, group, moments, gone), rel=1e-3)
        assert blocks[0].channels == tuple(
            sorted(torch.tensor(expected).argsort()[: len(blocks[0].channels)].tolist())
        )
        assert len(gone) == len(set(gone))
        assert 1 <= group.size - len(gone) <= 2


def test_the_root_is_that_of_the_gradient_covariance() -> None:
    """At the logits the gradient is p - y; drawn labels give the covariance diag(p) - p p' on average."""
    network, x = whole("perceptron", 512)
    layers = solvable_layers(network.coupling.module)
    last = list(layers)[-1]
    draws = [measure_moments(network, x, gradient_samples=512, seed=s).roots[last] for s in range(40)]
    found = torch.stack([root @ root.T for root in draws]).mean(0)
    p = network(x).softmax(1).double()
    assert found == pytest.approx((torch.diag(p.mean(0)) - p.T @ p / len(p)), abs=4e-3)


def test_streamed_grams_are_those_of_all_rows() -> None:
    network, x = whole("perceptron", 300)
    assert len(x) > 256  # two batches
    first = next(iter(solvable_layers(network.coupling.module)))
    assert first not in measure_moments(network, x, gradient_samples=8, seed=0).grams  # it reads the input
    name = list(solvable_layers(network.coupling.module))[1]
    hidden = torch.relu(x @ network.weights["0.weight"].T + network.weights["0.bias"]).double()
    gram = measure_moments(network, x, gradient_samples=8, seed=0).grams[name].xx[0]
    assert gram[:16, :16] == pytest.approx(hidden.T @ hidden / 300, rel=1e-4, abs=1e-6)


def test_groups_that_no_dense_layer_reads_have_the_cost_of_their_gates() -> None:
    """The first layer of a grouped convolution is read group by group."""
    network, x = whole("grouped")
    assert not readers(network.coupling.all_groups()[0], solvable_layers(network.coupling.module))
    costs = removal_costs(network, x, seed=0)
    assert set(costs) == {"0", "2"}
    assert bool((costs["0"] > 0).all())


def test_hundreds_of_removals_among_channels_that_say_the_same() -> None:
    """300 channels of rank 6: what is booked stays what least squares from scratch says."""
    wide = nn.Sequential(nn.Linear(6, 300), nn.Linear(300, 5))
    x = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
    network = Network.whole(Coupling(trace(wide, x[:1]).module))
    (group,) = network.coupling.all_groups()
    layers = solvable_layers(network.coupling.module)
    moments = measure_moments(network, x, gradient_samples=128, seed=0)
    gone: list[int] = []
    total = 0.0
    for number, block in enumerate(eliminate(network, group, layers, moments, 4)):
        assert len(block.channels) == 4
        gone += block.channels
        total += block.cost
        if number % 9 == 0:
            expected = loss_without(network, group, moments, gone)
            assert total == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert len(gone) == 296
    assert total == pytest.approx(loss_without(network, group, moments, gone), rel=1e-4)
