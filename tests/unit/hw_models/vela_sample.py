"""A .tflite file of one int8 convolution, written with the schema that comes with Vela."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def write_convolution(
    path: Path, *, size: int = 16, reads: int = 8, writes: int = 16, kernel: int = 3
) -> None:
    """``size`` x ``size`` x ``reads`` to ``writes`` channels, "same" padding."""
    builder: Any = import_module("flatbuffers").Builder(1024)

    def table(kind: str, **fields: object) -> Any:
        module = import_module(f"ethosu.vela.tflite.{kind}")
        getattr(module, f"{kind}Start")(builder)
        for name, value in fields.items():
            getattr(module, f"{kind}Add{name}")(builder, value)
        return getattr(module, f"{kind}End")(builder)

    def offsets(start: Callable[[Any, int], object], items: list[Any]) -> Any:
        start(builder, len(items))
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    def numbers(values: list[float], dtype: type) -> Any:
        return builder.CreateNumpyVector(np.array(values, dtype=dtype))

    def tensor(name: str, shape: list[float], element: int, buffer: int, scale: float) -> Any:
        parts = builder.CreateString(name), numbers(shape, np.int32)
        scales, zeros = numbers([scale], np.float32), numbers([0], np.int64)
        quantised = table("QuantizationParameters", Scale=scales, ZeroPoint=zeros)
        return table(
            "Tensor", Shape=parts[1], Type=element, Buffer=buffer, Name=parts[0], Quantization=quantised
        )

    data = [bytes(writes * kernel * kernel * reads), bytes(4 * writes)]
    vectors = [builder.CreateByteVector(each) for each in data]
    buffers = [table("Buffer"), *(table("Buffer", Data=each) for each in vectors)]
    elements: Any = import_module("ethosu.vela.tflite.TensorType").TensorType
    tensors = [
        tensor("x", [1, size, size, reads], elements.INT8, 0, 0.1),
        tensor("w", [writes, kernel, kernel, reads], elements.INT8, 1, 0.1),
        tensor("b", [writes], elements.INT32, 2, 0.01),
        tensor("y", [1, size, size, writes], elements.INT8, 0, 0.1),
    ]
    strides = {"StrideW": 1, "StrideH": 1, "DilationWFactor": 1, "DilationHFactor": 1}
    options = table("Conv2DOptions", Padding=0, **strides)
    ends = numbers([0, 1, 2], np.int32), numbers([3], np.int32)
    operator = table(
        "Operator",
        OpcodeIndex=0,
        Inputs=ends[0],
        Outputs=ends[1],
        BuiltinOptionsType=1,
        BuiltinOptions=options,
    )
    graph, model = (import_module(f"ethosu.vela.tflite.{name}") for name in ("SubGraph", "Model"))
    held = (
        offsets(graph.SubGraphStartTensorsVector, tensors),
        offsets(graph.SubGraphStartOperatorsVector, [operator]),
    )
    ports = numbers([0], np.int32), numbers([3], np.int32)
    subgraph = table("SubGraph", Tensors=held[0], Inputs=ports[0], Outputs=ports[1], Operators=held[1])
    code = table("OperatorCode", DeprecatedBuiltinCode=3, BuiltinCode=3, Version=3)
    lists = [
        offsets(model.ModelStartOperatorCodesVector, [code]),
        offsets(model.ModelStartSubgraphsVector, [subgraph]),
        offsets(model.ModelStartBuffersVector, buffers),
    ]
    root = table("Model", Version=3, OperatorCodes=lists[0], Subgraphs=lists[1], Buffers=lists[2])
    builder.Finish(root, file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
