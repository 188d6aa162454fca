"""What the elimination predicts, against least squares done anew without the channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.elimination import Statistics, gather, propose
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.sensitivity import gate_costs
from joulecut.pruning.solvable import solvable_layers
from joulecut.workload.trace import trace

Matrix = NDArray[np.float64]


def pair() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(45, 4),
    )


def network() -> tuple[Network, Group, Tensor]:
    module = trace(build(pair), torch.zeros(1, 3, 6, 6)).module
    whole = Network.whole(Coupling(fold(module)[0]))
    x = torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return whole, whole.coupling.all_groups()[0], x


def problem(whole: Network, x: Tensor) -> tuple[Matrix, Matrix]:
    """Rows of the second convolution's inputs by torch's own unfold, with a constant; its weights."""
    with torch.no_grad():
        _, values = whole.run(x, keep=frozenset(["relu"]))
        unfolded = functional.unfold(values["relu"], 3, padding=1, stride=2)
    rows = unfolded.transpose(1, 2).reshape(-1, 54).double().numpy()
    weight = whole.weights["2.weight"].reshape(5, 54).double().numpy()
    bias = whole.weights["2.bias"].double().numpy()
    return np.hstack([rows, np.ones((len(rows), 1))]), np.hstack([weight, bias[:, None]])


def lost(rows: Matrix, weight: Matrix, channels: list[int]) -> float:
    """Half the mean squared error of the best fit without some channels."""
    wanted = rows @ weight.T
    stays = [c for c in range(55) if c // 9 not in channels]
    fit = np.linalg.lstsq(rows[:, stays], wanted, rcond=None)[0]
    return float(0.5 * ((wanted - rows[:, stays] @ fit) ** 2).sum() / len(rows))


def statistics(rows: Matrix) -> Statistics:
    inverse = torch.from_numpy(np.linalg.inv(rows.T @ rows / len(rows)))
    identity = torch.eye(5, dtype=torch.float64)
    return Statistics({"conv2d_1": inverse}, {"conv2d_1": identity})


def test_the_cost_of_a_channel_is_what_least_squares_loses_without_it() -> None:
    whole, group, x = network()
    rows, weight = problem(whole, x)
    proposal = propose(whole, group, solvable_layers(whole.coupling.module), statistics(rows), 1)
    by_hand = [lost(rows, weight, [c]) for c in range(6)]
    assert proposal.channels == (int(np.argmin(by_hand)),)
    assert proposal.cost == pytest.approx(min(by_hand), rel=1e-6)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_cost_of_several_is_what_least_squares_loses_without_all(count: int) -> None:
    whole, group, x = network()
    rows, weight = problem(whole, x)
    proposal = propose(whole, group, solvable_layers(whole.coupling.module), statistics(rows), count)
    assert len(set(proposal.channels)) == count
    assert proposal.cost == pytest.approx(lost(rows, weight, list(proposal.channels)), rel=1e-6)


def test_the_proposed_weights_are_the_refit_of_the_rest() -> None:
    whole, group, x = network()
    rows, weight = problem(whole, x)
    proposal = propose(whole, group, solvable_layers(whole.coupling.module), statistics(rows), 2)
    smaller = whole.with_weights(proposal.weights).cut(group, proposal.channels)
    stays = [c for c in range(54) if c // 9 not in proposal.channels]
    fit = np.linalg.lstsq(rows[:, [*stays, 54]], rows @ weight.T, rcond=None)[0]
    found = smaller.weights["2.weight"].reshape(5, -1).numpy()
    np.testing.assert_allclose(found, fit[:-1].T, atol=1e-4)
    np.testing.assert_allclose(smaller.weights["2.bias"].numpy(), fit[-1], atol=1e-4)


def test_a_channel_already_gone_is_counted_from_the_original() -> None:
    whole, group, x = network()
    once = whole.cut(group, [1, 4])
    rows, _ = problem(whole, x)
    columns = [c for c in range(55) if c // 9 not in (1, 4)]
    inverse = torch.from_numpy(np.linalg.inv(rows[:, columns].T @ rows[:, columns] / len(rows)))
    found = propose(
        once,
        group,
        solvable_layers(whole.coupling.module),
        Statistics({"conv2d_1": inverse}, {"conv2d_1": torch.eye(5, dtype=torch.float64)}),
        2,
    )
    assert set(found.channels) <= {0, 2, 3, 5}


def test_repeated_channels_cost_nothing_and_go_first() -> None:
    whole, group, x = network()
    weight, bias = whole.weights["0.weight"].clone(), whole.weights["0.bias"].clone()
    for copy, factor in ((2, 1.0), (5, 3.0)):
        weight[copy], bias[copy] = factor * weight[0], factor * bias[0]
    whole = whole.with_weights({"0.weight": weight, "0.bias": bias})
    layers = solvable_layers(whole.coupling.module)
    with torch.no_grad():
        logits, values = whole.run(x, keep=None)
    found = gather(whole, layers, values, x, rows=10_000, ridge=1e-7, seed=0)
    twins = propose(whole, group, layers, found, 2)
    assert set(twins.channels) < {0, 2, 5}
    more = propose(whole, group, layers, found, 3)
    assert twins.cost < 1e-3 * more.cost
    smaller = whole.with_weights(twins.weights).cut(group, twins.channels)
    assert relative(smaller(x), logits) < 1e-3


def test_the_gradients_are_those_of_the_true_fisher_information() -> None:
    """At the logits the covariance is the mean of diag(p) - p p', here up to the draw of 2,000 labels."""
    model = build(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)))
    whole = Network.whole(Coupling(fold(trace(model, torch.zeros(1, 6)).module)[0]))
    x = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, values = whole.run(x, keep=None)
    p = logits.softmax(-1).double()
    exact = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]).mean(0)
    found = gather(whole, solvable_layers(whole.coupling.module), values, x, rows=2000, ridge=1e-9, seed=0)
    assert relative(found.gradient["linear_1"], exact) < 0.05
    hidden = np.hstack([values["tanh"].double().numpy(), np.ones((2000, 1))])
    np.testing.assert_allclose(
        found.inverse["linear_1"].numpy() @ (hidden.T @ hidden / 2000), np.eye(9), atol=1e-3
    )


