"""Weights in a safetensors file, loaded into a module; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch

from joulecut.errors import ModelError, UsageError

__all__ = ["load_weights"]

_COUNTER = "num_batches_tracked"
"""A counter of batch norm's that no captured graph has: the only tensor that a file may lack."""


def load_weights(module: torch.nn.Module, path: str | Path) -> None:
    """Load every parameter and buffer of a module from a .safetensors file, in place.

    Raises:
        ModelError: the file is no safetensors file, or is damaged.
        UsageError: no such file; other names or shapes than the module's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(Path(path).read_bytes())
    except SafetensorError as error:
        raise ModelError(f"{path} is no file of safetensors: {error}.") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    own = module.state_dict()
    missing = [name for name in own if name not in found and not name.endswith(_COUNTER)]
    strange = [name for name in sorted(found) if name not in own]
    if missing or strange:
        lacks = f"{path} has no {missing[0][:120]}" if missing else f"{path} also holds {strange[0][:120]}"
        raise UsageError(f"{lacks}: it is not of {type(module).__name__}.")
    for name, tensor in sorted(found.items()):
        if tensor.shape != own[name].shape:
            shapes = f"{list(tensor.shape)} in {path} and {list(own[name].shape)} in the network"
            raise UsageError(f"{name} has the shape {shapes}.")
    module.load_state_dict(found, strict=False)
