"""Small ONNX files made without torch, for tests of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


def conv_chain(path: Path, widths: tuple[int, ...], size: int = 8) -> Path:
    """3x3 convolutions with ReLU on a free batch of size x size images; weights from a fixed seed."""
    random = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "x", 1
    for index, width in enumerate(widths):
        values = random.standard_normal((width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        name, channels = f"r{index}", width
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, size, size])],
        weights,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def one_node(
    path: Path, op: str, shape: list[str | int | None], *, kind: int = TensorProto.FLOAT, domain: str = ""
) -> Path:
    """One operation with one input and one output of the same shape and type."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)],
        "one",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
