"""Every priced layer of every construct, against the rules on the shapes of the really cut network."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, replace

import pytest
import torch
from coupling_networks import NETWORKS
from hypothesis import given, settings
from hypothesis import strategies as st
from recounted import network, recounted
from silenced import random_kept
from torch import nn

from joulecut.hw_models.catalogue import device
from joulecut.hw_models.energy import layer_cost, overhead_cost
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.pruning.blocks import removable_blocks, without_blocks
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

EDGE = device("edge-tpu-like/tiled/int8")
DEVICES = [
    device("reference/edge/float32"),
    device("nucleo-l4r5zi/x-cube-ai/int8"),
    replace(EDGE, chip="edge-1-kib", coefficients=replace(EDGE.coefficients, onchip_bytes=1024)),
]
COUNTED = (
    "macs",
    "weight_bytes",
    "bias_bytes",
    "in_bytes",
    "out_bytes",
    "in_channels",
    "out_channels",
    "groups",
)


def priced(name: str) -> list[Pricer]:
    graph, coupling = network(name)
    return [pricer(coupling, layer_works(graph), spec) for spec in DEVICES]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_layer_at_any_widths_is_that_of_the_cut_network(name: str) -> None:
    """With two channels at least: a depthwise convolution of one is counted as dense."""
    prices = priced(name)
    for seed in range(3):
        drawn = random_kept(network(name)[1], seed)
        kept = {group: channels if len(channels) > 1 else [0, 1] for group, channels in drawn.items()}
        widths = {group: len(channels) for group, channels in kept.items()}
        cut = recounted(name, kept)
        works = prices[0].works(widths)
        for node, work in works.items():
            if not work.macs:  # which axis of a sum holds its channels is told by sizes: at full width, here
                cut[node] = replace(cut[node], in_channels=work.in_channels, out_channels=work.out_channels)
            found, expected = asdict(work), asdict(cut[node])
            assert {key: found[key] for key in COUNTED} == {key: expected[key] for key in COUNTED}, node
        for one in prices:
            costs = [layer_cost(one.device, work).total_j for work in cut.values()]
            whole = math.fsum(costs) + overhead_cost(one.device).total_j
            assert one.total_j(widths) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "multihead attention",
        "volume",
        "fuse",
        "recurrent",
        "mixer",
    ],
)
def test_incremental_energies_are_the_whole_ones_after_every_step(name: str) -> None:
    for prices in priced(name):
        running, draw = IncrementalEnergy(prices.device, prices.layers, prices.sizes), random.Random(5)
        for _ in range(200):
            group = draw.choice(sorted(prices.sizes))
            width = draw.randint(1, prices.sizes[group])
            saved = running.saving_j(group, running.widths[group] - width)
            before = running.total_j
            assert running.resize(group, width) == pytest.approx(before - saved, rel=1e-9)
            assert running.total_j == pytest.approx(prices.total_j(running.widths), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(NETWORKS)), st.data())
def test_a_saving_is_the_difference_of_two_totals(name: str, data: st.DataObject) -> None:
    prices = priced(name)[0]
    widths = {group: data.draw(st.integers(2, size)) for group, size in prices.sizes.items()}
    group = data.draw(st.sampled_from(sorted(widths)))
    channels = data.draw(st.integers(1, widths[group] - 1))
    gone = frozenset(data.draw(st.sets(st.sampled_from([layer.node for layer in prices.layers]))))
    fewer = {**widths, group: widths[group] - channels}
    difference = prices.total_j(widths, gone) - prices.total_j(fewer, gone)
    scale = prices.total_j(widths)
    assert prices.saving_j(widths, group, channels, gone) == pytest.approx(difference, abs=1e-9 * scale)
    more = frozenset(data.draw(st.sets(st.sampled_from([layer.node for layer in prices.layers]))))
    dropped = prices.total_j(widths, gone) - prices.total_j(widths, gone | more)
    assert prices.drop_saving_j(widths, gone, more) == pytest.approx(dropped, abs=1e-9 * scale)


class Block(nn.Module):
    """A feed-forward block with its skip."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.down(self.up(x).relu())
        return out


def test_a_dropped_block_costs_what_the_graph_without_it_lacks() -> None:
    """8 -> 24 -> 8 and the sum, one row: (2 x 192 MACs) x 4 pJ + bytes x 20 pJ.

    Bytes: weights and biases 4 x (2 x 192 + 24 + 8), activations of the two layers 4 x (8 + 24 + 24 + 8), of
    the sum 4 x (8 + 8 + 8): 1,664 + 256 + 96 = 2,016.
    """
    graph = trace(nn.Sequential(nn.Linear(5, 8), Block(), Block(), nn.Linear(8, 3)), torch.zeros(1, 5))
    prices = pricer(Coupling(graph.module), layer_works(graph), DEVICES[0])
    first, second = removable_blocks(graph)
    nodes = frozenset(first.nodes)
    saving = prices.drop_saving_j(prices.sizes, frozenset(), nodes)
    assert saving * 1e12 == pytest.approx(384 * 4 + 2016 * 20, rel=1e-12)
    rest = without_blocks(graph, [first])
    whole = pricer(Coupling(rest.module), layer_works(rest), DEVICES[0])
    assert prices.total_j(prices.sizes, nodes) == pytest.approx(whole.total_j(whole.sizes), rel=1e-12)
    assert prices.total(prices.sizes, nodes).value == pytest.approx(whole.total_j(whole.sizes), rel=1e-12)
    assert set(prices.works(prices.sizes, nodes)) == set(layer_works(rest))
    assert prices.saving_j(prices.sizes, "1.up", 8, nodes) == 0
    both = nodes | frozenset(second.nodes)
    assert prices.drop_saving_j(prices.sizes, nodes, both) == pytest.approx(saving, rel=1e-12)


def test_heads_and_their_width_multiply() -> None:
    """Two of four heads and three of four features of each: 6 of 16 rows of queries, keys and values."""
    graph, coupling = network("attention")
    prices = pricer(coupling, layer_works(graph), DEVICES[0])
    works = prices.works({"embed": 16, "qkv": 2, "qkv#2": 3})
    projection = next(work for work in works.values() if work.path == "project")
    assert (projection.in_channels, projection.macs) == (6, 2 * 5 * 6 * 16)  # two samples of five tokens
    scores = next(work for work in works.values() if work.op == "scaled_dot_product_attention")
    assert scores.macs == 2 * 2 * 5 * 5 * (
        3 + 3
    )  # samples, heads, queries, keys, and two products of width 3
