"""Dropped blocks of a network under search, against the graph without them."""

from __future__ import annotations

import functools

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from test_blocks import Inverted, resnet
from torch import Tensor, nn

from joulecut.errors import UsageError
from joulecut.pruning.blocks import Removable, removable_blocks, removable_layers, without_blocks
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.workload.trace import Traced, trace


def inverted() -> nn.Module:
    """Two of MobileNet's blocks."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), Inverted(), Inverted(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


NETWORKS = {"resnet": resnet, "inverted": inverted, "scaled": EXACT["scaled"].build}
SHAPES = {"resnet": (3, 8, 8), "inverted": (3, 8, 8), "scaled": EXACT["scaled"].shape}


@functools.cache
def captured(name: str) -> tuple[Traced, Network, tuple[Removable, ...]]:
    """Once for all tests: to be read, not changed."""
    traced = trace(build(NETWORKS[name]), torch.zeros(2, *SHAPES[name]))
    return traced, Network.whole(Coupling(fold(traced.module)[0])), removable_blocks(traced)


def samples(name: str) -> Tensor:
    return torch.randn(6, *SHAPES[name], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_dropped_block_is_the_graph_without_it(name: str) -> None:
    traced, whole, blocks = captured(name)
    x = samples(name)
    assert blocks
    for chosen in [*([block] for block in blocks), list(blocks), list(blocks[::-1])]:
        dropped = functools.reduce(Network.drop, chosen, whole)
        assert dropped.dropped == tuple(chosen)
        with torch.no_grad():
            assert relative(dropped(x), without_blocks(traced, chosen).module(x)) < 1e-5
            assert relative(dropped(x), whole(x)) > 1e-3


def test_a_dropped_block_costs_no_operation_and_is_seen_by_no_hook() -> None:
    _, whole, blocks = captured("resnet")
    seen: list[str] = []
    with torch.no_grad():
        whole.drop(blocks[0]).run(samples("resnet"), after=lambda node, _: seen.append(node.name))
    assert not set(seen) & set(blocks[0].nodes)
    assert whole.drop(blocks[0]).gone == frozenset(blocks[0].nodes)
    assert whole.gone == frozenset()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_cut_and_dropped_in_either_order(name: str) -> None:
    traced, whole, blocks = captured(name)
    x = samples(name)
    groups = whole.coupling.all_groups()
    first = whole.drop(blocks[-1])
    for group in groups:
        first = first.cut(group, [0, 2])
    second = whole
    for group in groups:
        second = second.cut(group, [0, 2])
    kept = {name: list(channels) for name, channels in second.kept.items()}
    second = second.drop(blocks[-1])
    with torch.no_grad():
        assert torch.equal(first(x), second(x))
        rest = without_blocks(traced, [blocks[-1]])
        coupling = Coupling(rest.module)
        cut = coupling.apply({g.name: kept[g.name] for g in coupling.all_groups()})
        assert relative(first(x), cut(x)) < 1e-5


def test_values_kept_from_a_run_serve_a_dropped_network() -> None:
    _, whole, blocks = captured("resnet")
    x = samples("resnet")
    dropped = whole.drop(blocks[1])
    with torch.no_grad():
        logits, values = dropped.run(x, keep=None)
        known = {name: values[name] for name in (blocks[1].input,)}
        assert torch.equal(dropped.run(x, known=known)[0], logits)
        assert torch.equal(whole.run(x, keep=None)[1][blocks[1].input], values[blocks[1].input])
        group = whole.coupling.all_groups()[0]
        smaller = dropped.cut(group, [1])
        nodes = list(whole.coupling.module.graph.nodes)
        cut = dropped.sliced_values(values, smaller, nodes)
        assert set(cut) == set(values)


def test_a_layer_between_two_groups_of_channels_stays() -> None:
    """Eight channels in and eight out, but not the same eight: they could be cut to different widths."""
    model = build(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)))
    traced = trace(model, torch.zeros(2, 4))
    whole = Network.whole(Coupling(traced.module))
    (layer,) = removable_layers(traced)
    assert not whole.can_drop(layer)
    with pytest.raises(UsageError, match="2 cannot be left out: the channels that it reads are not those"):
        whole.drop(layer)


def test_a_layer_within_one_group_can_go() -> None:
    """Blocks whose sum is their input's own channels, dropped as modules with their activations."""
    traced, whole, _ = captured("resnet")
    parts = [part for part in removable_layers(traced) if whole.can_drop(part)]
    x = samples("resnet")
    for part in parts:
        with torch.no_grad():
            assert relative(whole.drop(part)(x), without_blocks(traced, [part]).module(x)) < 1e-5
    assert {part.name for part in parts} >= {"1", "2"}
