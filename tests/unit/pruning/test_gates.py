"""Gate derivatives: against gates that are really put on the weights of every reader."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling, couple
from joulecut.pruning.folding import fold
from joulecut.pruning.gates import batch_that_fits, fisher_costs, gate_derivatives
from joulecut.pruning.network import Network
from joulecut.workload.trace import trace


def whole(name: str) -> tuple[Network, Tensor]:
    shape = EXACT[name].shape
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(3))
    graph = trace(build(EXACT[name].build), x[:1])
    return Network.whole(Coupling(fold(graph.module)[0])), x


def by_weights(network: Network, group: str, x: Tensor, labels: Tensor) -> Tensor:
    """The derivative of each sample's loss by a factor on all that reads a channel: [samples, width]."""
    found = next(g for g in network.coupling.all_groups() if g.name == group)
    gate = torch.ones(found.size, requires_grad=True)
    weights = dict(network.weights)
    for part in found.of_role("reader"):
        weight = weights[part.parameter]
        factor = torch.ones(weight.shape[part.dim])
        at, k = part.positions.flatten(), part.positions.shape[1]
        factor = factor.index_put((at,), gate.repeat_interleave(k))
        weights[part.parameter] = weight * factor.reshape([-1] + [1] * (weight.ndim - 1 - part.dim))
    logits, _ = network.with_weights(weights).run(x)
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    rows = [torch.autograd.grad(loss, gate, retain_graph=True)[0] for loss in losses]
    return torch.stack(rows).double()


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"called twice"}))
def test_a_gate_is_a_factor_on_all_that_reads_the_channel(name: str) -> None:
    network, x = whole(name)
    labels = torch.arange(5) % network(x).shape[1]
    found = gate_derivatives(network, x, labels, seed=0)
    assert set(found) == {group.name for group in network.coupling.all_groups()}
    for group, derivative in found.items():
        expected = by_weights(network, group, x, labels)
        assert derivative == pytest.approx(expected, rel=1e-3, abs=1e-5 * float(expected.abs().max()))


def test_inputs_and_weights_stay_as_they_are() -> None:
    network, x = whole("residual")
    given = x.clone()
    gate_derivatives(network, x, None, seed=0)
    assert torch.equal(x, given)
    assert not x.requires_grad
    assert not any(weight.requires_grad for weight in network.weights.values())


def test_batches_do_not_change_what_is_found() -> None:
    network, _ = whole("perceptron")
    x = torch.randn(600, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(600) % 4
    assert batch_that_fits(network.coupling.module) == 256
    together = gate_derivatives(network, x, labels, seed=0)["0"]
    one_by_one = torch.cat(
        [gate_derivatives(network, x[i : i + 1], labels[i : i + 1], seed=0)["0"] for i in (0, 299, 599)]
    )
    assert together[[0, 299, 599]] == pytest.approx(one_by_one, rel=1e-4, abs=1e-7)


class Bilinear(nn.Module):
    """What one layer writes meets what another writes; nothing with weights reads either."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4, bias=False), nn.Linear(3, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.a(x) @ self.b(x).transpose(1, 2)
        return scores


def test_channels_that_no_layer_reads_are_gated_where_they_are_written() -> None:
    """Of the score q.k each channel's share is q_c k_c; gates on both factors count it twice."""
    model = build(Bilinear)
    x = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(1))
    coupling = couple(model, x)
    if not coupling.all_groups():
        pytest.skip("the engine keeps both layers")
    network = Network.whole(coupling)
    with torch.no_grad():
        q, k = model.get_submodule("a")(x), model.get_submodule("b")(x)
        error = (q @ k.transpose(1, 2)).softmax(1)[0] - nn.functional.one_hot(torch.tensor([0, 1]), 2).T
    expected = 2 * torch.einsum("ij,ic,jc->c", error, q[0], k[0])
    found = gate_derivatives(network, x, torch.tensor([[0, 1]]), seed=0)
    assert found["a"][0] == pytest.approx(expected.double(), rel=1e-4)


class Recurrent(nn.Module):
    """What an embedding writes only a recurrent layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cells, self.head = nn.Linear(3, 4), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(self.embed(x))[0][:, -1])
        return logits


def test_every_group_has_a_cost_whatever_reads_it() -> None:
    x = torch.randn(16, 5, 3, generator=torch.Generator().manual_seed(0))
    coupling = couple(build(Recurrent), x[:1])
    costs = fisher_costs(Network.whole(coupling), x, seed=0)
    assert set(costs) == {group.name for group in coupling.all_groups()}
    assert all(bool((of_group > 0).all()) for of_group in costs.values())


def test_costs_are_half_the_mean_squares() -> None:
    """Drawn labels: the costs of many draws are near the expectation over p of the squared derivatives."""
    network, x = whole("perceptron")
    p = network(x).softmax(1).double()
    expected = torch.zeros(16, dtype=torch.float64)
    for label in range(4):
        found = gate_derivatives(network, x, torch.full((5,), label), seed=0)["0"]
        expected += 0.5 * (p[:, label, None] * found.square()).mean(0)
    drawn = torch.stack([fisher_costs(network, x, seed=seed)["0"] for seed in range(600)]).mean(0)
    assert drawn == pytest.approx(expected, rel=0.25, abs=0.02 * float(expected.max()))
