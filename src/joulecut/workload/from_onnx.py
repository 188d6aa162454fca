"""The workload of an .onnx file, without torch and without running it.

Read like a torch network: the same rules, the same folding. Weights count with the type in which the file
stores them, so that a weight behind a ``DequantizeLinear`` counts in int8; scales and zero points do not.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from joulecut.errors import ModelError, UsageError
from joulecut.workload.assemble import Network, assemble, merged, uncounted
from joulecut.workload.counting import FREE
from joulecut.workload.external_data import check_external_data
from joulecut.workload.inputs import InputSpec, arranged
from joulecut.workload.layer import Uncounted, Workload
from joulecut.workload.naming import is_leaf
from joulecut.workload.onnx_ops import roles, settings, translate, weight_value
from joulecut.workload.onnx_shapes import close_shapes
from joulecut.workload.operation import Operand, Operation, Value

__all__ = ["workload"]

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_CLASSES: Final = "pkg.torch.onnx.class_hierarchy"
_SHAPE_UNKNOWN: Final = "its shape is not known from the file"
_DTYPES: Final = {
    "float": "float32", "double": "float64", "float8e4m3fn": "float8_e4m3fn", "float8e5m2": "float8_e5m2",
    "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0",
    "float4e2m1": "float4_e2m1",
}  # fmt: skip
"""ONNX's names of number types that are not ours."""
_NO_DATA: Final = frozenset({"Shape", "Size"})


def workload(path: str | Path, *, batch: int = 1, inputs: tuple[InputSpec, ...] = ()) -> Workload:
    """What an .onnx network does in one inference, layer by layer.

    Args:
        path: the file; weights in files beside it are not read.
        batch: samples in one inference, where the file leaves the batch open. A file with a fixed batch
            keeps its own.
        inputs: shapes of inputs that the file leaves open; their type is that of the file.

    Raises:
        UsageError: no such file, a batch below 1, or another one or another input than the file's own.
        ModelError: no ONNX network, or one whose input has an open dimension that is not the batch.
    """
    if batch < 1:
        raise UsageError(f"the batch must be 1 or more, not {batch}.")
    file = Path(path)
    model = _load(file)
    _fix_inputs(model.graph, inputs, file)
    batch = _fix_batch(model.graph, batch, file)
    graph = _inferred(model, file).graph
    reading = _Reading.of(graph)
    network = Network(reading.inputs, *_operations(graph, reading))
    layers, reasons = assemble(network)
    return Workload(
        name=file.stem,
        layers=merged(layers.values()),
        uncounted=(*uncounted(layers, reasons), *reading.unresolved),
        batch=batch,
        input_shapes=tuple(value.shape for value in reading.inputs.values()),
        parameters=sum(reading.constants[name].numel for name in reading.weights),
    )


