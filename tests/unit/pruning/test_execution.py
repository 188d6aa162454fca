"""Runs in parts and from values at hand, against runs of everything at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.workload.trace import trace


def whole_of(model: nn.Module, shape: tuple[int, ...]) -> Network:
    return Network.whole(Coupling(fold(trace(model, torch.zeros(1, *shape)).module)[0]))


def in_parts_of(network: Network, size: int) -> Network:
    return replace(network, axes=replace(network.axes, size=size))


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def close(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return all(close(x, y) for x, y in zip(a, b, strict=True))
    return torch.allclose(a, b, rtol=1e-5, atol=1e-5) if isinstance(a, Tensor) else bool(a == b)


@pytest.mark.parametrize("name", sorted(EXACT))
def test_in_parts_as_at_once(name: str) -> None:
    network, x = whole_of(build(EXACT[name].build), EXACT[name].shape), noise(7, *EXACT[name].shape)
    with torch.no_grad():
        logits, values = network.run(x, keep=None)
        found, parts = in_parts_of(network, 3).run(x, keep=None)
        assert torch.allclose(found, logits, rtol=1e-5, atol=1e-5)
        assert set(parts) == set(values)
        assert all(close(parts[key], values[key]) for key in values)
        known = {key: values[key] for key in network.frontier() if key in values}
        assert torch.allclose(in_parts_of(network, 3).run(x, known=known)[0], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(EXACT))
@pytest.mark.parametrize("size", [3, 100])
def test_a_rerun_from_values_of_the_larger_network_is_a_run(name: str, size: int) -> None:
    network = in_parts_of(whole_of(build(EXACT[name].build), EXACT[name].shape), size)
    x = noise(7, *EXACT[name].shape)
    with torch.no_grad():
        values = network.run(x, keep=network.frontier())[1]
        logits, parts = network.observe(x, network.frontier())
        assert relative(logits, network(x)) < 1e-5
        for group in network.coupling.all_groups():
            smaller = network.cut(group, [1])
            starts = frozenset(part.node for part in group.of_role("reader"))
            for known in (values, parts, {}):
                assert relative(smaller.rerun(x, network, known, starts), smaller(x)) < 1e-5


class TimeFirst(nn.Module):
    """Time along the first dimension, and the samples of all channels one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.lstm, self.b, self.c = nn.Linear(3, 6), nn.LSTM(6, 8), nn.Linear(5, 5), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.lstm(self.a(x).transpose(0, 1))[0].permute(2, 1, 0)  # features, samples, time
        y = self.b(y.reshape(-1, 5)).reshape(y.shape)
        out: Tensor = self.c(y.mean(2).t())
        return out


def test_values_that_do_not_begin_with_samples_are_not_split() -> None:
    network = whole_of(build(TimeFirst), (5, 3))
    nodes = {node.name: node for node in network.coupling.module.graph.nodes}
    assert "linear" in network.axes.first
    over_time = next(name for name in nodes if name == "linear_1")
    assert over_time not in network.axes.first, "rows of one feature after the other"
    x = noise(30, 5, 3)
    with torch.no_grad():
        logits, values = network.run(x, keep=None)
        small = in_parts_of(network, 8)
        assert torch.allclose(small(x), logits, atol=1e-6), "the output begins with samples"
        kept = small.run(x, keep=None)[1]
        assert set(kept) == set(values)
        assert all(close(kept[key], values[key]) for key in values)
        group = network.coupling.all_groups()[0]
        starts = frozenset(part.node for part in group.of_role("reader"))
        cut = small.cut(group, [0])
        assert relative(cut.rerun(x, small, values, starts), cut(x)) < 1e-5
