"""ZigZag and Vela give profiles like any other; where they are installed, by running them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save
from vela_sample import write_convolution

from joulecut.codec import from_json, to_json
from joulecut.errors import MissingExtra, ModelError, UsageError
from joulecut.hw_models.backends.cache import cached, content_key
from joulecut.hw_models.backends.vela import read_vela, vela_profile
from joulecut.hw_models.backends.zigzag import zigzag_profile
from joulecut.hw_models.intervals import DATASHEET
from joulecut.hw_models.profile import EnergyProfile

needs_vela = pytest.mark.skipif(find_spec("ethosu") is None, reason="needs ethos-u-vela (joulecut[ethos])")
needs_zigzag = pytest.mark.skipif(find_spec("zigzag") is None, reason="needs zigzag-dse (joulecut[zigzag])")

PER_LAYER = """\
Original Operator,NNG Operator,Target,Op Cycles,NPU,SRAM AC,DRAM AC,OnFlash AC,OffFlash AC,MAC Count,Name
Conv2D,Conv2D,NPU,5000,5000,910,0,0,528,294912,c
FullyConnected,FullyConnected,NPU,2500,1000,100,0,0,2500,64000,f
Custom,Custom,CPU,0,0,0,0,0,0,0,post
"""


def written(
    folder: Path, per_layer: str = PER_LAYER, summary: str = "network,core_clock\nnet,500000000.0\n"
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "net_per-layer.csv").write_text(per_layer)
    (folder / "net_summary_System.csv").write_text(summary)
    return folder


def test_joules_are_power_times_cycles_over_clock(tmp_path: Path) -> None:
    """At 500 MHz and 50 mW a cycle is 0.1 nJ: 5,000 and 2,500 cycles are 0.5 and 0.25 uJ, 15 us."""
    profile = vela_profile(written(tmp_path / "net"), 0.05)
    assert [row.energy.value for row in profile.layers] == pytest.approx([0.5e-6, 0.25e-6])
    assert profile.total.value == pytest.approx(0.75e-6)
    assert profile.duration.value == pytest.approx(15e-6)
    assert [row.bound_by for row in profile.layers] == ["compute", "flash accesses"]
    assert [(each.op, each.path) for each in profile.uncounted] == [("custom", "post")]
    assert (profile.mode, profile.boundary, profile.total.origin) == ("datasheet", "soc_rail", "modelled")
    low, high = profile.layers[0].energy.bounds(0.9)
    assert high / 0.5e-6 == pytest.approx(DATASHEET, rel=0.02)
    assert sum(row.share for row in profile.layers) == pytest.approx(1.0)
    assert from_json(to_json(profile), EnergyProfile) == profile
    assert low < 0.5e-6


def test_tables_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds 0 files \*_per-layer.csv"):
        read_vela(tmp_path)
    for per_layer, summary in (("a,b\n1,2\n", "core_clock\n1\n"), (PER_LAYER, "clock\n1\n"), (PER_LAYER, "")):
        with pytest.raises(UsageError, match="not those of Vela 5"):
            read_vela(written(tmp_path / "net", per_layer, summary))
    head, *_, cpu = PER_LAYER.splitlines()
    with pytest.raises(ModelError, match="leaves nothing"):
        vela_profile(written(tmp_path / "net", f"{head}\n{cpu}\n"), 0.05)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="active power of 0 W"):
        vela_profile(tmp_path, 0)
    with pytest.raises(UsageError, match="there is no file"):
        vela_profile(tmp_path / "no.tflite", 0.05)
    with pytest.raises(UsageError, match="there is no file"):
        zigzag_profile(tmp_path / "no.onnx", tmp_path / "a.yaml", tmp_path / "m.yaml")
    with pytest.raises(UsageError, match="must be above 0"):
        zigzag_profile("net.onnx", "a.yaml", "m.yaml", unit_j=0)


@pytest.mark.skipif(find_spec("ethosu") is not None, reason="Vela is installed")
def test_without_vela_the_pip_line_is_said(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"joulecut\[ethos\]"):
        vela_profile(tmp_path / "net.tflite", 0.05)


@pytest.mark.skipif(find_spec("zigzag") is not None, reason="ZigZag is installed")
def test_without_zigzag_the_pip_line_is_said(tmp_path: Path) -> None:
    for name in ("net.onnx", "a.yaml", "m.yaml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"joulecut\[zigzag\]"):
        zigzag_profile(tmp_path / "net.onnx", tmp_path / "a.yaml", tmp_path / "m.yaml")


def test_a_cached_profile_is_made_once_and_a_damaged_one_again(tmp_path: Path) -> None:
    profile, made = vela_profile(written(tmp_path / "net"), 0.05), []

    def make() -> EnergyProfile:
        made.append(1)
        return profile

    key = content_key("a", b"b")
    assert cached(tmp_path / "kept", key, make) == cached(tmp_path / "kept", key, make) == profile
    assert len(made) == 1
    (tmp_path / "kept" / f"{key}.json").write_text("{}")
    assert cached(tmp_path / "kept", key, make) == profile
    assert len(made) == 2


@needs_vela
def test_a_convolution_through_vela(tmp_path: Path) -> None:
    """16 x 16 x 16 values of 3 x 3 x 8 products: 294,912 MACs, at most 128 a cycle."""
    write_convolution(tmp_path / "net.tflite")
    profile = vela_profile(tmp_path / "net.tflite", 0.05, cache=tmp_path / "kept")
    (layer,) = profile.layers
    assert (layer.macs, profile.device) == (294_912, "ethos-u55-128/vela/int8")
    assert layer.energy.value == pytest.approx(0.05 * layer.time.value)
    assert layer.time.value >= 294_912 / 128 / 500e6
    assert vela_profile(tmp_path / "net.tflite", 0.05, cache=tmp_path / "kept") == profile
    with pytest.raises(ModelError, match="Vela cannot compile"):
        vela_profile(tmp_path / "net.tflite", 0.05, accelerator="ethos-u0-1", cache=tmp_path / "kept")


@needs_zigzag
def test_a_convolution_through_zigzag(tmp_path: Path) -> None:
    """16 x 16 values of 8 channels to 8, 1 x 1: 16,384 MACs at 0.04 pJ, 4,160 bytes of DRAM at least."""
    spec = find_spec("zigzag")
    assert spec is not None
    assert spec.origin is not None
    inputs, model = Path(spec.origin).parent / "inputs", tmp_path / "net.onnx"
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16, 16]) for name in ("x", "y")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 8, 1, 1], [0.0] * 64)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c", kernel_shape=[1, 1])
    save(helper.make_model(helper.make_graph([node], "g", shapes[:1], shapes[1:], [weight])), model)
    yaml = inputs / "hardware/edge_tpu_like.yaml", inputs / "mapping/edge_tpu_like.yaml"
    profile = zigzag_profile(model, *yaml, lpf_limit=3, clock_hz=1e9, cache=tmp_path / "kept")
    (layer,) = profile.layers
    least_pj = 16_384 * 0.04 + (2048 + 64) * 87.5 + 2048 * 93.75
    assert (layer.path, layer.macs, profile.boundary) == ("c", 16_384, "definition")
    assert layer.energy.value > least_pj * 1e-12 * 0.999
    assert profile.duration.value > 0
    assert "pJ" not in profile.provenance["unit"]
    assert zigzag_profile(model, *yaml, lpf_limit=3, clock_hz=1e9, cache=tmp_path / "kept") == profile