def _load(file: Path) -> ModelProto:
    if not file.is_file():
        raise UsageError(f"there is no file {file}.", hint="Give the path of an .onnx file.")
    try:
        model = onnx.load(str(file), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as ONNX: {error}.") from error
    check_external_data(model, file)
    if not model.graph.node:
        raise ModelError(f"{file} holds no network.", hint="Export it again.")
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    return model


def _inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs that are no weights."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def _fix_inputs(graph: GraphProto, specs: tuple[InputSpec, ...], file: Path) -> None:
    """Write the given shapes into the inputs that the file leaves open."""
    values = _inputs(graph)
    for value, spec in zip(values, arranged(specs, tuple(value.name for value in values)), strict=False):
        dims = value.type.tensor_type.shape.dim
        own = "x".join(str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or "?" for dim in dims)
        fits = len(dims) == len(spec.shape) and all(
            dim.dim_value in (0, size) for dim, size in zip(dims, spec.shape, strict=True)
        )
        if not fits:
            given = "x".join(map(str, spec.shape))
            raise UsageError(f"the input {value.name} of {file.name} is {own}, not {given}.")
        for dim, size in zip(dims, spec.shape, strict=True):
            dim.dim_value = size
    if len(specs) > len(values):
        raise UsageError(
            f"{file.name} takes {len(values)} input{'s' if len(values) != 1 else ''}, not {len(specs)}."
        )


def _fix_batch(graph: GraphProto, batch: int, file: Path) -> int:
    """Write the batch into the inputs; the shapes of all other values are to be found again."""
    inputs = _inputs(graph)
    open_names = set()
    for value in inputs:
        for position, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            if position and (not dim.dim_param or dim.dim_param not in open_names):
                raise ModelError(
                    f"{file.name}: dimension {position} of the input {value.name} is open.",
                    hint="Give its size with --input.",
                )
            open_names.add(dim.dim_param)
            dim.dim_value = batch
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    first = inputs[0].type.tensor_type.shape.dim if inputs else []
    own = first[0].dim_value if first else batch
    if batch not in (1, own):
        raise UsageError(f"{file.name} is fixed to batches of {own}, not {batch}.", hint="Export it again.")
    return own


def _inferred(model: ModelProto, file: Path) -> ModelProto:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelError(f"{file.name}: its shapes contradict each other: {str(error)[:200]}.") from error
    close_shapes(inferred)
    return inferred


@dataclass(slots=True)
class _Reading:
    """What is known of the file's values, by name."""

    values: dict[str, Value]
    inputs: dict[str, Value]
    constants: dict[str, Value]
    weights: set[str]
    maker: dict[str, str]
    unresolved: list[Uncounted]

    @classmethod
    def of(cls, graph: GraphProto) -> _Reading:
        constants = {t.name: Value(tuple(t.dims), _dtype(t.data_type)) for t in graph.initializer}
        typed = (*graph.input, *graph.value_info, *graph.output)
        values = {v.name: value for v in typed if (value := _value(v)) is not None}
        inputs = {v.name: values[v.name] for v in graph.input if v.name in values and v.name not in constants}
        return cls(values | constants, inputs, constants, set(), {name: name for name in inputs}, [])


def _value(info: ValueInfoProto) -> Value | None:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return Value(tuple(d.dim_value for d in tensor.shape.dim), _dtype(tensor.elem_type))


def _dtype(element: int) -> str:
    name = str(onnx.TensorProto.DataType.Name(element)).lower()
    return _DTYPES.get(name, name)


def _operations(graph: GraphProto, reading: _Reading) -> tuple[tuple[Operation, ...], tuple[str, ...]]:
    read_anywhere = _live(graph)
    operations = []
    for node in graph.node:
        if not any(name in read_anywhere for name in node.output):
            continue
        if node.op_type in _NO_DATA or all(not i or i in reading.constants for i in node.input):
            _keep_constant(node, reading)
            continue
        call = _operation(node, reading, read_anywhere)
        if call is not None:
            operations.append(call)
    outputs = [reading.maker[v.name] for v in graph.output if v.name in reading.maker]
    return tuple(operations), tuple(outputs)


def _live(graph: GraphProto) -> set[str]:
    """Values that an output depends on."""
    live = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if live.intersection(node.output):
            live.update(node.input)
    return live - {""}


def _keep_constant(node: NodeProto, reading: _Reading) -> None:
    """A value that does not depend on the input; behind ``DequantizeLinear`` with its stored type."""
    for name in node.output:
        value = reading.values.get(name, Value((), "float32"))
        if node.op_type == "DequantizeLinear":
            value = Value(value.shape, reading.constants[node.input[0]].dtype)
        reading.constants[name] = reading.values[name] = value


def _operation(node: NodeProto, reading: _Reading, live: set[str]) -> Operation | None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    positions = zip(roles(node.op_type, len(node.input)), node.input, strict=True)
    named = [(role, name) for role, name in positions if role and name]
    outputs = [name for name in node.output if name in live]
    known = all(name in reading.constants or name in reading.maker for _, name in named)
    if not known or outputs[0] not in reading.values:
        path = _module(node)[0] or node.name or node.output[0]
        reading.unresolved.append(Uncounted(node.op_type, path, 1, _SHAPE_UNKNOWN))
        return None
    values = [reading.values[name] for _, name in named]
    constants = [name in reading.constants for _, name in named]
    op = translate(node.op_type, attributes, values, constants)
    if op in FREE:  # a view, and a value behind DequantizeLinear, is in memory as it is stored
        for name in outputs:
            reading.values[name] = Value(reading.values[name].shape, values[0].dtype)
    if op == "linear" and node.op_type != "Gemm":
        named = [("input", named[0][1]), ("weight", named[1][1])]
    operands = tuple(
        Operand(
            role,
            name if constant else reading.maker[name],
            weight_value(node.op_type, attributes, op, value) if role == "weight" else value,
            constant,
        )
        for (role, name), value, constant in zip(named, values, constants, strict=True)
    )
    for name in outputs:
        reading.maker[name] = outputs[0]
    reading.weights.update(o.source for o in operands if o.constant and o.role != "hx")
    module, leaf = _module(node)
    return Operation(
        name=outputs[0],
        op=op,
        operands=operands,
        results=tuple(reading.values[name] for name in outputs if name in reading.values),
        settings=settings(node.op_type, attributes, len(values[0].shape)),
        module=module,
        leaf=leaf,
    )


def _module(node: NodeProto) -> tuple[str, bool]:
    """The author's module, and whether it is a layer by itself: from torch's metadata, else from the name."""
    properties = {p.key: p.value for p in node.metadata_props}
    if _SCOPES in properties and _CLASSES in properties:
        scopes, classes = _names(properties[_SCOPES]), _names(properties[_CLASSES])
        if len(scopes) > 1 and len(classes) > 1:
            return scopes[-2], is_leaf(classes[-2])
        return "", False
    parts = [part for part in re.split(r"[/\s]+", node.name) if part]
    if len(parts) > 1 and re.fullmatch(rf"{re.escape(node.op_type)}(_\d+)?", parts[-1]):
        parts.pop()
    names: list[str] = []
    for part in parts:
        if names and part.startswith(f"{names[-1]}."):
            names.pop()
        names.append(part)
    return ".".join(names), bool(names)


def _names(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(name) for name in found] if isinstance(found, list) else []
