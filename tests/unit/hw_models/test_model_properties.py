"""What holds of every estimate on every device: monotone, additive, the same bits in every process."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hw_networks import add, conv, depthwise, linear, resnet8
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, save

from joulecut.errors import UsageError
from joulecut.hw_models import device, estimate, layer_cost
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.intervals import DATASHEET
from joulecut.hw_models.modelling import OVERHEAD_PATH
from joulecut.hw_models.spec import DeviceSpec
from joulecut.workload.from_onnx import workload as read_onnx
from joulecut.workload.layer import LayerWork, Workload

DEVICES = all_devices()
TILED = [spec for spec in DEVICES if spec.coefficients.onchip_bytes]
SLACK = 1 + 1e-12


def with_memory(spec: DeviceSpec, onchip_bytes: float) -> DeviceSpec:
    return replace(spec, coefficients=replace(spec.coefficients, onchip_bytes=onchip_bytes))


@settings(max_examples=300, deadline=None)
@given(
    spec=st.sampled_from(DEVICES),
    wide=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    more=st.tuples(st.integers(0, 64), st.integers(0, 64)),
    size=st.integers(1, 40),
    grown=st.integers(0, 9),
    kernel=st.sampled_from([1, 3, 5]),
    larger_kernel=st.sampled_from([0, 2]),
    onchip=st.integers(256, 300_000),
)
def test_more_of_anything_never_costs_less(
    spec: DeviceSpec,
    wide: tuple[int, int],
    more: tuple[int, int],
    size: int,
    grown: int,
    kernel: int,
    larger_kernel: int,
    onchip: int,
) -> None:
    """Channels, kernel and resolution; with little memory on the chip too, where the device has one."""
    chosen = with_memory(spec, onchip) if spec in TILED else spec
    n_in, n_out = wide
    small = layer_cost(chosen, conv("c", size, size, n_in, n_out, kernel))
    for layer in (
        conv("c", size, size, n_in + more[0], n_out + more[1], kernel),
        conv("c", size, size, n_in, n_out, kernel + larger_kernel),
        conv("c", size + grown, size + grown, n_in, n_out, kernel),
        conv("c", size + grown, size + grown, n_in + more[0], n_out + more[1], kernel + larger_kernel),
    ):
        large = layer_cost(chosen, layer)
        assert small.total_j <= large.total_j * SLACK
        assert small.duration_s <= large.duration_s * SLACK
        assert 0 <= large.static_j <= large.total_j * SLACK


@settings(max_examples=200, deadline=None)
@given(
    spec=st.sampled_from(TILED),
    channels=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    size=st.integers(1, 60),
    kernel=st.sampled_from([1, 3, 7]),
    onchip=st.integers(64, 2_000_000),
    less=st.floats(0.01, 1.0),
)
def test_less_memory_never_costs_less(
    spec: DeviceSpec, channels: tuple[int, int], size: int, kernel: int, onchip: int, less: float
) -> None:
    for layer in (
        conv("c", size, size, *channels, kernel),
        linear("f", *channels),
        add("a", size, channels[0]),
    ):
        whole = layer_cost(with_memory(spec, onchip), layer).total_j
        assert layer_cost(with_memory(spec, onchip * less), layer).total_j >= whole / SLACK


layers = st.one_of(
    st.builds(conv, st.just("c"), st.just(9), st.just(9), st.integers(1, 70), st.integers(1, 70), st.just(3)),
    st.builds(depthwise, st.just("d"), st.integers(1, 20), st.integers(2, 70)),
    st.builds(linear, st.just("f"), st.integers(1, 999), st.integers(1, 99)),
    st.builds(add, st.just("a"), st.integers(1, 20), st.integers(1, 70)),
)


@settings(max_examples=200, deadline=None)
@given(
    spec=st.sampled_from(DEVICES), found=st.lists(layers, min_size=1, max_size=12), batch=st.integers(1, 9)
)
def test_layers_static_part_and_constant_add_up(spec: DeviceSpec, found: list[LayerWork], batch: int) -> None:
    named = tuple(replace(layer, path=f"{layer.path}{number}") for number, layer in enumerate(found))
    profile = estimate(Workload("net", named), spec, batch=batch)
    parts = [row.energy.value for row in profile.layers] + [profile.idle.value, profile.unattributed.value]
    assert profile.total.value == pytest.approx(math.fsum(parts), rel=1e-12)
    assert profile.idle.value == pytest.approx(math.fsum(row.static_j for row in profile.layers), rel=1e-12)
    constant = [row for row in profile.layers if row.path == OVERHEAD_PATH]
    assert len(constant) == (spec.coefficients.j_per_inference > 0)
    if profile.total.value:
        assert math.fsum(row.share for row in profile.layers) == pytest.approx(1.0, rel=1e-12)


PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from hw_networks import resnet8
from joulecut.codec import to_json
from joulecut.hw_models import estimate, explain
from joulecut.hw_models.catalogue import all_devices
digest = hashlib.sha256()
for spec in all_devices()[::5]:
    for latency_s in (None, 0.01):
        profile = estimate(resnet8(), spec, latency_s=latency_s)
        digest.update(to_json(profile).encode())
        digest.update(to_json(explain(profile)).encode())
print(digest.hexdigest())
"""


