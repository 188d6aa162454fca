from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from joulecut.benchmarks.export import OnnxExport, export_onnx, export_pt2
from joulecut.benchmarks.parity import check_parity
from joulecut.errors import ModelError, OutputError, ParityError
from joulecut.workload.program_file import check_program
from joulecut.workload.trace import trace


class Mixed(nn.Module):
    """A depthwise convolution, a residual sum, a squeeze-and-excite gate and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        z = y + self.depthwise(y)
        z = z * torch.sigmoid(self.gate(z))
        out: torch.Tensor = self.head(z.mean((2, 3)))
        return out


class Sequence(nn.Module):
    """An attention block after an LSTM; the last step's output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 16, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(x)
        z = self.norm(y)
        attended, _ = self.attention(z, z, z, need_weights=False)
        out: torch.Tensor = (y + attended)[:, -1]
        return out


class Eigenvalues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.linalg.eigvals(x).abs()
        return out


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Mixed:
    torch.manual_seed(0)
    model = Mixed()
    for _ in range(3):
        model(torch.randn(8, 1, 8, 8))  # batch norm statistics that are not 0 and 1
    return model


@pytest.fixture(scope="module")
def exported(network: Mixed, tmp_path_factory: pytest.TempPathFactory) -> OnnxExport:
    network.train()
    network.stem[1].eval()
    result = export_onnx(network, torch.randn(1, 1, 8, 8), tmp_path_factory.mktemp("export") / "mixed.onnx")
    assert network.training
    assert not network.stem[1].training
    network.eval()
    return result


def test_export_passes_its_parity_gate(exported: OnnxExport) -> None:
    assert exported.max_error <= exported.tolerance
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.dynamic_batch
    assert [p.name for p in exported.path.parent.iterdir()] == [exported.path.name]


@pytest.mark.parametrize("batch", [1, 5])
def test_export_runs_for_any_batch(exported: OnnxExport, network: Mixed, batch: int) -> None:
    x = torch.randn(batch, 1, 8, 8)
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    (found,) = session.run(None, {entry.name: x.numpy()})
    assert entry.shape[0] == "batch"
    np.testing.assert_allclose(np.asarray(found), network(x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_export_tells_nothing_of_this_machine(exported: OnnxExport) -> None:
    content = exported.path.read_bytes()
    here = Path(__file__).resolve()
    for secret in (str(Path.home()), str(Path.cwd()), str(here.parent), here.name, os.sep + "site-packages"):
        assert secret.encode() not in content
    nodes = onnx.load(exported.path).graph.node
    scopes = {entry.value for node in nodes for entry in node.metadata_props}
    assert any("'depthwise'" in scope for scope in scopes)
    assert {entry.key for node in nodes for entry in node.metadata_props} == {"pkg.torch.onnx.name_scopes"}


def test_traced_graph_exports_to_the_same_numbers_again_and_again(network: Mixed, tmp_path: Path) -> None:
    x = torch.randn(2, 1, 8, 8)
    traced = trace(network, x)
    for name in ("a.onnx", "b.onnx"):
        export_onnx(traced.module, x, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_tampered_file_fails_the_gate(exported: OnnxExport, network: Mixed) -> None:
    x = torch.randn(2, 1, 8, 8)
    check_parity(exported.path.read_bytes(), network, [(x,)])
    model = onnx.load(exported.path)
    weight = next(w for w in model.graph.initializer if w.name == "depthwise.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ParityError, match="output 0 differs by"):
        check_parity(model.SerializeToString(), network, [(x,)])


def test_parity_needs_the_same_outputs(exported: OnnxExport) -> None:
    with pytest.raises(ParityError, match="shapes"):
        check_parity(exported.path.read_bytes(), nn.Flatten(), [(torch.randn(2, 1, 8, 8),)])


def test_lstm_and_attention_export(tmp_path: Path) -> None:
    result = export_onnx(Sequence(), torch.randn(2, 5, 4), tmp_path / "sequence.onnx")
    assert result.dynamic_batch


def test_operation_without_onnx_form(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"ONNX has no form of aten\.linalg_eig"):
        export_onnx(Eigenvalues(), torch.randn(2, 3, 3), tmp_path / "eig.onnx")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_folder_that_is_not_there(network: Mixed, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        export_pt2(network, torch.randn(1, 1, 8, 8), tmp_path / "none" / "model.pt2")


def test_program_loads_without_joulecut(network: Mixed, tmp_path: Path) -> None:
    x = torch.randn(5, 1, 8, 8)
    file = export_pt2(network, x[:1], tmp_path / "model.pt2")
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy, torch\n"
        "sys.modules['joulecut'] = None\n"
        "x = torch.from_numpy(numpy.load(sys.argv[2]))\n"
        "y = torch.export.load(sys.argv[1]).module()(x)\n"
        "numpy.save(sys.argv[3], y.detach().numpy())\n"
    )
    argv = [sys.executable, "-c", code, str(file), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run(argv, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), network(x).detach().numpy(), rtol=1e-4, atol=1e-6)
    check_program(file)
    content = file.read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert b"site-packages" not in content
