"""Captured networks as they are: copied, and run once."""

from __future__ import annotations

import copy
import math
import warnings

import torch
from torch import Tensor, fx

from joulecut.errors import ModelError

__all__ = ["check_runs", "copied"]


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
