"""The workload of .onnx files: against the torch reading, and by hand on small files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from joulecut.benchmarks.networks.autoencoder import autoencoder_machine_sound
from joulecut.benchmarks.networks.dscnn import ds_cnn_keywords
from joulecut.errors import ModelError, UsageError
from joulecut.workload import from_torch
from joulecut.workload.from_onnx import workload
from joulecut.workload.layer import LayerWork
from joulecut.workload.quiet import quiet_torch


class Vision(nn.Module):
    """Residual, squeeze-excite, concat, grouped and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 2, 1)
        self.excite = nn.Conv2d(2, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(16, 6, 2, 2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.norm(self.stem(x)))
        gate = torch.sigmoid(self.excite(functional.hardswish(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = torch.add(self.grouped(y * gate), y)
        y = self.up(torch.cat([y, functional.gelu(y)], 1))
        return torch.softmax(self.head(functional.max_pool2d(y, 2).mean((2, 3))), -1)


class Sequence1d(nn.Module):
    """Attention, layer norm, recurrent layers, one-dimensional convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 12, 3, padding=1)
        self.norm = nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.lstm = nn.LSTM(12, 5, batch_first=True)
        self.gru = nn.GRU(5, 6, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).transpose(1, 2))
        y = y + self.attention(y, y, y, need_weights=False)[0]
        z: Tensor = self.fc(self.gru(self.lstm(y)[0])[0])
        return z


def exported(model: nn.Module, x: Tensor, path: Path, *, dynamic: bool) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    with quiet_torch():
        program = torch.onnx.export(model.eval(), (x,), dynamo=True, verbose=False, dynamic_shapes=shapes)
        assert program is not None
        program.save(str(path))
    return path


@pytest.mark.parametrize(
    ("build", "shape", "dynamic"),
    [
        (Vision, (3, 8, 8), True),
        (Sequence1d, (4, 10), False),
        (ds_cnn_keywords, (1, 49, 10), True),
        (autoencoder_machine_sound, (640,), True),
    ],
    ids=["vision", "sequence", "ds-cnn", "autoencoder"],
)
def test_macs_equal_the_torch_reading(
    build: Callable[[], nn.Module], shape: tuple[int, ...], dynamic: bool, tmp_path: Path
) -> None:
    model, x = build().eval(), torch.randn(2, *shape)
    path = exported(model, x, tmp_path / "net.onnx", dynamic=dynamic)
    read, expected = workload(path, batch=2), from_torch.workload(model, x)
    assert read.macs == expected.macs
    assert not read.uncounted
    assert (read.batch, read.input_shapes, read.name) == (2, expected.input_shapes, "net")
    if dynamic:
        assert workload(path).macs * 2 == read.macs
        mine, theirs = (
            {layer.path: layer.macs for layer in work.layers if layer.macs} for work in (read, expected)
        )
        assert mine == theirs


def test_activations_and_norms_are_folded_as_in_torch(tmp_path: Path) -> None:
    path = exported(Vision(), torch.randn(2, 3, 8, 8), tmp_path / "net.onnx", dynamic=True)
    work = {layer.path: layer for layer in workload(path).layers}
    assert list(work) == [
        *("stem", "mean", "squeeze", "excite", "mul", "grouped", "add", "cat", "up"),
        *("max_pool2d", "mean_1", "head", "softmax"),
    ]  # fmt: skip
    assert work["stem"].reads_input
    assert [p for p, layer in work.items() if layer.writes_output] == ["softmax"]
    assert (work["mul"].in_bytes, work["mul"].out_bytes) == (4 * (8 * 64 + 8), 4 * 8 * 64)


# ---------------------------------------------------------------- files by hand


def saved(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    arrays: dict[str, Any],
    *,
    x: Sequence[int | str] = ("n", 3, 8, 8),
    element: int = TensorProto.FLOAT,
    out: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "by hand",
        [helper.make_tensor_value_info("x", element, list(x))],
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path


def conv(path: Path, dtype: type = np.float32, element: int = TensorProto.FLOAT) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/features/features.0/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    arrays: dict[str, Any] = {"w": np.zeros((4, 3, 3, 3), dtype), "b": np.zeros(4, dtype)}
    return saved(path, nodes, arrays, element=element, out=element)


def only(path: Path, batch: int = 1) -> LayerWork:
    work = workload(path, batch=batch)
    assert not work.uncounted
    (layer,) = work.layers
    return layer


def test_a_convolution_by_hand(tmp_path: Path) -> None:
    layer = only(conv(tmp_path / "net.onnx"), batch=5)
    assert layer == LayerWork(
        path="features.0",
        op="conv2d",
        kind="dense",
        macs=5 * 4 * 64 * 27,
        weight_bytes=4 * (4 * 27 + 4),
        in_bytes=4 * 5 * 3 * 64,
        out_bytes=4 * 5 * 4 * 64,
        in_shape=(5, 3, 8, 8),
        out_shape=(5, 4, 8, 8),
        weight_shape=(4, 3, 3, 3),
        in_channels=3,
        out_channels=4,
        bias_bytes=16,
        reads_input=True,
        writes_output=True,
    )


def test_float16(tmp_path: Path) -> None:
    layer = only(conv(tmp_path / "net.onnx", np.float16, TensorProto.FLOAT16))
    assert (layer.dtype, layer.weight_bytes, layer.out_bytes) == ("float16", 2 * 112, 2 * 4 * 64)


def test_quantised_weights_and_activations_count_as_stored(tmp_path: Path) -> None:
    scale = {"s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["d", "wd"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s", "z"], ["y"]),
    ]
    path = saved(tmp_path / "net.onnx", nodes, {**scale, "w": np.zeros((4, 3, 3, 3), np.int8)})
    quantise, layer = workload(path).layers
    assert (quantise.op, quantise.in_bytes, quantise.out_bytes) == ("quantize", 4 * 192, 192)
    assert (layer.path, layer.dtype, layer.weight_bytes) == ("conv", "int8", 108)
    assert (layer.in_bytes, layer.out_bytes, layer.macs) == (192, 4 * 36, 4 * 36 * 27)


def test_integer_convolution(tmp_path: Path) -> None:
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"], name="conv", group=3)
    arrays: dict[str, Any] = {"w": np.zeros((6, 1, 3, 3), np.uint8)}
    layer = only(
        saved(tmp_path / "net.onnx", [node], arrays, element=TensorProto.UINT8, out=TensorProto.INT32)
    )
    assert (layer.kind, layer.groups, layer.macs) == ("depthwise", 3, 6 * 36 * 9)
    assert (layer.weight_bytes, layer.in_bytes, layer.out_bytes) == (54, 192, 4 * 6 * 36)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_and_matmul_with_a_bias_are_linear_layers(tmp_path: Path, transposed: int) -> None:
    weight = np.zeros((5, 7) if transposed else (7, 5), np.float32)
    gemm = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="fc", transB=transposed)]
    matmul = [
        helper.make_node("MatMul", ["x", "wt"], ["m"], name="fc"),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    arrays = {"w": weight, "wt": np.zeros((7, 5), np.float32), "b": np.zeros(5, np.float32)}
    for nodes in (gemm, matmul):
        layer = only(saved(tmp_path / "net.onnx", nodes, arrays, x=("n", 7)), batch=2)
        assert (layer.op, layer.macs, layer.weight_shape) == ("linear", 2 * 35, (5, 7))
        assert (layer.in_channels, layer.out_channels) == (7, 5)
        assert (layer.weight_bytes, layer.bias_bytes) == (4 * 40, 20)


def test_batch_norm_after_a_convolution_is_folded_and_shape_arithmetic_is_free(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "v", "v", "v", "v"], ["n"]),
        helper.make_node("Shape", ["n"], ["shape"], end=1),
        helper.make_node("Concat", ["shape", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["n", "to"], ["y"]),
    ]
    arrays = {
        "w": np.zeros((4, 3, 3, 3), np.float32),
        "v": np.zeros(4, np.float32),
        "rest": np.array([-1], np.int64),
    }
    layer = only(saved(tmp_path / "net.onnx", nodes, arrays), batch=3)
    assert (layer.path, layer.macs, layer.writes_output) == ("conv", 3 * 4 * 36 * 27, True)


def test_unknown_operators_are_listed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonMaxSuppression", ["x", "x"], ["i"], name="nms"),
        helper.make_node("Twist", ["x"], ["t"], name="twist", domain="mine"),
        helper.make_node("Relu", ["t"], ["r"], name="relu"),
        helper.make_node("Det", ["x"], ["d"], name="det"),
        helper.make_node("Mul", ["d", "r"], ["y"], name="mul"),
    ]
    work = workload(saved(tmp_path / "net.onnx", nodes, {}))
    assert {(u.op, u.path) for u in work.uncounted} == {
        ("Twist", "twist"), ("Relu", "relu"), ("Det", "det"), ("Mul", "mul"),
    }  # fmt: skip
    reasons = {u.op: u.reason for u in work.uncounted}
    assert "shape is not known" in reasons["Twist"]
    assert "no counting rule" in reasons["Det"]
    (det,) = work.layers
    assert (det.kind, det.macs, det.in_bytes, det.out_bytes) == ("elementwise", 0, 768, 12)


def test_batches(tmp_path: Path) -> None:
    fixed = saved(tmp_path / "net.onnx", [helper.make_node("Softmax", ["x"], ["y"])], {}, x=(4, 10))
    assert workload(fixed).batch == workload(fixed, batch=4).batch == 4
    with pytest.raises(UsageError, match="fixed to batches of 4, not 2"):
        workload(fixed, batch=2)
    with pytest.raises(UsageError, match="1 or more"):
        workload(fixed, batch=0)
    opened = saved(tmp_path / "net.onnx", [helper.make_node("Softmax", ["x"], ["y"])], {}, x=("n", "time"))
    with pytest.raises(ModelError, match="dimension 1 of the input x is open"):
        workload(opened)


@pytest.mark.parametrize(
    ("content", "message"), [(b"\x80\x04 no onnx", "cannot be read"), (b"", "no network")]
)
def test_files_that_are_no_onnx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UsageError, match="there is no file"):
        workload(path)
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        workload(path)
    assert "\n" not in str(caught.value)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = conv(tmp_path / "net.onnx")
    code = (
        "import sys; from joulecut.workload.from_onnx import workload\n"
        f"print(workload({str(path)!r}).macs, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(4 * 64 * 27), "False"]
