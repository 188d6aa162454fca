"""Joules of widths, against the network that is really cut, counted and priced anew."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import EXACT, captured, one_thread, random_kept  # noqa: F401
from torch import nn

from joulecut.hw_models.catalogue import device
from joulecut.hw_models.modelling import estimate
from joulecut.pruning.coupling.engine import Coupling, couple
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.pruning.staircase import staircases
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import trace

REFERENCE = "reference/edge/float32"
DEVICES = [REFERENCE, "raspberry-pi-4b/tflite/float32", "nucleo-l4r5zi/x-cube-ai/int8"]


def priced(name: str, device_name: str) -> tuple[Coupling, Pricer]:
    _, graph, coupling = captured(name)
    return coupling, pricer(coupling, layer_works(graph), device(device_name))


@pytest.mark.parametrize("name", sorted(EXACT))
def test_prices_are_those_of_the_cut_network(name: str) -> None:
    _, graph, coupling = captured(name)
    prices = [priced(name, device_name)[1] for device_name in DEVICES]
    for found in prices:
        whole = estimate(workload(graph), found.device).total
        assert found.total_j(found.sizes) == pytest.approx(whole.value, rel=1e-9, abs=0)
    for seed in range(2):
        kept = random_kept(coupling, seed, fewest=2)  # a depthwise convolution of one channel counts as dense
        widths = {group: len(channels) for group, channels in kept.items()}
        work = workload(trace(coupling.apply(kept), graph.inputs))
        for found in prices:
            cut = estimate(work, found.device).total
            assert found.total_j(widths) == pytest.approx(cut.value, rel=1e-9, abs=0)
            for confidence in (0.5, 0.9):
                bounds = found.total(widths).bounds(confidence)
                assert bounds == pytest.approx(cut.bounds(confidence), rel=1e-6, abs=0)


@pytest.mark.parametrize("name", ["residual", "dense concat", "shuffle", "gated"])
def test_a_saving_is_the_difference_of_two_totals(name: str) -> None:
    coupling, prices = priced(name, DEVICES[1])
    widths = dict(prices.sizes)
    for group in coupling.all_groups():
        for channels in range(1, group.size - 1):
            fewer = {**widths, group.name: widths[group.name] - channels}
            difference = prices.total_j(widths) - prices.total_j(fewer)
            assert prices.saving_j(widths, group.name, channels) == pytest.approx(difference, rel=1e-6)
        widths[group.name] -= 1


@functools.cache
def without_padding() -> list[Pricer]:
    """On the two boards; the reference device pads channels to its step."""
    return [priced(name, device_name)[1] for name in ("residual", "gated") for device_name in DEVICES[1:]]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_fewer_channels_never_cost_more(data: st.DataObject) -> None:
    for prices in without_padding():
        assert not prices.device.pads
        many = {name: data.draw(st.integers(2, size)) for name, size in prices.sizes.items()}
        few = {name: data.draw(st.integers(1, width)) for name, width in many.items()}
        assert prices.total_j(few) <= prices.total_j(many) * (1 + 1e-12)


def test_the_staircase_of_two_layers_by_hand() -> None:
    """1x1 convolutions 3 -> 8 -> 4 on 2 x 2; 4 pJ a MAC, 20 pJ a byte, and channels in steps of 4.

    Without 4 of the 8: 48 and 64 MACs, 64 bytes each of the first's weights and outputs and of the second's
    weights and inputs: (48 + 64) x 4 + 4 x 64 x 20 = 5,568 pJ. One to three fewer are padded to 8, 5 to 7
    fewer to 4: the same as none and as four.
    """
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False))
    graph = trace(model, torch.zeros(1, 3, 2, 2))
    coupling = couple(graph)
    (stairs,) = staircases(coupling, pricer(coupling, layer_works(graph), device(REFERENCE)))
    assert (stairs.path, stairs.filters, stairs.step, stairs.layers) == ("0", 8, 4, ("0", "2"))
    assert stairs.removed == tuple(range(8))
    freed = [step.value * 1e12 for step in stairs.freed]
    assert freed == pytest.approx([0, 0, 0, 0, 5568, 5568, 5568, 5568], abs=1e-6)


def test_a_wide_staircase_goes_in_the_devices_steps() -> None:
    """512 filters: every 512 / 128 = 4th, a multiple of the device's step."""
    graph = trace(nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 4)), torch.zeros(1, 4))
    coupling = couple(graph)
    (stairs,) = staircases(coupling, pricer(coupling, layer_works(graph), device(REFERENCE)))
    assert stairs.removed == tuple(range(0, 512, 4))
    values = [step.value for step in stairs.freed]
    assert values == sorted(values)
