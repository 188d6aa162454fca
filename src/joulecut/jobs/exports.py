"""The networks of a result folder as files: before and after in ONNX, the result as program and weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor, fx

from joulecut.benchmarks.export import export_onnx, export_pt2

__all__ = ["network_files"]


def network_files(
    original: fx.GraphModule, model: fx.GraphModule, inputs: tuple[Tensor, ...]
) -> dict[str, bytes]:
    """``before.onnx``, ``model.onnx``, ``model.pt2`` and ``weights.safetensors``, by file name.

    Raises:
        ModelError: a network cannot be exported.
    """
    from safetensors.torch import save

    with tempfile.TemporaryDirectory(prefix="joulecut-") as name:
        export_onnx(original, inputs, Path(name) / "before.onnx")
        export_onnx(model, inputs, Path(name) / "model.onnx")
        export_pt2(model, inputs, Path(name) / "model.pt2")
        files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return {**files, "weights.safetensors": save(state)}
