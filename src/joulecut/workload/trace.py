"""A torch module captured as a graph of aten operations, with the names and source lines of its author.

Everything that reads a torch network (counting, coupling, pruning, export) starts from ``trace``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from joulecut.errors import TraceError, UsageError
from joulecut.workload.modes import note_training_mode
from joulecut.workload.quiet import quiet_torch

__all__ = [
    "Traced",
    "argument",
    "capture",
    "evaluating",
    "module_path",
    "operation",
    "raised_at",
    "rebatched",
    "schema_of",
    "source",
    "source_line",
    "trace",
]

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_TORCH_FOLDER = f"{Path(torch.__file__).parent}/"


@dataclass(frozen=True, slots=True)
class Traced:
    """A captured network.

    Attributes:
        name: class name of the network, or a name given by the caller.
        module: the graph; parameters and buffers keep the author's names. Each node's ``meta["val"]`` holds a
            fake tensor with the concrete shape that it has for ``inputs``.
        inputs: the example inputs.
        dynamic_batch: the graph runs for any batch size.
    """

    name: str
    module: fx.GraphModule
    inputs: tuple[torch.Tensor, ...]
    dynamic_batch: bool

    @property
    def batch(self) -> int:
        """Samples in the example."""
        return int(self.inputs[0].shape[0])


def trace(model: torch.nn.Module, inputs: torch.Tensor | Sequence[torch.Tensor], *, name: str = "") -> Traced:
    """Capture a network in evaluation mode with ``torch.export``.

    The batch (the first dimension of every input) is made dynamic where the network allows it. What torch
    logs and prints meanwhile is dropped: the error says what is wrong.

    Args:
        model: any module; the training mode of each of its parts is restored. Its parameters are shared, not
            copied.
        inputs: one example tensor, or one per argument of ``forward``; first dimension is the batch.
        name: what to call the network; its class name by default.

    Raises:
        TraceError: torch.export cannot capture it (with the reason and the line of the model's code).
        UsageError: ``inputs`` is no tensor and no sequence of tensors, or not as many as ``forward`` takes.

    >>> traced = trace(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()), torch.zeros(1, 4))
    >>> [operation(node) for node in traced.module.graph.nodes if node.op == "call_function"]
    ['linear', 'relu']
    """
    example = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    if not example or not all(isinstance(t, torch.Tensor) for t in example):
        raise UsageError("the example inputs must be one tensor, or one tensor per argument of forward.")
    program, dynamic, module = _captured(model, example)
    if module is None:
        module = _graph(program, model)
        attempt = _Attempt()
        with attempt:
            _propagate(module, example)
        if attempt.error is not None:
            raise _trace_error(model, attempt.error) from attempt.error
    note_training_mode(module, model, example)
    return Traced(name or type(model).__name__, module, example, dynamic)


def rebatched(traced: Traced, batch: int) -> Traced:
    """The same captured network for another number of samples; the given one stays as it is.

    Raises:
        TraceError: the network was captured for its own batch only.
        UsageError: a batch below 1.
    """
    if batch < 1:
        raise UsageError(f"the batch must be 1 or more, not {batch}.")
    if batch == traced.batch:
        return traced
    if not traced.dynamic_batch:
        raise TraceError(
            f"{traced.name} runs for batches of {traced.batch} only.", hint=f"Trace it with {batch} samples."
        )
    example = tuple(t[:1].expand(batch, *t.shape[1:]) if t.ndim else t for t in traced.inputs)
    with quiet_torch():
        module = fx.GraphModule(traced.module, copy.deepcopy(traced.module.graph), traced.name)
        _propagate(module, example)
    return Traced(traced.name, module, example, dynamic_batch=True)


def capture(
    model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.export.ExportedProgram, bool]:
    """The exported program of a network in evaluation mode, and whether it runs for any batch size.

    Args:
        model: any module, an exported graph included; the training mode of its parts is restored.
        inputs: one example tensor per argument of ``forward``; first dimension is the batch.

    Raises:
        TraceError: as ``trace``.
        UsageError: not as many inputs as ``forward`` takes.
    """
    program, dynamic, _ = _captured(model, inputs)
    return program, dynamic


_Captured = tuple[torch.export.ExportedProgram, bool, fx.GraphModule | None]
"""The program, whether its batch is dynamic, and its graph, where that has the example's shapes already."""


