"""Shapes that ONNX's own inference leaves open because they are computed in the graph.

Exporters write ``x.view(n, -1, heads)`` as integer arithmetic over the shape of x. Inference follows a few
of those operations; here small integers are computed with ONNX's reference implementation, so that a shape
is open only where it depends on the values that a network reads.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, TypeProto

__all__ = ["close_shapes"]

_ARITHMETIC: Final = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal",
    "Expand", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max",
    "Min", "Mod", "Mul", "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd",
    "ReduceSum", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Unsqueeze", "Where",
})  # fmt: skip
"""Operations that shapes are computed with."""
_SMALL: Final = 256
"""Most elements of a tensor that can be a shape, or a part of one."""


def close_shapes(model: ModelProto) -> None:
    """Add the types of values that inference left open, as far as they follow from the inputs' shapes.

    Args:
        model: after ``onnx.shape_inference``; its ``value_info`` is completed in place.
    """
    graph = model.graph
    types = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    if all(_is_closed(types.get(name)) for node in graph.node for name in node.output if name):
        return
    versions = {opset.domain: opset.version for opset in model.opset_import}
    known = {tensor.name: value for tensor in graph.initializer if (value := _small(tensor)) is not None}
    for node in graph.node:
        known |= _computed(node, known, types, versions)
        if all(_is_closed(types.get(name)) for name in node.output if name):
            continue
        for name, found in _inferred(node, known, types, model).items():
            if not _is_closed(types.get(name)) and _is_closed(found):
                types[name] = found
                graph.value_info.add(name=name).type.CopyFrom(found)


def _is_closed(found: TypeProto | None) -> bool:
    if found is None or not found.tensor_type.HasField("shape"):
        return False
    return all(dim.HasField("dim_value") for dim in found.tensor_type.shape.dim)


def _small(tensor: TensorProto) -> NDArray[np.generic] | None:
    """The value of a small tensor that is stored in the file itself."""
    if math.prod(tensor.dims) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
        return None
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _computed(
    node: NodeProto,
    known: dict[str, NDArray[np.generic]],
    types: dict[str, TypeProto],
    versions: dict[str, int],
) -> dict[str, NDArray[np.generic]]:
    """The outputs of a node of shape arithmetic; {} where they are not known."""
    if node.domain or len(node.output) < 1:
        return {}
    if node.op_type in ("Shape", "Size"):
        found = types.get(node.input[0])
        if found is None or not _is_closed(found):
            return {}
        dims = [dim.dim_value for dim in found.tensor_type.shape.dim]
        attributes = {each.name: each.i for each in node.attribute}
        shape = dims[attributes.get("start", 0) : attributes.get("end")]
        return {
            node.output[0]: np.array(math.prod(dims) if node.op_type == "Size" else shape, dtype=np.int64)
        }
    if node.op_type not in _ARITHMETIC or not all(name in known for name in node.input if name):
        return {}
    from onnx.reference import ReferenceEvaluator

    graph = onnx.helper.make_graph(
        [node],
        "shape",
        [onnx.helper.make_value_info(name, TypeProto()) for name in dict.fromkeys(node.input) if name],
        [onnx.helper.make_value_info(name, TypeProto()) for name in node.output],
    )
    opsets = [onnx.helper.make_opsetid("", versions.get("", 1))]
    try:
        values = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets)).run(
            None, {name: known[name] for name in node.input if name}
        )
    except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return {}  # the value stays unknown, and what hangs on it is listed as such
    arrays = {name: np.asarray(value) for name, value in zip(node.output, values, strict=True)}
    return {name: array for name, array in arrays.items() if array.size <= _SMALL}


def _inferred(
    node: NodeProto, known: dict[str, NDArray[np.generic]], types: dict[str, TypeProto], model: ModelProto
) -> dict[str, TypeProto]:
    """Types of a node's outputs, with the values of its small inputs in view."""
    reads = [name for name in node.input if name]
    if not all(_is_closed(types.get(name)) for name in reads):
        return {}
    data = {name: onnx.numpy_helper.from_array(known[name], name) for name in reads if name in known}
    versions = {opset.domain: opset.version for opset in model.opset_import}
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
        return dict(
            onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                {name: types[name] for name in reads},
                data,
                opset_imports=list(model.opset_import),
            )
        )
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
