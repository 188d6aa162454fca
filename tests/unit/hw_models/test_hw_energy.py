"""Joules of single layers, worked out by hand from the figures in the device files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hw_devices import BOARD, CORE
from hw_networks import add, conv, depthwise, linear, resnet8
from hypothesis import given, settings
from hypothesis import strategies as st

from joulecut.errors import UsageError
from joulecut.hw_models import device, layer_cost, overhead_cost
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.energy import NO_WORK, padded_work
from joulecut.workload.layer import LayerWork

REFERENCE = device("reference/edge/float32")
DEVICES = all_devices()


def test_reference_prices_macs_and_bytes() -> None:
    cost = layer_cost(REFERENCE, linear("fc", 4, 8))
    assert cost.dynamic_j == pytest.approx((32 * 4 + (128 + 16 + 32) * 20) * 1e-12, rel=1e-12)
    assert cost.static_j == 0
    assert cost.duration_s == 0
    assert cost.bound_by == "weight bytes"


def test_reference_pads_both_axes() -> None:
    # 6 -> 8 channels in, 10 -> 12 out: 8*12*9*25 MACs, (864 + 12) weights, 8*49 read, 12*25 written
    cost = layer_cost(REFERENCE, conv("c", 7, 5, 6, 10, 3))
    assert cost.dynamic_j == pytest.approx((21600 * 4 + 20 * 4 * (876 + 392 + 300)) * 1e-12, rel=1e-12)


def test_the_networks_own_input_and_output_are_never_padded() -> None:
    first = layer_cost(REFERENCE, conv("c", 7, 5, 6, 10, 3, reads_input=True))
    # 6 in, 12 out: 6*12*9*25 MACs, (648 + 12) weights, 6*49 read, 12*25 written
    assert first.dynamic_j == pytest.approx((16200 * 4 + 80 * (660 + 294 + 300)) * 1e-12, rel=1e-12)
    last = layer_cost(REFERENCE, conv("c", 7, 5, 6, 10, 3, writes_output=True))
    # 8 in, 10 out: 8*10*9*25 MACs, (720 + 10) weights, 8*49 read, 10*25 written
    assert last.dynamic_j == pytest.approx((18000 * 4 + 80 * (730 + 392 + 250)) * 1e-12, rel=1e-12)


def test_a_depthwise_layer_is_padded_once() -> None:
    seen = padded_work(REFERENCE, depthwise("d", 4, 6))
    assert seen == (9 * 8 * 16, 4 * 9 * 8, 2 * 4 * 8 * 16, 0)


def test_other_channel_counts_cost_what_the_resized_layer_costs() -> None:
    layer = conv("c", 7, 5, 6, 10, 3)
    for spec in DEVICES:
        there = layer_cost(spec, layer, 3, 5)
        resized = layer_cost(spec, layer.resized(3, 5))
        assert there.total_j == pytest.approx(resized.total_j, rel=1e-12), spec.name
        assert there.duration_s == pytest.approx(resized.duration_s, rel=1e-12)


def test_a_board_by_hand() -> None:
    layer = conv("c", 8, 8, 16, 32, 1)  # 32,768 MACs, 544 weights with bias, 1,024 + 2,048 activations
    picojoules = 600 * 32768 + 1500 * 4 * 544 + 2500 * 4 * 3072 + 400e6
    cost = layer_cost(BOARD, layer)
    assert cost.total_j == pytest.approx(picojoules * 1e-12, rel=1e-12)
    assert cost.duration_s == pytest.approx(picojoules * 1e-12 / 5, rel=1e-12)
    assert cost.static_j == pytest.approx(2 * cost.duration_s, rel=1e-12)
    assert cost.bound_by == "layer overhead"


def test_depthwise_macs_have_their_own_figure() -> None:
    picojoules = 50 * 9 * 8 * 16 + 1500 * 4 * 72 + 2500 * 4 * 256 + 400e6
    assert layer_cost(BOARD, depthwise("d", 4, 8)).total_j == pytest.approx(picojoules * 1e-12, rel=1e-12)


def test_bytes_of_layers_without_macs_have_their_own_figure() -> None:
    picojoules = 1000 * 12 * 8 * 64 + 400e6
    assert layer_cost(BOARD, add("a", 8, 8)).total_j == pytest.approx(picojoules * 1e-12, rel=1e-12)


def test_the_constant_of_a_board() -> None:
    cost = overhead_cost(BOARD)
    assert cost.total_j == pytest.approx(500e-6, rel=1e-12)
    assert cost.static_j == pytest.approx(500e-6 * 2 / 5, rel=1e-12)


def test_a_layer_called_twice_reads_its_weights_twice() -> None:
    once, twice = conv("c", 8, 8, 16, 32, 1), conv("c", 8, 8, 16, 32, 1, calls=2)
    assert twice.weight_bytes == once.weight_bytes
    assert layer_cost(BOARD, twice).total_j == pytest.approx(2 * layer_cost(BOARD, once).total_j, rel=1e-12)


def test_float32_work_counts_one_byte_per_element_on_int8() -> None:
    layer = conv("c", 8, 8, 16, 32, 1)
    cycles = 1.5 * 32768 + 0.5 * 544 + 2 * 3072 + 1000
    assert layer_cost(CORE, layer).total_j == pytest.approx(cycles * 300e-12, rel=1e-12)


def test_indices_keep_their_size() -> None:
    layer = replace(add("a", 4, 8), dtype="int64")
    assert padded_work(CORE, layer).activation_bytes == layer.in_bytes + layer.out_bytes


def test_unknown_number_type() -> None:
    with pytest.raises(UsageError, match="c has the number type 'float7'"):
        layer_cost(BOARD, replace(conv("c", 8, 8, 16, 32, 1), dtype="float7"))


def test_no_channels_left() -> None:
    with pytest.raises(UsageError, match="c cannot have 16 -> 0 channels"):
        layer_cost(BOARD, conv("c", 8, 8, 16, 32, 1), 16, 0)


def test_a_microcontroller_by_cycles() -> None:
    for layer, cycles in (
        (conv("c", 8, 8, 16, 32, 3), 1.5 * 294912 + 0.5 * (4608 + 32) + 2 * 3072 + 1000),
        (depthwise("d", 8, 16), 4 * 9216 + 0.5 * 144 + 2 * 2048 + 1000),
        (linear("f", 64, 10), 1.5 * 640 + 0.5 * 640 + 2 * 74 + 1000),
        (add("a", 8, 16), 3 * 1024 + 1000),
    ):
        cost = layer_cost(CORE, layer)
        assert cost.total_j == pytest.approx(cycles * 300e-12, rel=1e-12)
        assert cost.duration_s == pytest.approx(cycles / 100e6, rel=1e-12)
    assert layer_cost(CORE, conv("c", 8, 8, 16, 32, 3)).bound_by == "cycles"


@pytest.mark.parametrize(
    ("name", "energy_uj", "latency_ms"),
    [
        # MLPerf Tiny results, image classification (ResNet-8), energy mode, as published
        ("nucleo-l4r5zi/x-cube-ai/int8", 6919.375, 165.1255),  # v1.2, X-CUBE-AI 9.0, 1.8 V
        ("nucleo-l4r5zi/x-cube-ai-7/int8", 12298.289, 252.7806),  # v0.7, X-CUBE-AI 7.1, 1.8 V
        ("nucleo-l4r5zi-p/x-cube-ai/int8", 5495.915, 165.675),  # v1.3, X-CUBE-AI 10.2, 3.0 V SMPS
        ("nucleo-u385rg-q/x-cube-ai/int8", 965.582, 182.4478),  # v1.3, X-CUBE-AI 10.2
        ("nucleo-h7a3zi-q/x-cube-ai/int8", 5090.283, 40.8447),  # v1.2, X-CUBE-AI 9.0
        ("rx65n-cloud-kit/tflm/int8", 14350.888, 289.3519),  # v0.7
        ("gap9-0p65v/gapflow/int8", 27.711, 0.9493),  # v1.0
    ],
)
def test_published_resnet8_on_microcontrollers(name: str, energy_uj: float, latency_ms: float) -> None:
    spec = device(name)
    costs = [*(layer_cost(spec, layer) for layer in resnet8().layers), overhead_cost(spec)]
    assert resnet8().macs == 12_501_632
    assert sum(c.duration_s for c in costs) * 1e3 == pytest.approx(latency_ms, rel=0.06)
    assert sum(c.total_j for c in costs) * 1e6 == pytest.approx(energy_uj, rel=0.2)


def test_published_resnet8_on_the_demo_board_is_near() -> None:
    spec = device("nucleo-l4r5zi/x-cube-ai/int8")
    energy_j = sum(layer_cost(spec, layer).total_j for layer in resnet8().layers)
    assert energy_j == pytest.approx(6.919375e-3, rel=0.06)  # MLPerf Tiny v1.2, X-CUBE-AI 9.0, 1.8 V


def test_an_accelerator_gives_back_both_of_its_operating_points() -> None:
    # MLPerf Inference v1.0 to v2.0, Xavier NX, ResNet-50: SingleStream 32.63 mJ, 3.0651 ms; Offline 18.28 mJ
    spec = device("jetson-xavier-nx/tensorrt/int8")
    layer = replace(linear("all", 10, 10), macs=4_089_184_256, calls=71)
    alone = layer_cost(spec, layer)
    assert alone.total_j == pytest.approx(32.63e-3, rel=2e-3)
    assert alone.duration_s == pytest.approx(3.0651e-3, rel=1e-3)
    assert alone.static_j == pytest.approx(4.6 * 3.0651e-3, rel=1e-3)
    many = layer_cost(spec, replace(layer, macs=1000 * layer.macs))
    assert many.total_j / 1000 == pytest.approx(18.28e-3, rel=2e-3)


def test_a_view_costs_nothing() -> None:
    view = LayerWork("flatten", "flatten", "data_movement", 0, 0, 0, 0, (1, 4, 2), (1, 8))
    for spec in DEVICES:
        assert layer_cost(spec, view).total_j == 0
    assert layer_cost(BOARD, view).bound_by == NO_WORK


channels = st.integers(1, 96)


@settings(max_examples=200, deadline=None)
@given(spec=st.sampled_from(DEVICES), has=st.tuples(channels, channels), less=st.tuples(channels, channels))
def test_fewer_channels_never_cost_more(spec: object, has: tuple[int, int], less: tuple[int, int]) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    layer = conv("c", 9, 9, *has, 3)
    smaller = layer_cost(chosen, layer, min(has[0], less[0]), min(has[1], less[1]))
    larger = layer_cost(chosen, layer)
    assert smaller.total_j <= larger.total_j * (1 + 1e-12)
    assert smaller.duration_s <= larger.duration_s * (1 + 1e-12)
    assert 0 <= smaller.static_j <= smaller.total_j


@settings(max_examples=100, deadline=None)
@given(width=st.integers(1, 64), size=st.integers(3, 20), kernel=st.sampled_from([1, 3, 5]))
def test_a_larger_image_or_kernel_never_costs_less(width: int, size: int, kernel: int) -> None:
    for spec in DEVICES:
        base = layer_cost(spec, conv("c", size, size, width, width, kernel)).total_j
        assert layer_cost(spec, conv("c", size + 1, size + 1, width, width, kernel)).total_j >= base
        assert layer_cost(spec, conv("c", size, size, width, width, kernel + 2)).total_j >= base
