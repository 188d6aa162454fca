"""Quantised files, weights kept elsewhere, computed shapes and attention in .onnx files, counted by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from joulecut.workload.from_onnx import workload
from joulecut.workload.layer import LayerWork, Workload


def tensor(name: str, element: int, *shape: int) -> TensorProto:
    return helper.make_tensor(name, element, shape, [0] * math.prod(shape))


def read(
    path: Path,
    nodes: Sequence[NodeProto],
    stored: Sequence[TensorProto],
    *shape: int | str,
    element: int = TensorProto.FLOAT,
    out: int = TensorProto.FLOAT,
    opset: int = 21,
    batch: int = 1,
) -> Workload:
    graph = helper.make_graph(
        list(nodes),
        "by hand",
        [helper.make_tensor_value_info("x", element, list(shape))],
        [helper.make_tensor_value_info("y", out, None)],
        list(stored),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return workload(path, batch=batch)


def quantised(name: str) -> list[NodeProto]:
    """``name`` through 8 bits and back, as ``name_d``."""
    return [
        helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"]),
    ]


SCALE = [tensor("s", TensorProto.FLOAT), tensor("z", TensorProto.INT8)]


def by_path(work: Workload) -> dict[str, LayerWork]:
    assert not work.uncounted
    return {layer.path: layer for layer in work.layers}


def test_a_quantised_residual_network_moves_one_byte_a_value(tmp_path: Path) -> None:
    nodes = [
        *quantised("x"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_d"]),
        helper.make_node("Conv", ["x_d", "w_d"], ["a"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        *quantised("r"),
        helper.make_node("Add", ["r_d", "x_d"], ["e"], name="add"),
        *quantised("e"),
        helper.make_node("GlobalAveragePool", ["e_d"], ["p"], name="pool"),
        *quantised("p"),
        helper.make_node("Flatten", ["p_d"], ["f"]),
        helper.make_node("DequantizeLinear", ["g", "s", "z"], ["g_d"]),
        helper.make_node("DequantizeLinear", ["b", "s"], ["b_d"]),
        helper.make_node("Gemm", ["f", "g_d", "b_d"], ["y"], name="fc", transB=1),
    ]
    stored = [
        tensor("w", TensorProto.INT8, 3, 3, 3, 3),
        tensor("g", TensorProto.INT8, 5, 3),
        tensor("b", TensorProto.INT32, 5),
    ]
    work = by_path(read(tmp_path / "q.onnx", nodes, [*stored, *SCALE], "n", 3, 8, 8, batch=2))
    moved = {path: (layer.in_bytes, layer.out_bytes, layer.weight_bytes) for path, layer in work.items()}
    image, vector = 2 * 3 * 64, 2 * 3
    assert moved == {
        "quantize": (4 * image, image, 0),
        "conv": (image, image, 81),
        "add": (2 * image, image, 0),
        "pool": (image, vector, 0),
        "fc": (vector, 4 * 2 * 5, 15 + 4 * 5),  # its result leaves as float32, its bias is stored as int32
    }
    assert (work["conv"].dtype, work["conv"].macs) == ("int8", 2 * 64 * 81)
    assert work["fc"].bias_bytes == 20


@pytest.mark.parametrize(
    ("element", "bits"), [(TensorProto.INT4, 4), (TensorProto.UINT4, 4), (TensorProto.INT8, 8)]
)
def test_weights_below_a_byte_are_packed_and_scales_do_not_count(
    element: int, bits: int, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1),
        helper.make_node("MatMul", ["x", "d"], ["y"], name="fc"),
    ]
    stored = [tensor("w", element, 7, 5), tensor("s", TensorProto.FLOAT, 5)]
    (fc,) = read(tmp_path / "q.onnx", nodes, stored, 2, 7).layers
    assert (fc.macs, fc.weight_bytes, fc.in_bytes, fc.out_bytes) == (70, -(-35 * bits // 8), 56, 40)


def test_dynamic_quantisation_is_a_pass_of_its_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "sx", "zx"], name="quantise"),
        helper.make_node("MatMulInteger", ["q", "w", "zx"], ["m"], name="fc"),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    work = by_path(read(tmp_path / "q.onnx", nodes, [tensor("w", TensorProto.INT8, 7, 5)], 2, 7))
    assert (work["quantise"].in_bytes, work["quantise"].macs) == (56, 0)
    assert (work["fc"].macs, work["fc"].weight_bytes, work["fc"].in_bytes) == (70, 35, 14)


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    """The file beside it does not even exist."""
    elsewhere = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(4, 3, 3, 3))
    elsewhere.data_location = TensorProto.EXTERNAL
    elsewhere.external_data.add(key="location", value="weights.bin")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    (conv,) = read(tmp_path / "net.onnx", [node], [elsewhere], "n", 3, 8, 8).layers
    assert (conv.macs, conv.weight_bytes) == (36 * 108, 432)


def test_shapes_computed_from_the_batch_are_followed(tmp_path: Path) -> None:
    """x.view(n * 4 // 2, -1) as an exporter writes it: 4n x 6 values as 2n x 12."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Mul", ["n", "four"], ["many"]),
        helper.make_node("Div", ["many", "two"], ["half"]),
        helper.make_node("Unsqueeze", ["half", "axis"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="fc"),
    ]
    stored = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("four", TensorProto.INT64, [], [4]),
        helper.make_tensor("two", TensorProto.INT64, [], [2]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [0]),
        helper.make_tensor("rest", TensorProto.INT64, [1], [-1]),
        tensor("w", TensorProto.FLOAT, 12, 5),
    ]
    for batch in (1, 3):
        (fc,) = read(tmp_path / "net.onnx", nodes, stored, "n", 4, 6, batch=batch).layers
        assert (fc.path, fc.macs, fc.out_shape) == ("fc", 2 * batch * 12 * 5, (2 * batch, 5))


