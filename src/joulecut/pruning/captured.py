"""Captured networks as they are: copied, run once, and their tensors by name."""

from __future__ import annotations

import copy
import math
import warnings
from operator import attrgetter

import torch
from torch import Tensor, fx

from joulecut.errors import ModelError

__all__ = ["canonical_names", "check_runs", "copied", "tensors"]


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """A deep copy of a captured network (torch warns about its own tree specs while copying)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(module)


def check_runs(module: fx.GraphModule, inputs: tuple[Tensor, ...], expected: tuple[int, ...]) -> None:
    """Run a cut network once.

    Raises:
        ModelError: it breaks, or its output has another shape or holds NaN.
    """
    try:
        with torch.no_grad():
            out = module(*inputs)
    except RuntimeError as error:
        raise ModelError(f"the cut network does not run: {str(error).splitlines()[0]}") from error
    first = out[0] if isinstance(out, (tuple, list)) else out
    if tuple(first.shape) != expected:
        raise ModelError(f"the cut network returns {tuple(first.shape)} instead of {expected}")
    if not math.isfinite(float(first.float().abs().sum())):
        raise ModelError("the cut network returns values that are not finite")


def tensors(module: fx.GraphModule) -> dict[str, Tensor]:
    """All parameters, buffers and constants of a captured network by name, tied ones under each name."""
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found |= dict(module.named_buffers(remove_duplicate=False))
    read = {name: attrgetter(name)(module) for name in _read(module) if name not in found}
    return found | {name: value for name, value in read.items() if isinstance(value, Tensor)}


def canonical_names(module: fx.GraphModule) -> dict[str, str]:
    """For every name the one that stands for its tensor: the first that the graph reads.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    >>> net[1].weight = net[0].weight
    >>> canonical_names(fx.symbolic_trace(net))["1.weight"]
    '0.weight'
    """
    named, first = tensors(module), dict[int, str]()
    for name in (*_read(module), *named):
        first.setdefault(id(named.get(name)), name)
    return {name: first[id(tensor)] for name, tensor in named.items()}


def _read(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "get_attr" and node.users]
