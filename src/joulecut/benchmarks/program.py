"""A .pt2 file that holds no pickle and tells nothing of the machine that wrote it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from joulecut.codec import write_bytes
from joulecut.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["export_pt2", "pickled_members"]


def export_pt2(
    network: torch.nn.Module, inputs: torch.Tensor | Sequence[torch.Tensor], path: str | Path
) -> Path:
    """Save a network as a .pt2 program that loads without joulecut.

    ``torch.export.load(path).module()(x)`` runs it, for any batch size where the network allows it.

    Args:
        network: a module (a traced graph included), captured in evaluation mode.
        inputs: one example tensor, or one per argument of ``forward``; first dimension is the batch.
        path: the file; written whole or not at all.

    Returns:
        The path.

    Raises:
        TraceError: torch.export cannot capture the network.
        ModelError: the network holds an object that only a pickle can save.
        OutputError: the file cannot be written.
    """
    import torch

    from joulecut.workload.quiet import quiet_torch
    from joulecut.workload.trace import capture

    program, _ = capture(network, (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs))
    program.example_inputs = None  # torch would pickle them
    _drop_folders(program)
    buffer = io.BytesIO()
    with quiet_torch():
        torch.export.save(program, buffer)
    pickled = pickled_members(buffer)
    if pickled:
        raise ModelError(
            f"the network holds objects that only a pickle can save ({', '.join(pickled)}).",
            hint="Keep only tensors and plain numbers in it.",
        )
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def pickled_members(archive: io.BytesIO | Path) -> list[str]:
    """Names of what a .pt2 archive holds as a pickle; nothing is unpickled.

    torch marks pickled weights, constants and objects in the two ``*_config.json`` of the archive; the
    example inputs are always a pickle, and an empty member without them.
    """
    pickled: list[str] = []
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if member.filename.endswith("_config.json"):
                entries = json.loads(opened.read(member))["config"]
                pickled += [name for name, entry in entries.items() if entry["use_pickle"]]
            elif "/data/sample_inputs/" in member.filename and member.file_size:
                pickled.append("example inputs")
    return pickled


def _drop_folders(program: torch.export.ExportedProgram) -> None:
    """Keep file name and line of the author's code, without the folder and without torch's own frames."""
    from joulecut.workload.trace import source_line

    for node in program.graph.nodes:
        file, _, line = source_line(node).rpartition(":")
        if node.meta.pop("stack_trace", None) and file:
            node.meta["stack_trace"] = f'File "{file}", line {line}, in forward'
