"""Training goes on on a cut graph: statistics move, gradients reach every parameter, the loss falls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401
from torch import Tensor, fx, nn
from torch.nn import functional

from joulecut.pruning.coupling import couple
from joulecut.workload.modes import set_training
from joulecut.workload.trace import trace


class Transformer(nn.Module):
    """One layer of torch's own, with dropout everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.embed(x)).mean(1))
        return logits


class Recurrent(nn.Module):
    """An LSTM between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 12)
        self.cells = nn.LSTM(12, 8, 2, batch_first=True, dropout=0.1)
        self.hidden, self.head = nn.Linear(8, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(functional.relu(self.hidden(self.cells(self.embed(x))[0][:, -1])))
        return logits


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "convolutions": (EXACT["residual"].build, EXACT["residual"].shape),
    "transformer": (Transformer, (5, 6)),
    "lstm": (Recurrent, (5, 6)),
}


def cut_in_half(name: str) -> tuple[fx.GraphModule, tuple[int, ...]]:
    factory, shape = NETWORKS[name]
    coupling = couple(trace(build(factory), torch.zeros(1, *shape)))
    kept = {group.name: range(0, group.size, 2) for group in coupling.all_groups()}
    assert kept
    return coupling.apply(kept), shape


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_gradients_reach_every_parameter(name: str) -> None:
    cut, shape = cut_in_half(name)
    set_training(cut, True)
    cut(torch.randn(8, *shape)).square().sum().backward()
    for key, parameter in cut.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.shape == parameter.shape


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_hundred_steps_lower_the_loss(name: str) -> None:
    cut, shape = cut_in_half(name)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, *shape, generator=generator)
    labels = (x.flatten(1).mean(1) > 0).long()
    before = {key: tensor.clone() for key, tensor in cut.state_dict().items()}

    def loss() -> Tensor:
        return functional.cross_entropy(cut(x), labels)

    start = loss().item()
    optimizer = torch.optim.Adam(cut.parameters(), lr=0.01)
    set_training(cut, True)
    for _ in range(100):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    set_training(cut, False)
    assert loss().item() < 0.8 * start
    assert loss().item() == loss().item()
    for key, tensor in cut.state_dict().items():
        counted = key.endswith("num_batches_tracked")
        assert counted or not torch.equal(tensor, before[key]), key