def _captured(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> _Captured:
    _check_devices(model, inputs)
    _check_count(model, inputs)
    # Without gradients, so that a `with torch.no_grad()` of the author's is no block of its own in the graph.
    with quiet_torch(), evaluating(model), torch.no_grad():
        return _export(model, inputs)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """A network in evaluation mode; the training mode of each of its parts is restored."""
    training = [part for part in model.modules() if part.training]
    try:
        model.eval()
    except NotImplementedError:  # a graph made by torch.export keeps the mode that it was captured in
        yield
        return
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _check_devices(model: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> None:
    devices = {str(t.device) for t in (*model.parameters(), *model.buffers(), *example)}
    if len(devices) > 1:
        raise TraceError(
            f"{type(model).__name__} and its example are on several devices ({', '.join(sorted(devices))}).",
            hint="Move both to one device with .to(device).",
        )


def _check_count(model: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> None:
    import inspect

    signature = inspect.signature(model.forward)
    try:
        signature.bind(*example)
    except TypeError as error:
        taken = ", ".join(signature.parameters) or "nothing"
        raise UsageError(
            f"{type(model).__name__} takes {taken}, and the example is {len(example)} "
            f"tensor{'s' if len(example) != 1 else ''}:",
            hint="give one per input, as --input 1x3x32x32,1x10.",
        ) from error


def _export(model: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> _Captured:
    doubled = tuple(torch.cat([t, t]) if t.ndim and t.shape[0] == 1 else t for t in example)
    as_given = all(t is given for t, given in zip(doubled, example, strict=True))
    batch = torch.export.Dim("batch", min=1)
    for args, dynamic in ((doubled, True), (example, False)):
        shapes = tuple({0: batch} if t.ndim else None for t in args) if dynamic else None
        attempt = _Attempt()
        with attempt:
            program = torch.export.export(model, args, dynamic_shapes=_wrap(model, shapes), strict=False)
            if not dynamic or as_given:
                return program, dynamic, None
            graph = _graph(program, model)
            if _runs(graph, example):
                return program, dynamic, graph
        if attempt.error is not None and not dynamic:
            raise _trace_error(model, attempt.error) from attempt.error
    raise AssertionError("unreachable: the static attempt returns or raises")


class _Attempt(AbstractContextManager[None]):
    """Keeps what is raised inside: export raises much, and an author's ``forward`` under it anything."""

    error: Exception | None = None

    def __exit__(self, kind: object, error: BaseException | None, trail: object) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def _graph(program: torch.export.ExportedProgram, model: torch.nn.Module) -> fx.GraphModule:
    """A plain GraphModule: export's own refuses train() and eval(), and its input check would read the
    concrete batch that ``_propagate`` writes into it. What nothing reads is left out.
    """
    module = program.module(check_guards=False)
    module.graph.eliminate_dead_code(lambda node: node.op != "call_function" or node.is_impure())
    return fx.GraphModule(module, module.graph, type(model).__name__)


def _propagate(module: fx.GraphModule, example: tuple[torch.Tensor, ...]) -> None:
    """Write the concrete shape of every value into ``meta["val"]`` without computing anything."""
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _Shapes(module).run(*(mode.from_tensor(t) for t in example))


class _Shapes(fx.Interpreter):
    """Keeps every value of a run: fake tensors, and plain ints where the graph computes sizes."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["val"] = value
        return value


def _wrap(model: torch.nn.Module, shapes: tuple[Any, ...] | None) -> Any:
    """``forward(*args)`` wants its shapes nested once more."""
    if shapes is None:
        return None
    import inspect

    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return (shapes,) if inspect.Parameter.VAR_POSITIONAL in kinds else shapes


def _runs(module: fx.GraphModule, example: tuple[torch.Tensor, ...]) -> bool:
    """Whether a graph captured with a dynamic batch of 2 also holds for the example itself."""
    try:
        _propagate(module, example)
    except (RuntimeError, ValueError, TypeError):
        return False
    return True


def _trace_error(model: torch.nn.Module, error: Exception) -> TraceError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    by_torch = type(error).__module__.split(".")[0] in ("torch", "builtins")
    said = reason if by_torch and reason else f"{type(error).__name__}: {reason}"
    where = _user_frame(str(error)) or raised_at(error)
    at = f" at {where}" if where else ""
    by_value = "data-dependent" in str(error) or "DataDependent" in type(error).__name__
    return TraceError(
        f"torch.export cannot capture {type(model).__name__}{at}: {said[:300].rstrip('.: ')}.",
        hint="Replace control flow that depends on tensor values by torch.where or torch.cond."
        if by_value
        else "Check that the network runs on an example of this shape and type.",
    )


def raised_at(error: BaseException) -> str:
    """``file.py:line`` of the author's code that raised an error, or ""."""
    trail = error.__traceback__
    where = ""
    while trail is not None:
        file = trail.tb_frame.f_code.co_filename
        if not file.startswith((_TORCH_FOLDER, "<")) and "/joulecut/" not in file:
            where = f"{Path(file).name}:{trail.tb_lineno}"
        trail = trail.tb_next
    return where


def _user_frame(text: str) -> str:
    where = ""
    for match in _FRAME.finditer(text):
        if not match["file"].startswith((_TORCH_FOLDER, "<")) and "/joulecut/workload/" not in match["file"]:
            where = f"{Path(match['file']).name}:{match['line']}"
    return where


def schema_of(node: fx.Node) -> Any:
    """The schema of a node's operation, with names and aliases of its arguments; None for plain Python."""
    return getattr(node.target, "_schema", None)


def operation(node: fx.Node) -> str:
    """The short name of a node's operation: ``conv2d`` for ``aten.conv2d.default``."""
    schema = schema_of(node)
    if schema is not None:
        return str(schema.name).split("::")[-1]
    return getattr(node.target, "__name__", str(node.target))


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument of a node, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def source(node: fx.Node) -> fx.Node:
    """The value that a node reads first."""
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first


def module_path(node: fx.Node) -> str:
    """Dotted path of the module whose ``forward`` made the node; "" at the root."""
    stack = node.meta.get("nn_module_stack") or {}
    entries = list(stack.values())
    return str(entries[-1][0]) if entries else ""


def source_line(node: fx.Node) -> str:
    """``file.py:line`` of the author's code that made the node, or ""."""
    return _user_frame(node.meta.get("stack_trace") or "")
