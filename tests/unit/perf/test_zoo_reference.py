"""The zoo's reference against networks whose cut is written out by hand."""

from __future__ import annotations

import pytest
import torch
from perf import zoo_reference
from perf.zoo_reference import Reference, Unjudged
from torch import Tensor, nn

from joulecut.pruning.coupling import couple

KEPT = [0, 2, 3]


class Normed(nn.Module):
    """Linear, layer norm, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.first(x)).relu()
        out: Tensor = self.last(hidden)
        return out


def _random(module: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def test_readers_of_removed_channels_read_nothing() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    _random(net)
    x = torch.randn(5, 3, dtype=torch.float64)
    reference = Reference(couple(net, x), {"0": KEPT})
    w0, b0, w1, b1 = (p.detach() for p in net.parameters())
    expected = (x @ w0[KEPT].T + b0[KEPT]).relu() @ w1[:, KEPT].T + b1
    torch.testing.assert_close(reference.run(x), expected)
    assert not reference.counted


def test_a_norm_runs_over_the_kept_channels_and_is_noted() -> None:
    net = Normed()
    _random(net)
    x = torch.randn(5, 3, dtype=torch.float64)
    reference = Reference(couple(net, x), {"first": KEPT})
    small = nn.LayerNorm(3).double()
    small.weight.data, small.bias.data = net.norm.weight.data[KEPT], net.norm.bias.data[KEPT]
    hidden = small(x @ net.first.weight[KEPT].T + net.first.bias[KEPT]).relu()
    expected = hidden @ net.last.weight[:, KEPT].T + net.last.bias
    torch.testing.assert_close(reference.run(x), expected)
    assert reference.counted == {"layer_norm"}


def test_nothing_removed_is_the_original() -> None:
    net = Normed()
    _random(net)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(Reference(couple(net, x), {}).run(x), net(x))


def test_what_it_does_not_know_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    reference = Reference(couple(net, x), {"0": KEPT})
    monkeypatch.delitem(zoo_reference.RULES, "linear")
    with pytest.raises(Unjudged, match="linear"):
        reference.run(x)
