"""An onnxruntime session that is ready to be timed: recorded settings, fixed inputs, preallocated outputs.

torch is not needed here: whoever has a .onnx file can benchmark it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from joulecut.errors import ModelError, UsageError

if TYPE_CHECKING:
    import onnxruntime as ort
    from numpy.typing import NDArray

__all__ = ["Session", "Settings", "fixed_inputs", "load", "one_sentence", "open_session"]

_PROVIDER: Final = "CPUExecutionProvider"
_FLOATS: Final = {"float": "float32", "double": "float64", "float16": "float16"}
_INTEGERS: Final = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")


@dataclass(frozen=True, slots=True)
class Settings:
    """How onnxruntime runs a network, on the CPU, one operation after the other, with all optimisations.

    Attributes:
        threads: threads within an operation; the calling thread is one of them.
        spinning: idle threads poll instead of sleeping. Off: in a 10 Hz duty polling was measured to cost
            54 times the CPU time of a 0.05 ms network.
        arena: memory of activations is kept between calls.
        memory_pattern: activations are laid out once.
    """

    threads: int = 1
    spinning: bool = False
    arena: bool = True
    memory_pattern: bool = True

    def as_text(self) -> dict[str, str]:
        """The settings as text by name, for a report."""
        words = {True: "on", False: "off"}
        return {
            "provider": _PROVIDER,
            "threads": str(self.threads),
            "inter_op": "1",
            "execution": "sequential",
            "optimisation": "all",
            "spinning": words[self.spinning],
            "arena": words[self.arena],
            "memory_pattern": words[self.memory_pattern],
            "io_binding": "on",
        }


class Session:
    """One network, loaded and bound to fixed inputs; ``run()`` is one inference and allocates no output."""

    def __init__(self, session: ort.InferenceSession, file: str, settings: Settings) -> None:
        self.file = file
        self.settings = settings
        self.inputs = fixed_inputs(session, file)
        self._session = session
        self._binding = session.io_binding()
        names = [output.name for output in session.get_outputs()]
        with one_sentence(file):
            self._outputs = dict(zip(names, map(_aligned, session.run(names, self.inputs)), strict=True))
            # The binding keeps neither values nor their memory alive, this object does.
            self._bound = {name: _aligned(value) for name, value in self.inputs.items()}
            for name, value in self._bound.items():
                self._binding.bind_ortvalue_input(name, value)
            for name, value in self._outputs.items():
                self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """One inference."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """What the latest inference wrote, by name."""
        return {name: value.numpy().copy() for name, value in self._outputs.items()}


def _aligned(array: Any) -> ort.OrtValue:
    """A copy in memory from onnxruntime's own allocator, as its kernels like it aligned; numpy's is not."""
    import onnxruntime as ort

    value = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
    value.update_inplace(array)
    return value


def open_session(path: str | Path, settings: Settings | None = None) -> Session:
    """Load a .onnx file for timing.

    Inputs are standard normal numbers from a fixed seed, integers 0 or 1 (valid as index, class and mask)
    and booleans likewise; a free batch is 1.

    Args:
        path: the file.
        settings: how to run it.

    Raises:
        UsageError: no such file, threads below 1, or an input whose shape is free in more than its batch.
        ModelError: not an ONNX model, or one that onnxruntime cannot run.
    """
    settings = settings or Settings()
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}.", hint="Give the path of a .onnx file.")
    return Session(load(str(path), settings, str(path)), str(path), settings)


def load(model: str | bytes, settings: Settings, file: str) -> ort.InferenceSession:
    """An onnxruntime session from a path or from the bytes of a model; ``file`` names it in errors.

    Raises:
        UsageError: threads below 1.
        ModelError: not an ONNX model, or one that onnxruntime cannot run.
    """
    _no_telemetry()
    import onnxruntime as ort

    if settings.threads < 1:
        raise UsageError(f"{settings.threads} threads cannot run anything.", hint="Ask for 1 or more.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = settings.arena
    options.enable_mem_pattern = settings.memory_pattern
    options.log_severity_level = 4
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", str(int(settings.spinning)))
    with one_sentence(file):
        return ort.InferenceSession(model, options, providers=[_PROVIDER])


def _no_telemetry() -> None:
    """Keep onnxruntime from reporting to its maker, and its uploader off the machine that is timed.

    Since 1.29 its Linux wheels do so by default (docs/Privacy.md of onnxruntime). The variable is read when
    it is first imported; whoever sets it to 0 has decided otherwise.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def fixed_inputs(session: ort.InferenceSession, file: str) -> dict[str, NDArray[Any]]:
    """Inputs for a loaded network, the same on every call: see ``open_session``.

    Raises:
        UsageError: an input whose shape is free in more than its batch, or that is no tensor of numbers.
    """
    import numpy as np

    random = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for each in session.get_inputs():
        shape = [_size(dim, axis, each.name, file) for axis, dim in enumerate(each.shape)]
        kind = each.type.removeprefix("tensor(").removesuffix(")")
        if kind in _FLOATS:
            inputs[each.name] = random.standard_normal(shape).astype(_FLOATS[kind])
        elif kind in _INTEGERS:
            inputs[each.name] = random.integers(0, 2, shape).astype(kind)
        else:
            raise UsageError(
                f"the input {each.name!r} of {file} is a {each.type}.",
                hint="Only tensors of numbers can be made up for a benchmark.",
            )
    return inputs


def _size(dim: int | str | None, axis: int, name: str, file: str) -> int:
    if isinstance(dim, int) and dim >= 0:
        return dim
    if axis == 0 or "batch" in str(dim).lower():
        return 1
    raise UsageError(
        f"the input {name!r} of {file} has a free size {dim!r} on axis {axis}.",
        hint="Fix it, as `python -m onnxruntime.tools.make_dynamic_shape_fixed` does.",
    )


@contextmanager
def one_sentence(file: str) -> Iterator[None]:
    """Turn whatever onnxruntime raises about a model into a ``ModelError`` of one sentence."""
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state"))
    kinds = [kind for kind in state.values() if isinstance(kind, type) and issubclass(kind, Exception)]
    unrunnable: tuple[type[Exception], ...] = (RuntimeError, *kinds)  # onnxruntime's have no common base
    try:
        yield
    except unrunnable as error:
        reason = " ".join(str(error).split()).rpartition("ONNXRuntimeError] : ")[2]
        raise ModelError(
            f"onnxruntime cannot run {file}: {reason[:300].rstrip('.')}.",
            hint="Check the file with onnx.checker, and that this onnxruntime knows its operations.",
        ) from error