def test_a_gate_costs_half_its_fisher_information() -> None:
    """By hand: with z = W h + b a gate on h_c has the derivative h_c w_c'(p - y) and, over all labels y, the
    mean square h_c^2 w_c'(diag(p) - p p') w_c."""
    model = build(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)))
    whole = Network.whole(Coupling(fold(trace(model, torch.zeros(1, 6)).module)[0]))
    x = torch.randn(16_000, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, values = whole.run(x, keep=None)
    p, h, w = logits.softmax(-1).double(), values["tanh"].double(), whole.weights["2.weight"].double()
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    exact = 0.5 * (h.square() * torch.einsum("oc,nop,pc->nc", w, fisher, w)).mean(0)
    (group,) = whole.coupling.all_groups()
    slices = {"0": [(part, whole.positions(part, group)) for part in group.of_role("reader")]}
    found = gate_costs(whole, x, slices, seed=0)["0"]
    assert ((found - exact).abs() < 0.1 * exact).all()  # 2,000 sums of eight samples


def after_gather(name: str, shape: tuple[int, ...], parameter: str, dim: int) -> tuple[Network, Statistics]:
    """A network with a parameter that is 0 but for channels 0 and 2 along a dimension, and its statistics."""
    model = build(EXACT[name].build)
    with torch.no_grad():
        weight = model.get_parameter(parameter)
        weight.index_fill_(dim, torch.tensor([c for c in range(weight.shape[dim]) if c not in (0, 2)]), 0.0)
    whole = Network.whole(Coupling(fold(trace(model, torch.zeros(1, *shape)).module)[0]))
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        values = whole.run(x, keep=whole.frontier())[1]
    layers = solvable_layers(whole.coupling.module)
    return whole, gather(whole, layers, values, x, rows=1000, ridge=1e-3, seed=0)


def test_what_a_transposed_convolution_reads_is_judged_by_its_gate() -> None:
    """Four of its six channels are read with zeros: they go first and cost nothing."""
    whole, found = after_gather("transposed", (3, 8, 8), "2.weight", 0)
    group = whole.coupling.all_groups()[0]
    layers = solvable_layers(whole.coupling.module)
    assert set(found.gates) == {"0"}
    gone = propose(whole, group, layers, found, 4)
    assert sorted(gone.channels) == [1, 3, 4, 5]
    assert gone.cost == 0
    assert propose(whole, group, layers, found, 5).cost > 0
