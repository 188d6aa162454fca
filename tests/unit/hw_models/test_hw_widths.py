"""Forms, tables and increments against the cost of every layer, priced anew."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hw_networks import add, conv, depthwise, linear, resnet8
from hypothesis import given, settings
from hypothesis import strategies as st

from joulecut.errors import UsageError
from joulecut.hw_models import device, layer_cost, overhead_cost
from joulecut.hw_models.batched import LayerTable
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.forms import energy_form
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import ChannelCount, PricedLayer
from joulecut.workload.layer import LayerWork

DEVICES = all_devices()
REFERENCE = device("reference/edge/float32")
VIEW = LayerWork("v", "view", "data_movement", 0, 0, 0, 0, (1, 4), (4,))
LSTM = LayerWork("l", "lstm", "dense", 900, 720, 80, 60, (1, 5, 4), (1, 5, 3), (12, 4))
INDEX = replace(add("i", 3, 4), dtype="int64")
KINDS = (*resnet8().layers, depthwise("d", 8, 6), conv("twice", 8, 6, 5, 7, 3, calls=2), VIEW, LSTM, INDEX)


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_a_form_is_the_cost_of_the_layer_at_any_channels(spec: object) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    draw = random.Random(1)
    for layer in KINDS:
        form = energy_form(chosen, layer)
        for _ in range(5):
            n_in, n_out = draw.randint(1, 80), draw.randint(1, 80)
            cost = layer_cost(chosen, layer, n_in, n_out)
            assert form.at(n_in, n_out) == pytest.approx(cost.total_j, rel=1e-12, abs=1e-30), layer.path


def test_a_form_by_hand() -> None:
    """1x1 convolution of 3 x 8 to 2 x 8 channels on 4 pixels: 4 pJ a MAC, 20 pJ a byte, steps of 4."""
    form = energy_form(REFERENCE, conv("c", 2, 2, 8, 8, 1))
    picojoules = 4 * 4 * 8 * 4 + 20 * (4 * (8 * 4 + 4) + 4 * 4 * (8 + 4))
    assert form.at(5, 3) * 1e12 == pytest.approx(picojoules, rel=1e-12)
    summed = energy_form(REFERENCE, add("a", 2, 8))
    assert summed.at(8, 8, 100) * 1e12 == pytest.approx(20 * (100 + 128), rel=1e-12)
    with pytest.raises(UsageError, match="c cannot have 0 -> 8 channels"):
        form.at(0, 8)


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_a_table_is_the_cost_of_each_layer(spec: object) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    table = LayerTable(chosen, KINDS)
    own = [layer_cost(chosen, layer).total_j for layer in KINDS]
    assert table.layer_j() == pytest.approx(own, rel=1e-12, abs=1e-30)
    assert float(table.total_j()) == pytest.approx(math.fsum(own) + overhead_cost(chosen).total_j, rel=1e-12)
    draw = np.random.default_rng(2)
    n_in, n_out = draw.integers(1, 70, (2, 3, len(KINDS)))
    found = table.layer_j(n_in, n_out)
    for row in range(3):
        costs = [
            layer_cost(chosen, layer, int(i), int(o)).total_j
            for layer, i, o in zip(KINDS, n_in[row], n_out[row], strict=True)
        ]
        assert found[row] == pytest.approx(costs, rel=1e-12, abs=1e-30)


def test_bad_counts_for_a_table() -> None:
    table = LayerTable(REFERENCE, [conv("c", 2, 2, 8, 8, 1), VIEW])
    assert table.layer_j([8, 0], [8, 0])[1] == 0  # a layer without channels takes any count
    with pytest.raises(UsageError, match="less than 1 channel"):
        table.layer_j([0, 1])
    for bad in ([8], [8.0, 8.0], 8):
        with pytest.raises(UsageError, match="whole numbers, one for each of the 2 layers"):
            table.layer_j(bad)


def stages() -> tuple[list[PricedLayer], dict[str, int]]:
    """Two residual stages of four groups: a stream, two inner widths and a concatenation of both."""
    stream, inner, other = (ChannelCount.of(name) for name in ("stream", "inner", "other"))
    image, classes = ChannelCount(3), ChannelCount(10)
    both = stream + other
    flat = both * 4
    layers = [
        PricedLayer("stem", conv("stem", 16, 8, 3, 24, 3, reads_input=True), image, stream),
        PricedLayer("c1", conv("c1", 8, 8, 24, 40, 3), stream, inner),
        PricedLayer("dw", depthwise("dw", 8, 40), inner, inner),
        PricedLayer("c2", conv("c2", 8, 8, 40, 24, 1), inner, stream),
        PricedLayer("add", add("add", 8, 24), stream, stream, ((4 * 64, stream), (4 * 64, stream))),
        PricedLayer("c3", conv("c3", 8, 2, 24, 12, 3), stream, other),
        PricedLayer("cat", add("cat", 2, 36), both, both, ((4 * 4, stream), (4 * 4, other))),
        PricedLayer("fc", linear("fc", 144, 10, writes_output=True), flat, classes),
    ]
    layers[6] = replace(layers[6], work=replace(layers[6].work, in_bytes=4 * 4 * 36))
    return layers, {"stream": 24, "inner": 40, "other": 12}


EDGE = device("edge-tpu-like/tiled/int8")
TILED = [
    replace(EDGE, chip=f"edge-{kib}-kib", coefficients=replace(EDGE.coefficients, onchip_bytes=1024 * kib))
    for kib in (1, 4, 16)
]


@pytest.mark.parametrize("spec", [*DEVICES[::6], *TILED], ids=lambda spec: spec.name)
def test_ten_thousand_random_steps_stay_equal_to_the_whole(spec: DeviceSpec) -> None:
    layers, sizes = stages()
    running, draw = IncrementalEnergy(spec, layers, sizes), random.Random(3)

    def whole(widths: dict[str, int]) -> float:
        costs = [layer_cost(spec, layer.at(widths)) for layer in layers]
        return math.fsum(cost.total_j for cost in (*costs, overhead_cost(spec)))

    for step in range(10_000):
        group = draw.choice(list(sizes))
        width = draw.randint(1, sizes[group])
        saved = running.saving_j(group, running.widths[group] - width)
        before = running.total_j
        assert running.resize(group, width) == pytest.approx(before - saved, rel=1e-9)
        if step % 97 == 0 or step > 9_990:
            assert running.total_j == pytest.approx(whole(running.widths), rel=1e-9)
    for group, size in sizes.items():
        running.resize(group, size)
    assert running.total_j == pytest.approx(whole(sizes), rel=1e-9)


def test_a_refused_change_changes_nothing() -> None:
    running = IncrementalEnergy(REFERENCE, *stages())
    before = running.total_j
    with pytest.raises(UsageError, match="cannot have"):
        running.resize("inner", 0)
    with pytest.raises(UsageError, match="no group 'outer'"):
        running.resize("outer", 3)
    assert (running.total_j, running.widths) == (before, stages()[1])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([*DEVICES, *TILED]),
    st.dictionaries(st.sampled_from(["stream", "inner", "other"]), st.integers(1, 11)),
)
def test_fewer_channels_never_save_less_than_nothing(spec: DeviceSpec, removed: dict[str, int]) -> None:
    running = IncrementalEnergy(spec, *stages())
    for group, channels in removed.items():
        assert running.saving_j(group, channels) >= -1e-12 * running.total_j
        running.resize(group, running.widths[group] - channels)
