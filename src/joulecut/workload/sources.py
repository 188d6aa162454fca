"""Where networks come from: a callable in a package or file, an .onnx file or a .pt2 program.

torch is imported when one of them needs it. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from joulecut.errors import JoulecutError, MissingExtra, ModelError, UsageError
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
    return LoadedModel(attribute, module=_built(spec, _attribute(source, attribute)))


def _program(path: Path) -> LoadedModel:
    _need_torch("A .pt2 program")
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


def _attribute(source: str, attribute: str) -> Any:
    found: Any = _file(Path(source)) if source.endswith(".py") else _package(source)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{source} has no {attribute!r}.", hint=_FORMS)
        found = getattr(found, name)
    return found


def _package(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name[:200]!r} is no module of Python.", hint=_FORMS)
    with _AuthorsCode(f"importing {name}"), _importable_from(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            if name == missing or name.startswith(f"{missing}."):
                raise UsageError(f"there is no module {missing}.", hint=_FORMS) from error
            raise UsageError(f"{name} needs the module {missing}, which is not installed.") from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}.", hint=_FORMS)
    name = f"joulecut_model_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path} cannot be read as Python.", hint=_FORMS)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and the like look their module up
    with _AuthorsCode(f"running {path}"), _importable_from(path.parent.resolve()):
        specification.loader.exec_module(module)
    return module


def _built(spec: str, found: Any) -> torch.nn.Module:
    _need_torch(f"The network {spec}")
    from torch.nn import Module

    if isinstance(found, Module):
        return found
    if not callable(found):
        raise ModelError(f"{spec} is a {type(found).__name__}, not a network or a callable that returns one.")
    with _AuthorsCode(f"calling {spec}"):
        made = found()
        if isinstance(made, Module):
            return made
    raise ModelError(f"{spec} returned a {type(made).__name__}, not a torch.nn.Module.")


@contextlib.contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Let the author's file import what lies beside it, as it can when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class _AuthorsCode(contextlib.AbstractContextManager[None]):
    """Runs code that may raise anything, and reports it as a ``ModelError`` that names it."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __exit__(self, kind: object, error: BaseException | None, trail: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, JoulecutError):
            first = (str(error).strip().splitlines() or [""])[0][:200]
            reason = f"{type(error).__name__}: {first}".rstrip(": .")
            raise ModelError(f"{self._doing} failed: {reason}.") from error


def _need_torch(purpose: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch", purpose)
