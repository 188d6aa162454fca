"""Weights that an .onnx file keeps in other files: those files must lie in its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto

from joulecut.errors import ModelError

__all__ = ["check_external_data"]


def check_external_data(model: ModelProto, file: Path) -> None:
    """Refuse a network whose weights lie elsewhere; none of those files is opened to find out.

    Links are followed, so that one in the folder that leads out of it is refused too.

    Args:
        model: the network, without its external data.
        file: where it was read from.

    Raises:
        ModelError: a weight lies outside the folder of the file.
    """
    folder = file.parent.resolve()
    for tensor in _tensors(model.graph):
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not location or tensor.data_location != TensorProto.EXTERNAL:
            continue
        if "\0" in location or not (folder / location).resolve().is_relative_to(folder):
            raise ModelError(
                f"{file} is refused: its weight {tensor.name[:80]} lies outside its folder, "
                f"in {location[:120]!r}.",
                hint="Save the network with its weights inside, or beside it.",
            )


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Weights and constants of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
