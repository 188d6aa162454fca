"""The last layer towards soft outputs, against scipy's minimum; the weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pruning_networks import EXACT, build, captured, one_thread  # noqa: F401
from scipy.optimize import minimize
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.readout import label_readout, readout_layer, soft_readout
from joulecut.pruning.sensitivity import sampled
from joulecut.workload.trace import trace

PULL = 1e-4


def whole(model: nn.Module, *shape: int) -> Network:
    return Network.whole(Coupling(fold(trace(model, torch.zeros(1, *shape)).module)[0]))


@pytest.mark.parametrize("labelled", [False, True])
def test_the_solved_last_layer_is_scipys_minimum(labelled: bool) -> None:
    network = whole(build(lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))), 5)
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    reference = torch.randn(300, 3, generator=torch.Generator().manual_seed(1)) + 2 * x[:, :3]
    with torch.no_grad():
        hidden = network.run(x, keep=frozenset(["relu"]))[1]["relu"].double().numpy()
    features = np.hstack([hidden, np.ones((300, 1))])
    labels = reference.argmax(1)
    wanted = np.eye(3)[labels.numpy()] if labelled else reference.double().softmax(1).numpy()
    packed = torch.cat([network.weights["2.weight"], network.weights["2.bias"][:, None]], 1)
    start = packed.double().numpy()

    def objective(flat: NDArray[np.float64]) -> float:
        weights = flat.reshape(3, 7)
        logits = features @ weights.T
        top = logits.max(1)
        partition = top + np.log(np.exp(logits - top[:, None]).sum(1))
        return float((partition - (wanted * logits).sum(1)).mean() + PULL * ((weights - start) ** 2).sum())

    found = label_readout(network, x, labels) if labelled else soft_readout(network, x, reference)
    mine = torch.cat([found.weights["2.weight"], found.weights["2.bias"][:, None]], 1).double().numpy()
    best = minimize(objective, start.ravel(), method="BFGS").fun
    assert objective(mine.ravel()) < objective(start.ravel()) - 0.05
    assert objective(mine.ravel()) == pytest.approx(best, abs=2e-3)


def test_only_a_linear_layer_that_writes_the_output_is_a_readout() -> None:
    layer = readout_layer(whole(build(EXACT["residual"].build), 3, 8, 8))
    assert layer is not None
    assert layer.weight == "head.weight"
    network = whole(build(EXACT["dense concat"].build), 3, 8, 8)  # ends in a convolution
    assert readout_layer(network) is None
    x = torch.zeros(2, 3, 8, 8)
    assert soft_readout(network, x, network(x)) is network
    assert label_readout(network, x, torch.zeros(2, dtype=torch.long)) is network


class HalfSeen(nn.Module):
    """Of eight positions the output sees the first four."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 6, 1), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Any:
        return self.b(torch.tanh(self.a(x))[:, :, :4].flatten(1))


def test_rows_that_the_output_does_not_see_weigh_least() -> None:
    """Their gradient is 0, so their weight is 1 - share; the mean weight of all rows is 1."""
    network = whole(build(HalfSeen), 2, 8)
    x = torch.randn(50, 2, 8, generator=torch.Generator().manual_seed(0))
    found = sampled(network, x, {"conv1d": False}, {"conv1d": 1_000}, share=0.3, draws=2)
    rows, scale = found.samples["conv1d"], found.scales["conv1d"]
    weight = scale[:, 0] ** 2
    assert scale.shape == (400, 1)
    torch.testing.assert_close(weight[rows.position >= 4], torch.full((200,), 0.7))
    assert bool((weight[rows.position < 4] > 0.7).all())
    assert float(weight.mean()) == pytest.approx(1.0, rel=1e-5)


def test_without_a_share_all_rows_weigh_the_same() -> None:
    network = whole(build(HalfSeen), 2, 8)
    found = sampled(network, torch.zeros(5, 2, 8), {"conv1d": False}, {"conv1d": 5}, share=0.0, draws=1)
    assert torch.equal(found.scales["conv1d"], torch.ones(5, 1))