def test_the_same_bits_in_every_process() -> None:
    shown = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("0", "1"), ("4242", "2"))
    }
    assert len(shown) == 1


# ---------------------------------------------------------------- what a device or a network does not say

EXOTIC = {
    "Det": ((1, 4, 8, 8), (1, 4)),
    "GridSample": ((1, 4, 8, 8), (1, 4, 6, 6)),
    "MaxRoiPool": ((1, 4, 8, 8), (2, 4, 3, 3)),
    "LpPool": ((1, 4, 8, 8), (1, 4, 4, 4)),
    "DFT": ((1, 4, 8, 2), (1, 4, 8, 2)),
}


def exotic_file(path: Path, op: str) -> Path:
    """A linear layer beside one operation that no rule counts."""
    shape, out = EXOTIC[op]
    extra = {"GridSample": ["grid"], "MaxRoiPool": ["rois"]}.get(op, [])
    attributes: dict[str, Any] = {
        "MaxRoiPool": {"pooled_shape": [3, 3]},
        "LpPool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    }
    constants = [
        helper.make_tensor("grid", TensorProto.FLOAT, [1, 6, 6, 2], [0.0] * 72),
        helper.make_tensor("rois", TensorProto.FLOAT, [2, 5], [0.0] * 10),
        helper.make_tensor("w", TensorProto.FLOAT, [4, 3], [0.0] * 12),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(op, ["x", *extra], ["y"], name="exotic", **attributes.get(op, {})),
            helper.make_node("MatMul", ["v", "w"], ["z"], name="fc"),
        ],
        "exotic",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, out),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]),
        ],
        [each for each in constants if each.name == "w" or each.name in extra],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize("op", EXOTIC)
def test_an_unknown_operation_costs_its_bytes_is_unsure_and_is_listed(op: str, tmp_path: Path) -> None:
    work = read_onnx(exotic_file(tmp_path / "net.onnx", op))
    profile = estimate(work, "raspberry-pi-4b/tflite/float32")
    assert [(each.op, each.path) for each in profile.uncounted] == [(op, "exotic")]
    exotic, known = (next(row for row in profile.layers if row.path == path) for path in ("exotic", "fc"))
    shape, out = EXOTIC[op]
    assert (exotic.in_bytes >= 4 * math.prod(shape), exotic.out_bytes) == (True, 4 * math.prod(out))
    assert exotic.energy.value > 0
    assert "no rule counts its arithmetic" in exotic.energy.method
    own = [row.energy.own.above_90 / row.energy.value for row in (exotic, known)]
    assert own[0] > DATASHEET - 1.01 > own[1]


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_an_operation_without_a_price_is_never_silently_free(spec: DeviceSpec, tmp_path: Path) -> None:
    profile = estimate(read_onnx(exotic_file(tmp_path / "net.onnx", "Det")), spec)
    (exotic,) = (row for row in profile.layers if row.path == "exotic")
    assert (
        exotic.energy.value > 0 or "operations without a price: Det (exotic)" in profile.provenance["warning"]
    )


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_an_empty_network_is_refused_everywhere(spec: DeviceSpec) -> None:
    with pytest.raises(UsageError, match="has no layers to price"):
        estimate(Workload("nothing", ()), spec)


def test_a_network_larger_than_memory_is_wide_and_says_why() -> None:
    small = device("nucleo-l4r5zi/x-cube-ai/int8")
    huge = Workload("huge", (linear("f", 4000, 4000),))  # 16 MB of weights on a chip with 2 MiB of flash
    profile = estimate(huge, small)
    assert "more than the flash of nucleo-l4r5zi" in profile.provenance["warning"]
    assert profile.total.bounds(0.9)[1] / profile.total.value >= DATASHEET * 0.99
    assert "more than" not in estimate(resnet8(), small).provenance.get("warning", "")
