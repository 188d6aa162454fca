"""From what a user hands over (a module, a path, a shape) to a captured network and its workload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulecut.errors import UsageError
from joulecut.workload.inputs import arranged, example, parse_inputs
from joulecut.workload.sources import LoadedModel, load_model

if TYPE_CHECKING:
    import torch

    from joulecut.workload.trace import Traced

__all__ = ["loaded", "traced"]


def loaded(model: Any, name: str = "") -> LoadedModel:
    """A network given as a module, or named as on the command line.

    Raises:
        UsageError: neither a module nor a text.
    """
    if isinstance(model, (str, Path)):
        return load_model(str(model))
    if not hasattr(model, "named_parameters"):
        raise UsageError(f"a network is a torch module or the name of one, not a {type(model).__name__}.")
    return LoadedModel(name or type(model).__name__, module=model)


def traced(model: LoadedModel, given: Any = None, fallback: torch.Tensor | None = None) -> Traced:
    """Capture a network for the example inputs that the user gave, or that it declares.

    Args:
        model: the network.
        given: tensors, a text such as ``1x3x224x224``, or None.
        fallback: an example taken from the user's data.

    Raises:
        UsageError: no example at hand, or one of another form.
        TraceError: it cannot be captured.
    """
    from joulecut.workload.trace import trace

    if model.module is None:
        raise UsageError(
            f"{model.onnx_path} is an .onnx file, which holds no torch network.",
            hint="Give package.module:callable, file.py:callable or a .pt2 program.",
        )
    return trace(model.module, _example(model, given, fallback), name=model.name)


def _names(model: LoadedModel) -> tuple[str, ...]:
    """What a network calls its inputs; () where it takes any."""
    import inspect

    assert model.module is not None
    if model.inputs:
        return tuple(spec.name for spec in model.inputs)
    parameters = inspect.signature(model.module.forward).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def _example(model: LoadedModel, given: Any, fallback: torch.Tensor | None) -> Sequence[torch.Tensor]:
    import torch

    if isinstance(given, str):
        return example(arranged(parse_inputs(given), _names(model)))
    if isinstance(given, torch.Tensor):
        return (given,)
    if isinstance(given, Sequence) and given and all(isinstance(t, torch.Tensor) for t in given):
        return tuple(given)
    if given is not None:
        raise UsageError(
            f"an example is a tensor, several, or a shape as 1x3x224x224, not {type(given).__name__}."
        )
    if fallback is not None:
        return (fallback,)
    if model.inputs:
        return example(model.inputs)
    raise UsageError(f"{model.name} needs an example input:", hint="give its shape, as --input 1x3x224x224.")
