"""The functions behind ``import joulecut``: save and load, profile without torch, compare, report."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import joulecut as jc
from joulecut.api import demo
from joulecut.errors import OutputError, SchemaError, UnknownDevice, UsageError
from joulecut.hw_models.profile import EnergyProfile

DEVICE = "reference/edge/float32"
BOARD = "raspberry-pi-4b/tflite/float32"


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 5))


def profile(device: str = DEVICE, width: int = 8) -> EnergyProfile:
    return jc.profile(network(width), torch.zeros(1, 3, 8, 8), device=device, name="net")


def test_a_profile_by_hand() -> None:
    """A linear layer 4 -> 8 on the reference device: 32 MACs x 4 pJ + (160 + 16 + 32) bytes x 20 pJ."""
    found = jc.profile(nn.Linear(4, 8), torch.zeros(1, 4), device=DEVICE)
    assert found.total.value == pytest.approx(32 * 4e-12 + 208 * 20e-12, rel=1e-12)
    assert found.total.origin == "assumed"


def test_a_shape_serves_as_an_example_and_filters_are_told_on_demand() -> None:
    by_text = jc.profile(network(), "1x3x8x8", device=DEVICE, per_filter=True)
    assert by_text.total == profile().total
    (stairs,) = by_text.filters
    assert (stairs.path, stairs.filters) == ("0", 8)
    assert profile().filters == ()


@pytest.mark.parametrize("device", [DEVICE, BOARD])
def test_a_record_saves_and_loads(tmp_path: Path, device: str) -> None:
    found = profile(device)
    path = tmp_path / "profile.json"
    jc.save(found, path)
    assert jc.load(path) == found
    assert jc.load(str(path)) == found
    comparison = jc.compare(path, found)
    assert comparison.ratio.value == 1.0
    jc.save(comparison, path)
    assert jc.load(path) == comparison


def test_what_cannot_be_loaded_is_told_in_one_sentence(tmp_path: Path) -> None:
    jc.save(profile(), tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    newer = text.replace("energy_profile/1", "energy_profile/999")
    assert newer != text
    for name, content, message in (
        ("empty.json", "", "not JSON"),
        ("torn.json", text[:300], "not JSON"),
        ("bytes.json", "\udcff", "not JSON"),
        ("list.json", "[1, 2]", "no record of joulecut"),
        ("other.json", '{"schema": "joulecut/nonsense/1"}', "no record of joulecut"),
        ("damaged.json", text.replace('"layers": [', '"layers": [3, '), "damaged"),
        ("newer.json", newer, "newer joulecut"),
    ):
        (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(SchemaError, match=message) as caught:
            jc.load(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    for missing in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="cannot read"):
            jc.load(missing)


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file" / "p.json", tmp_path / "none" / "p.json"):
        with pytest.raises(OutputError, match="cannot write"):
            jc.save(profile(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_fewer_joules_compare_as_less(tmp_path: Path) -> None:
    """A ratio by hand: both totals on a device without an interval."""
    small, large = profile(width=4), profile(width=8)
    found = jc.compare(large, small)
    assert found.verdict == "less"
    assert found.ratio.value == pytest.approx(small.total.value / large.total.value)
    assert jc.compare(small, large).verdict == "more"


def test_profiles_of_other_kinds_are_not_compared() -> None:
    one = profile()
    other_boundary = dataclasses.replace(one, boundary="wall_ac")
    other_batch = jc.profile(network(), torch.zeros(2, 3, 8, 8), device=DEVICE)
    for other, what in (
        (profile(BOARD), "devices"),
        (other_boundary, "boundaries"),
        (other_batch, "batches"),
    ):
        with pytest.raises(UsageError, match=f"different {what}"):
            jc.compare(one, other)
    with pytest.raises(UsageError, match="is no profile"):
        jc.compare(one, jc.compare(one, one))  # type: ignore[arg-type]


def test_devices_are_found_by_name_and_described() -> None:
    names = [description.name for description in jc.devices()]
    assert DEVICE in names
    assert len(names) == len(set(names)) >= 6
    assert jc.device(DEVICE).channel_step == 4
    with pytest.raises(UnknownDevice, match="reference/edge/float32"):
        jc.device("reference/edge/float23")


def test_a_report_is_one_page_and_only_of_records(tmp_path: Path) -> None:
    jc.save(profile(), tmp_path / "p.json")
    jc.report(tmp_path / "p.json", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    with pytest.raises(UsageError, match="no page for a dict"):
        jc.report({}, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_an_explanation_is_of_a_layer_or_of_all() -> None:
    assert jc.explain(profile(), "0") is not None
    with pytest.raises(UsageError):
        jc.explain(profile(), "no such layer")


def test_measuring_sensors_are_refused_for_now() -> None:
    with pytest.raises(UsageError, match="does not measure"):
        jc.profile(network(), "1x3x8x8", sensor="nvml")


def test_the_demo_refuses_data_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        demo(tmp_path / "out", data_dir=tmp_path)
    assert not (tmp_path / "out").exists()


def onnx_linear(path: Path) -> None:
    """y = x W' + b, 4 -> 8."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 4], [0.5] * 32)
    bias = helper.make_tensor("b", TensorProto.FLOAT, [8], [0.0] * 8)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 4), ("y", 8))]
    graph = helper.make_graph([node], "linear", value[:1], value[1:], [weight, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


WITHOUT_TORCH = """
import json, sys
for name in ("torch", "onnxscript", "safetensors", "scipy"):
    sys.modules[name] = None
import joulecut as jc
profile = jc.profile("{folder}/net.onnx", device="reference/edge/float32")
jc.save(profile, "{folder}/p.json")
jc.report("{folder}/p.json", "{folder}/p.html")
try:
    jc.prune("{folder}/net.onnx", budget="50%", device="reference/edge/float32", data="digits")
except jc.errors.MissingExtra as error:
    refused = str(error) + (error.hint or "")
verdict = jc.compare("{folder}/p.json", profile).verdict
print(json.dumps([profile.total.value, verdict, len(jc.devices()), refused]))
"""


def test_without_torch_an_onnx_file_is_profiled_and_pruning_says_what_to_install(tmp_path: Path) -> None:
    onnx_linear(tmp_path / "net.onnx")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH.format(folder=tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    assert found[0] == pytest.approx(32 * 4e-12 + 208 * 20e-12, rel=1e-12)
    assert found[1] == "same"
    assert found[2] >= 6
    assert "joulecut[torch]" in found[3]
