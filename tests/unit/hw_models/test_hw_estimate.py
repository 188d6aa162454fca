"""The profile of a whole network: sums, intervals, batch, latency, warnings."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hw_devices import BOARD
from hw_networks import add, conv, depthwise, linear, resnet8

from joulecut.codec import from_json, to_json
from joulecut.errors import UnknownDevice, UsageError
from joulecut.estimate import ratio
from joulecut.hw_models import device, estimate, layer_cost, total_estimate
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.intervals import OWN_FACTOR_90
from joulecut.hw_models.modelling import OVERHEAD_PATH
from joulecut.hw_models.profile import EnergyProfile
from joulecut.workload.layer import LayerWork, Uncounted, Workload

REFERENCE = "reference/edge/float32"
PI4 = "raspberry-pi-4b/tflite/float32"
DEVICES = all_devices()
WIDE = Workload(
    "wide", (conv("a", 56, 56, 3, 64, 3, reads_input=True), conv("b", 56, 56, 64, 64, 3), linear("c", 64, 10))
)
"""121 million MACs: within the sizes that the boards were fitted on, before and after halving."""


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_layers_and_idle_add_up(spec: object) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    for batch, latency_s in ((1, None), (3, None), (1, 0.125)):
        profile = estimate(resnet8(), chosen, batch=batch, latency_s=latency_s)
        parts = sum(row.energy.value for row in profile.layers) + profile.idle.value
        assert parts + profile.unattributed.value == pytest.approx(profile.total.value, rel=1e-12)
        assert sum(row.static_j for row in profile.layers) == pytest.approx(profile.idle.value, rel=1e-12)
        assert sum(row.share for row in profile.layers) == pytest.approx(1.0, rel=1e-12)
        assert profile.unattributed.value == 0
        assert profile.device == chosen.name
        assert profile.boundary == chosen.boundary


def test_reference_network_by_hand_is_exact() -> None:
    net = Workload("two", (linear("a", 4, 8), linear("b", 8, 4)))
    profile = estimate(net, REFERENCE)
    # each: 32 MACs x 4 pJ; 128 B of weights and 16 + 32 B of activations x 20 pJ
    assert profile.total.value == pytest.approx(2 * 3648e-12, rel=1e-12)
    assert profile.total.bounds(0.9) == (profile.total.value, profile.total.value)
    assert profile.total.origin == "assumed"
    assert profile.mode == "definition"
    assert profile.duration.value == 0
    assert [row.path for row in profile.layers] == ["a", "b"]


def test_the_constant_is_a_row_of_its_own() -> None:
    profile = estimate(resnet8(), BOARD)
    last = profile.layers[-1]
    assert (last.path, last.op, last.kind) == (OVERHEAD_PATH, "overhead", "overhead")
    assert last.energy.value + last.static_j == pytest.approx(500e-6, rel=1e-12)


def test_power_is_the_boards_active_power() -> None:
    profile = estimate(resnet8(), BOARD)
    assert profile.total.value / profile.duration.value == pytest.approx(5, rel=1e-9)
    assert profile.idle.value / profile.duration.value == pytest.approx(2, rel=1e-9)


def test_interval_of_the_whole_is_that_of_the_mode() -> None:
    for name, net, factor in (
        (PI4, WIDE, 1.25),
        ("nucleo-l4r5zi/x-cube-ai/int8", resnet8(), 1.3),
        ("generic-aarch64/any/float32", WIDE, 3.5),
    ):
        value = estimate(net, name).total
        low, high = value.bounds(0.9)
        assert high / value.value == pytest.approx(factor, rel=0.02)
        assert value.value / low == pytest.approx(factor, rel=0.06)
        assert value.own.above_90 / value.value == pytest.approx(OWN_FACTOR_90 - 1, rel=1e-9)
        inner = value.bounds(0.5)
        assert low < inner[0] < value.value < inner[1] < high
        assert value.origin == "modelled"


def test_what_is_common_to_the_device_cancels_in_a_ratio() -> None:
    before = estimate(WIDE, PI4).total
    after = estimate(Workload("half", tuple(_halved(layer) for layer in WIDE.layers)), PI4).total
    change = ratio(after, before)
    # two own factors of 1.17, joined in the log domain: exp(sqrt(2) ln 1.17) = 1.249
    assert change.bounds(0.9)[1] / change.value == pytest.approx(1.249, rel=0.01)
    alone = estimate(resnet8(), "generic-x86-64-avx2/any/float32").total
    assert ratio(alone, alone).bounds(0.9)[1] == pytest.approx(
        math.exp(math.sqrt(2) * math.log(1.5)), rel=0.05
    )


def _halved(layer: LayerWork) -> LayerWork:
    wide_in = layer.in_channels if layer.reads_input else max(layer.in_channels // 2, 1)
    wide_out = layer.out_channels if layer.writes_output else max(layer.out_channels // 2, 1)
    return layer.resized(wide_in, wide_out)


def test_total_estimate_agrees_with_the_sum_of_layers() -> None:
    value = estimate(WIDE, PI4).total
    alone = total_estimate(device(PI4), value.value)
    assert alone.common_with == value.common_with == PI4
    assert alone.bounds(0.9)[1] == pytest.approx(value.bounds(0.9)[1], rel=1e-9)
    assert alone.bounds(0.9)[0] == pytest.approx(value.bounds(0.9)[0], rel=1e-9)


def test_no_layer_goes_below_nothing() -> None:
    many = Workload("deep", tuple(conv(f"c{i}", 8, 8, 8, 8, 3) for i in range(400)))
    assert all(row.energy.bounds(0.9)[0] >= -1e-18 for row in estimate(many, PI4).layers)


def test_batch_scales_activations_and_reads_weights_once() -> None:
    net = Workload("one", (linear("a", 4, 8),))
    assert estimate(net, REFERENCE, batch=5).total.value == pytest.approx(
        (5 * 32 * 4 + (128 + 5 * 48) * 20) * 1e-12, rel=1e-12
    )
    eight = Workload("one", (replace(linear("a", 4, 8), macs=256, in_bytes=128, out_bytes=256),), batch=8)
    assert estimate(eight, REFERENCE).total.value == pytest.approx(3648e-12, rel=1e-12)


def test_a_measured_latency_is_joined_with_the_model() -> None:
    plain = estimate(WIDE, BOARD)
    profile = estimate(WIDE, BOARD, latency_s=1.1 * plain.duration.value)
    # power x latency is 1.1 x the modelled energy; it weighs ln(1.25)^2 / (ln(1.25)^2 + ln(1.22)^2)
    weight = math.log(1.25) ** 2 / (math.log(1.25) ** 2 + math.log(1.22) ** 2)
    assert profile.total.value == pytest.approx(plain.total.value * 1.1**weight, rel=1e-9)
    assert profile.idle.value == pytest.approx(2 * 1.1 * plain.duration.value, rel=1e-9)
    assert profile.mode == "latency-measured"
    assert profile.duration.value == 1.1 * plain.duration.value
    assert profile.duration.origin == "measured"
    assert profile.total.bounds(0.9)[1] / profile.total.value == pytest.approx(1.22, rel=0.01)
    assert profile.total.bounds(0.9)[1] / profile.total.value < plain.total.bounds(0.9)[1] / plain.total.value


def test_a_latency_that_the_model_is_far_from_wins_over_it() -> None:
    plain = estimate(WIDE, BOARD)
    profile = estimate(WIDE, BOARD, latency_s=10 * plain.duration.value)
    assert profile.total.value == pytest.approx(5 * 10 * plain.duration.value, rel=0.03)


def test_a_latency_on_a_device_whose_power_was_never_measured_stays_unsure() -> None:
    profile = estimate(WIDE, "raspberry-pi-5/tflite/float32", latency_s=0.02)
    assert profile.total.bounds(0.9)[1] / profile.total.value == pytest.approx(2.5, rel=0.01)


def test_a_measured_latency_without_active_power_gives_the_time_only() -> None:
    name = "jetson-xavier-nx/tensorrt/int8"
    plain, timed = estimate(resnet8(), name), estimate(resnet8(), name, latency_s=0.5)
    assert timed.total == plain.total
    assert timed.mode == plain.mode == "calibrated-1"
    assert timed.duration.value == 0.5


@pytest.mark.parametrize("latency_s", [0.0, -1.0, math.nan, math.inf])
def test_bad_latency(latency_s: float) -> None:
    with pytest.raises(UsageError, match="not a positive time"):
        estimate(resnet8(), PI4, latency_s=latency_s)


def test_bad_batch_and_empty_network() -> None:
    with pytest.raises(UsageError, match="a batch of 0 is below 1"):
        estimate(resnet8(), PI4, batch=0)
    with pytest.raises(UsageError, match="nothing has no layers to price"):
        estimate(Workload("nothing", ()), PI4)
    with pytest.raises(UnknownDevice, match="raspberry-pi-4b/tflite/float32"):
        estimate(resnet8(), "raspberry-pi-4/tflite/float32")


def test_uncounted_operations_are_priced_by_bytes_with_a_wide_interval_and_listed() -> None:
    net = resnet8()
    strange = replace(add("strange", 16, 32), op="fft_rfft")
    listed = (Uncounted("fft_rfft", "strange", 1, "no rule"), Uncounted("sort", "lost", 1, "no rule"))
    profile = estimate(replace(net, layers=(*net.layers, strange), uncounted=listed), PI4)
    row = next(row for row in profile.layers if row.path == "strange")
    assert row.energy.value > 0
    assert row.energy.own.above_90 == pytest.approx(2.5 * row.energy.value, rel=1e-9)
    assert profile.uncounted == listed
    assert profile.provenance["warning"] == "operations without a price: sort (lost)"
    assert estimate(net, PI4).provenance.get("warning") is None


def test_a_network_that_does_not_fit_the_memory_is_warned_about() -> None:
    # 2,600 x 1,024 weights of one byte are more than 2,048 KiB of flash
    net = Workload("fat", (linear("a", 1024, 2600), linear("b", 2600, 10)))
    profile = estimate(net, "nucleo-l4r5zi/x-cube-ai/int8")
    assert "more than the flash of nucleo-l4r5zi" in profile.provenance["warning"]
    assert profile.total.bounds(0.9)[1] / profile.total.value == pytest.approx(3.5, rel=0.01)
    big = Workload("big", (conv("a", 512, 512, 3, 4, 1),))
    assert "more than the sram" in estimate(big, "nucleo-l4r5zi/x-cube-ai/int8").provenance["warning"]


def test_a_network_far_from_the_fitted_sizes_is_warned_about() -> None:
    tiny = Workload("tiny", (conv("a", 8, 8, 1, 8, 3), linear("b", 512, 10)))
    profile = estimate(tiny, PI4)
    assert "far from the sizes" in profile.provenance["warning"]
    assert profile.total.bounds(0.9)[1] / profile.total.value == pytest.approx(2.5, rel=0.01)


def test_the_interval_grows_with_the_distance_without_a_jump() -> None:
    sizes = [Workload("one", (conv("a", size, size, 64, 64, 3),)) for size in range(64, 3, -1)]
    factors = [estimate(net, PI4).total.bounds(0.9)[1] / estimate(net, PI4).total.value for net in sizes]
    steps = [b - a for a, b in pairwise(factors)]
    assert all(-1e-12 <= step < 0.2 for step in steps)
    assert factors[0] == pytest.approx(1.25, rel=0.02)
    assert factors[-1] > 1.6


def test_a_network_without_a_price_says_so() -> None:
    profile = estimate(Workload("sum", (add("a", 4, 4),)), "nvidia-h100-pcie-80gb/tensorrt-batched/int8")
    assert profile.total.value == 0
    assert "nothing in this network has a price" in profile.provenance["warning"]
    assert profile.provenance["not priced apart"].endswith(": a")


def test_a_batch_shares_what_one_sample_pays_alone() -> None:
    # MLPerf Inference v2.0, A30, ResNet-50: 148.9 mJ alone, 17.7 mJ in full batches, 36.1 mJ in batches of 8
    spec = device("nvidia-a30/tensorrt/int8")
    net = Workload("resnet50", (replace(linear("all", 10, 10), macs=4_089_184_256, calls=71),))
    assert estimate(net, spec, batch=8).total.value / 8 == pytest.approx(36.1e-3, rel=0.1)


def test_provenance_names_sources_and_priors() -> None:
    assert "carried over" in estimate(resnet8(), "raspberry-pi-5/tflite/float32").provenance["sources"]
    assert "prior" in estimate(resnet8(), "raspberry-pi-5/tflite/float32").provenance


def test_a_profile_survives_json() -> None:
    profile = estimate(resnet8(), PI4)
    assert from_json(to_json(profile), EnergyProfile) == profile
    assert to_json(estimate(resnet8(), PI4)) == to_json(profile)


def test_depthwise_and_elementwise_rows_follow_layer_cost() -> None:
    spec = device(PI4)
    net = Workload("mix", (depthwise("d", 8, 16), add("a", 8, 16)))
    rows = {row.path: row for row in estimate(net, spec).layers}
    for layer in net.layers:
        cost = layer_cost(spec, layer)
        assert rows[layer.path].energy.value == pytest.approx(cost.dynamic_j, rel=1e-12)
        assert rows[layer.path].time.value == pytest.approx(cost.duration_s, rel=1e-12)
