"""Captured graphs switch between training and evaluation as the author's modules do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import ModelError
from joulecut.workload.modes import set_training
from joulecut.workload.quiet import quiet_torch
from joulecut.workload.trace import operation, trace


class Functional(nn.Module):
    """Modes given to functions by hand, as many authors do."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.dropout(x, 0.5, self.training)
        x = functional.feature_alpha_dropout(x, 0.25, self.training)
        return functional.rrelu(x, 0.1, 0.3, self.training)


class Attention(nn.Module):
    """Attention whose dropout the author switches off himself."""

    def __init__(self, rate: float = 0.25) -> None:
        super().__init__()
        self.rate = rate
        self.project = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        rate = self.rate if self.training else 0.0
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 6, 2, batch_first=True, dropout=0.5)

    def forward(self, x: Tensor) -> Any:
        return self.cells(x)[0]


def captured(model: nn.Module, *shape: int) -> torch.fx.GraphModule:
    return trace(model, torch.zeros(1, *shape)).module


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "functions": (Functional(), (3, 4, 4)),
    "attention": (Attention(), (5, 8)),
    "attention of torch": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "recurrent": (Recurrent(), (5, 4)),
    "in place": (nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5, inplace=True)), (4,)),
    "images": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.5), nn.AlphaDropout(0.3)), (3, 4, 4)),
    "instance norm": (nn.InstanceNorm2d(3, track_running_stats=True, momentum=0.5), (3, 4, 4)),
    "batch norm": (nn.BatchNorm2d(3), (3, 4, 4)),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_graph_in_training_computes_what_its_author_does(name: str) -> None:
    model, shape = NETWORKS[name]
    graph = captured(model, *shape)
    x = torch.randn(4, *shape)
    model.eval()
    with torch.no_grad():
        still = graph(x.clone())
        assert torch.allclose(model(x.clone()), still, atol=1e-6)
    model.train()
    set_training(graph, True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        expected = model(x.clone())
        torch.manual_seed(1)
        found = graph(x.clone())
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, still, atol=1e-3)
    set_training(graph, False)
    if not dict(graph.named_buffers()):  # running statistics have moved
        assert torch.allclose(graph(x.clone()), still)


def test_statistics_move_in_training_only() -> None:
    """A batch of 1 and 3: mean 2, unbiased variance 2, weighed by the momentum of a tenth."""
    graph = captured(nn.BatchNorm1d(1), 1)
    x = torch.tensor([[1.0], [3.0]])
    graph(x)
    assert float(graph.get_buffer("running_mean")) == 0.0
    set_training(graph, True)
    graph(x)
    assert float(graph.get_buffer("running_mean")) == pytest.approx(0.2)
    assert float(graph.get_buffer("running_var")) == pytest.approx(0.9 + 0.2)
    set_training(graph, False)
    graph(10 * x)
    assert float(graph.get_buffer("running_mean")) == pytest.approx(0.2)


def test_what_the_author_fixed_stays() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(functional.dropout(x, 0.5, True), 0.5, self.training)

    graph = captured(Fixed(), 4)

    def modes() -> list[Any]:
        return [n.args[2] for n in graph.graph.nodes if n.op == "call_function"]

    assert modes() == [True, False]
    for _ in range(2):
        set_training(graph, True)
        assert modes() == [True, True]
    set_training(graph, False)
    assert modes() == [True, False]


def test_capturing_leaves_modes_statistics_and_the_generator_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Tanh()).train()
    model[1].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention = nn.Sequential(Attention(), nn.Dropout()).train()
    before = torch.get_rng_state()
    trace(attention, torch.zeros(1, 5, 8))
    trace(model, torch.zeros(2, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model] == [True, False, True, True]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_decomposed_batch_norm_switches_too() -> None:
    model = nn.BatchNorm1d(2).eval()
    x = torch.randn(4, 2)
    with quiet_torch():
        graph = torch.export.export(model, (x,)).run_decompositions().module()
    assert isinstance(graph, torch.fx.GraphModule)
    names = [operation(n) for n in graph.graph.nodes if n.op == "call_function"]
    assert names[0] == "_native_batch_norm_legit_no_training"
    still = graph(x)
    set_training(graph, True)
    mean, deviation = x.mean(0), x.var(0, unbiased=False)
    assert torch.allclose(graph(x), (x - mean) / (deviation + 1e-5).sqrt(), atol=1e-6)
    assert torch.allclose(graph.get_buffer("running_mean"), 0.1 * mean)
    set_training(graph, False)
    assert not torch.equal(graph(x), still)
    assert [operation(n) for n in graph.graph.nodes if n.op == "call_function"] == names


def test_cumulative_averages_are_refused() -> None:
    graph = captured(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, momentum=None)), 2)
    with pytest.raises(ModelError, match=r"the batch norm 1 averages over all batches .* momentum"):
        set_training(graph, True)


def test_a_network_that_only_runs_in_evaluation_is_captured_without_rates() -> None:
    class Strict(Attention):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise ValueError("never trained")
            return super().forward(x)

    graph = captured(Strict(), 5, 8)
    set_training(graph, True)
    x = torch.randn(2, 5, 8)
    assert torch.equal(graph(x), graph(x))
