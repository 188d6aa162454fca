"""A torch network as a .onnx file that provably computes the same."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joulecut.benchmarks.parity import Parity, check_parity
from joulecut.benchmarks.program import export_pt2
from joulecut.codec import write_bytes
from joulecut.errors import MissingExtra, ModelError, UsageError

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["OnnxExport", "export_onnx", "export_pt2"]

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_ONNX_LIMIT_BYTES: Final = 2**31 - 1
"""A protobuf message, and with it a .onnx file in one piece, ends here."""


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """A written .onnx file and how far it is from the original.

    Attributes:
        path: the file.
        seconds: time of the export with its check.
        max_error: largest absolute difference to torch on the batch that came closest to its tolerance.
        tolerance: what was allowed there.
        size_bytes: size of the file.
        dynamic_batch: the file runs for any batch size.
    """

    path: Path
    seconds: float
    max_error: float
    tolerance: float
    size_bytes: int
    dynamic_batch: bool


def export_onnx(
    network: torch.nn.Module | torch.export.ExportedProgram,
    inputs: torch.Tensor | Sequence[torch.Tensor],
    path: str | Path,
    *,
    opset: int = 20,
) -> OnnxExport:
    """Export a network to ONNX, run it in onnxruntime, and write it only if it computes the same.

    The batch is free where the network allows it. The file holds weights, operations and the module each
    operation comes from, but no folder, no source line and no user: the same network gives the same bytes.

    Args:
        network: a module (a traced graph included), exported in evaluation mode, or an exported program.
        inputs: one example tensor, or one per argument of ``forward``; first dimension is the batch.
        path: the .onnx file; written whole or not at all.
        opset: ONNX operator set, 18 or newer.

    Raises:
        TraceError: torch.export cannot capture the network.
        ModelError: an operation has no ONNX form, or the network is too large for one file.
        ParityError: onnxruntime computes something else than torch.
        MissingExtra: onnxscript is not installed.
        UsageError: an operator set that torch cannot write.
        OutputError: the file cannot be written.
    """
    start = time.perf_counter()
    if find_spec("onnxscript") is None:
        raise MissingExtra("onnxscript", "torch", "exporting to ONNX")
    import torch

    from joulecut.workload.trace import capture

    example = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    if isinstance(network, torch.export.ExportedProgram):
        program = network
        reference: torch.nn.Module = network.module(check_guards=False)
    else:
        program, reference = capture(network, example)[0], network
    model = _convert(program, example, opset)
    dynamic = _clean(model)
    data = model.SerializeToString(deterministic=True)
    parity = _parity(data, reference, example, dynamic)
    write_bytes(Path(path), data)
    seconds = time.perf_counter() - start
    return OnnxExport(Path(path), seconds, parity.max_error, parity.tolerance, len(data), dynamic)


def _convert(
    program: torch.export.ExportedProgram, example: tuple[torch.Tensor, ...], opset: int
) -> onnx.ModelProto:
    import torch
    import torch.onnx

    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if size >= _ONNX_LIMIT_BYTES:
        raise ModelError(f"the weights take {size} bytes: a .onnx file in one piece ends at 2 GiB.")
    try:
        with _quiet():
            exported = torch.onnx.export(program, example, dynamo=True, opset_version=opset, verbose=False)
            assert exported is not None
            model: onnx.ModelProto = exported.model_proto
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(
            f"the network cannot be written as ONNX: {_reason(error)}",
            hint="Replace the operation by others that ONNX has.",
        ) from error
    written = next(entry.version for entry in model.opset_import if entry.domain == "")
    if written != opset:
        raise UsageError(
            f"torch cannot write this network in ONNX operator set {opset}.", hint=f"Use {written}."
        )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence for the exporter too, whose loggers are first made while it runs."""
    from joulecut.workload.quiet import quiet_torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with quiet_torch():
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The operation without an ONNX form, else the first line of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    missing = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
    if missing:
        return f"ONNX has no form of {missing[1]}."
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line[:300].rstrip(".") + "."


def _clean(model: onnx.ModelProto) -> bool:
    """Drop what tells of the exporting machine; name the free batch; return whether there is one.

    Of the exporter's notes only the module path of each operation is kept: its source lines hold folders.
    """
    del model.metadata_props[:]
    model.ClearField("doc_string")
    for graph in _graphs(model.graph):
        for item in (graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            del item.metadata_props[:]
            item.ClearField("doc_string")
        for node in graph.node:
            _clean_node(node)
    for function in model.functions:
        del function.metadata_props[:]
        function.ClearField("doc_string")
        for node in function.node:
            _clean_node(node)
    return _name_batch(model.graph)


def _clean_node(node: onnx.NodeProto) -> None:
    kept = [entry for entry in node.metadata_props if entry.key == _SCOPES]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)
    node.ClearField("doc_string")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those of its branches and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _name_batch(graph: onnx.GraphProto) -> bool:
    """Call the free first size of the inputs ``batch`` everywhere; the exporter calls it ``s31``."""
    shapes = [value.type.tensor_type.shape.dim for value in graph.input]
    names = {dims[0].dim_param for dims in shapes if dims and dims[0].dim_param}
    if len(names) != 1:
        return False
    symbol = re.compile(rf"\b{re.escape(names.pop())}\b")
    for part in _graphs(graph):
        for value in (*part.input, *part.output, *part.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = symbol.sub("batch", dim.dim_param)
    return True


def _parity(
    data: bytes, reference: torch.nn.Module, example: tuple[torch.Tensor, ...], dynamic: bool
) -> Parity:
    from joulecut.workload.trace import evaluating

    with evaluating(reference):
        return check_parity(data, reference, [example, _second(example, dynamic)])


def _second(example: tuple[torch.Tensor, ...], dynamic: bool) -> tuple[torch.Tensor, ...]:
    """Other inputs of the same kind: one sample more where the batch is free, floats drawn afresh."""
    import torch

    random = torch.Generator().manual_seed(0)

    def redrawn(t: torch.Tensor) -> torch.Tensor:
        if not t.ndim:
            return t
        rows = torch.arange(t.shape[0] + int(dynamic)) % t.shape[0]
        copy = t[rows.to(t.device)]
        if not t.is_floating_point():
            return copy
        noise = torch.randn(copy.shape, generator=random).to(t)
        return torch.add(noise * t.std(correction=0), t.mean())

    return tuple(map(redrawn, example))
