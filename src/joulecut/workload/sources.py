"""Where networks come from: a callable in a package or file, an .onnx file or a .pt2 program.

torch is imported when one of them needs it. Nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from joulecut.errors import MissingExtra, ModelError, UsageError
from joulecut.workload.callables import AuthorsCode, find
from joulecut.workload.inputs import InputSpec, example, parse_inputs

if TYPE_CHECKING:
    import torch

__all__ = ["InputSpec", "LoadedModel", "example", "load_model", "parse_inputs"]

_FORMS: Final = "Give package.module:callable, file.py:callable, an .onnx file or a .pt2 program."
_PICKLES: Final = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".tar", ".joblib"})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network as it was found; one of ``module`` and ``onnx_path`` is set.

    Attributes:
        name: the callable's or file's name.
        module: a torch module.
        onnx_path: an .onnx file.
        inputs: the inputs that a program declares, with the batch that it was exported with; () where none
            are known.
    """

    name: str
    module: torch.nn.Module | None = None
    onnx_path: Path | None = None
    inputs: tuple[InputSpec, ...] = ()


def load_model(spec: str) -> LoadedModel:
    """Find a network.

    Args:
        spec: ``package.module:callable``, ``file.py:callable`` (the callable takes no arguments and returns
            a ``torch.nn.Module``; the module itself will do), the path of an .onnx file or of a .pt2 program.

    Raises:
        UsageError: nothing of that name, or a form that is not read.
        ModelError: the author's code fails or makes something else; the file is damaged or holds a pickle.
        MissingExtra: torch is needed and not installed.
    """
    source, colon, attribute = spec.rpartition(":")
    suffix = "" if colon else Path(spec).suffix.lower()
    if suffix in _PICKLES:
        raise UsageError(
            f"{spec} is a pickle, which can run code when opened, and is not read.",
            hint="Save the weights as .safetensors and give package.module:callable that loads them, "
            "or give an .onnx file or a .pt2 program.",
        )
    if suffix == ".onnx":
        if not Path(spec).is_file():
            raise UsageError(f"there is no file {spec}.", hint=_FORMS)
        return LoadedModel(Path(spec).stem, onnx_path=Path(spec))
    if suffix == ".pt2":
        return _program(Path(spec))
    if not source or not attribute:
        raise UsageError(f"{spec[:200]!r} names no network.", hint=_FORMS)
    _need_torch(f"the network {spec[:200]}")
    return LoadedModel(attribute, module=_built(spec, find(source, attribute, hint=_FORMS)))


def _program(path: Path) -> LoadedModel:
    _need_torch("a .pt2 program")
    import torch

    from joulecut.workload.program_file import load_program

    exported = load_program(path)
    placeholders = {n.name: n.meta.get("val") for n in exported.graph.nodes if n.op == "placeholder"}
    values = [(str(name), placeholders.get(str(name))) for name in exported.graph_signature.user_inputs]
    inputs = tuple(
        InputSpec(name, tuple(_size(size) for size in value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in values
        if isinstance(value, torch.Tensor)
    )
    module = exported.module(check_guards=False)
    for node in list(module.graph.nodes):  # constants that export cannot capture a second time
        if node.target is torch.ops.aten.detach_.default:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.recompile()
    return LoadedModel(path.stem, module=module, inputs=inputs)


def _size(size: Any) -> int:
    """A size as it was when the program was exported; 1 where that is not kept."""
    return size if isinstance(size, int) else int(getattr(size.node, "hint", None) or 1)


def _built(spec: str, found: Any) -> torch.nn.Module:
    from torch.nn import Module

    if isinstance(found, Module):
        return found
    if not callable(found):
        raise ModelError(
            f"{spec} is of type {type(found).__name__}, neither a network nor a callable that makes one."
        )
    with AuthorsCode(f"calling {spec}"):
        made = found()
        if isinstance(made, Module):
            return made
    raise ModelError(f"{spec} returned an object of type {type(made).__name__}, not a torch.nn.Module.")


def _need_torch(purpose: str) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingExtra("torch", "torch", purpose)
