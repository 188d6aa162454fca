"""Published networks as .onnx files without weights, for tools that read shapes only."""

from __future__ import annotations

from pathlib import Path

from onnx import NodeProto, TensorProto, helper, save

from joulecut.workload.layer import LayerWork, Workload

__all__ = ["write_network"]


class _Graph:
    """A graph while it is written: nodes, weights, and the values so far with their shapes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.values = [("x", shape)]

    def layer(self, layer: LayerWork) -> None:
        if layer.op == "add":
            reads = [name for name, shape in reversed(self.values) if shape == layer.in_shape][:2]
            self.node("Add", layer.path, reads, layer.out_shape)
        elif layer.op == "mean":
            self.node("GlobalAveragePool", layer.path, [self.read(layer)], layer.out_shape)
        elif layer.op == "linear":
            flat = (1, layer.in_channels)
            if self.values[-1][1] != flat:
                self.node("Flatten", f"{layer.path}.flat", [self.values[-1][0]], flat)
            weight = self.weight(layer)
            self.node("Gemm", layer.path, [self.values[-1][0], weight], layer.out_shape, transB=1)
        else:
            self.convolution(layer)

    def convolution(self, layer: LayerWork) -> None:
        """A convolution with "same" padding."""
        kernel = layer.weight_shape[2:]
        strides = [-(-wide // out) for wide, out in zip(layer.in_shape[2:], layer.out_shape[2:], strict=True)]
        sizes = {"kernel_shape": kernel, "strides": strides, "group": layer.groups}
        reads = [self.read(layer), self.weight(layer)]
        self.node("Conv", layer.path, reads, layer.out_shape, auto_pad="SAME_UPPER", **sizes)

    def read(self, layer: LayerWork) -> str:
        """The newest value of the shape that a layer reads, made by pooling where there is none."""
        for name, shape in reversed(self.values):
            if shape == layer.in_shape:
                return name
        pool = {"kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER"}
        self.node("MaxPool", f"{layer.path}.pool", [self.values[-1][0]], layer.in_shape, **pool)
        return self.values[-1][0]

    def weight(self, layer: LayerWork) -> str:
        """A weight whose values lie in a file that is never written."""
        tensor = TensorProto(
            name=f"{layer.path}.weight", data_type=TensorProto.FLOAT, dims=layer.weight_shape
        )
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="no-weights.bin")
        self.weights.append(tensor)
        return tensor.name

    def node(self, op: str, name: str, reads: list[str], shape: tuple[int, ...], **settings: object) -> None:
        self.nodes.append(helper.make_node(op, reads, [f"{name}.y"], name=name, **settings))
        self.values.append((f"{name}.y", shape))


def write_network(work: Workload, path: Path) -> None:
    """Write a network whose layers follow one another, with sums of the two newest values of a shape.

    Args:
        work: of convolutions with "same" padding, sums, means and linear layers.
        path: the .onnx file.
    """
    graph = _Graph(work.layers[0].in_shape)
    for layer in work.layers:
        graph.layer(layer)
    first, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        for name, shape in (graph.values[0], graph.values[-1])
    )
    made = helper.make_graph(graph.nodes, work.name, [first], [last], graph.weights)
    inferred = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in graph.values[1:-1]]
    made.value_info.extend(inferred)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
