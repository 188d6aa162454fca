"""A network as a .pt2 file that loads without joulecut and tells nothing of the machine that wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["export_pt2"]


def export_pt2(
    network: torch.nn.Module, inputs: torch.Tensor | Sequence[torch.Tensor], path: str | Path
) -> Path:
    """Save a network as a .pt2 program without a pickle.

    ``torch.export.load(path).module()(x)`` runs it, for any batch size where the network allows it. The
    author's source lines are kept by file name, without their folder.

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

    from joulecut.workload.program_file import save_program
    from joulecut.workload.trace import capture

    program, _ = capture(network, (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs))
    _drop_folders(program)
    save_program(program, Path(path))
    return Path(path)


def _drop_folders(program: torch.export.ExportedProgram) -> None:
    """Keep file name and line of the author's code, without the folder and without torch's own frames."""
    from joulecut.workload.trace import source_line

    for node in program.graph.nodes:
        file, _, line = source_line(node).rpartition(":")
        if node.meta.pop("stack_trace", None) and file:
            node.meta["stack_trace"] = f'File "{file}", line {line}, in forward'