def test_a_shape_that_depends_on_values_is_listed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], name="find"),
        helper.make_node("Cast", ["where"], ["y"], to=TensorProto.FLOAT, name="cast"),
    ]
    work = read(tmp_path / "net.onnx", nodes, [], 2, 3)
    assert [(each.op, each.path) for each in work.uncounted] == [("NonZero", "find"), ("Cast", "cast")]


def test_operators_of_other_domains_are_listed_by_what_they_write(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("FusedConv", ["x", "w"], ["c"], domain="com.microsoft"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    work = read(tmp_path / "net.onnx", nodes, [tensor("w", TensorProto.FLOAT, 4, 3, 3, 3)], 1, 3, 8, 8)
    assert [(each.op, each.path) for each in work.uncounted] == [("FusedConv", "c"), ("Relu", "y")]
    assert all("shape is not known" in each.reason for each in work.uncounted)


def test_attention_with_shared_heads(tmp_path: Path) -> None:
    """4 query heads of 4 on 2 key and value heads: 3 x 6 pairs, 4 heads, 4 + 4 features each."""
    node = helper.make_node("Attention", ["x", "k", "v"], ["y"], name="a", q_num_heads=4, kv_num_heads=2)
    stored = [tensor("k", TensorProto.FLOAT, 1, 6, 8), tensor("v", TensorProto.FLOAT, 1, 6, 8)]
    (layer,) = read(tmp_path / "net.onnx", [node], stored, 1, 3, 16, opset=23).layers
    assert layer.macs == 4 * 3 * 6 * (4 + 4)


def test_attention_over_earlier_tokens_is_listed_not_undercounted(tmp_path: Path) -> None:
    node = helper.make_node(
        "Attention",
        ["x", "k", "v", "", "pk", "pv"],
        ["y", "nk", "nv"],
        name="a",
        q_num_heads=4,
        kv_num_heads=4,
    )
    stored = [
        *(tensor(name, TensorProto.FLOAT, 1, 3, 16) for name in ("k", "v")),
        *(tensor(name, TensorProto.FLOAT, 1, 4, 9, 4) for name in ("pk", "pv")),
    ]
    work = read(tmp_path / "net.onnx", [node], stored, 1, 3, 16, opset=23)
    assert [each.op for each in work.uncounted] == ["Attention"]
