"""Masks as a file: one bit a weight, and put back on a network of the same class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from joulecut.errors import UsageError
from joulecut.pruning.weights.records import WeightRecipe

__all__ = ["apply_masks", "pack", "unpack"]


def pack(masks: Mapping[str, Tensor]) -> bytes:
    """The masks as safetensors: for each weight the bits of its mask, row by row, the first one highest.

    >>> keep = torch.tensor([[True, False, True]])
    >>> unpack(pack({"w": keep}), {"w": keep.shape})["w"].tolist()
    [[True, False, True]]
    """
    from safetensors.torch import save

    bits = {
        name: torch.from_numpy(np.packbits(masks[name].cpu().numpy().reshape(-1))) for name in sorted(masks)
    }
    return save(bits)


def unpack(data: bytes, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The masks of ``pack``, bool, of the given shapes of the weights.

    Raises:
        UsageError: not such a file, a weight without a shape, or a mask of another size.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        bits = load(data)
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"the masks are damaged: {error}.") from error
    masks = {}
    for name, packed in bits.items():
        if name not in shapes:
            raise UsageError(f"the masks do not fit: the network has no weight {name[:120]!r}.")
        size = shapes[name].numel()
        if packed.dtype != torch.uint8 or packed.shape != (-(-size // 8),):
            raise UsageError(f"the masks do not fit: {name} has {size} weights.")
        whole = np.unpackbits(packed.numpy())[:size].astype(bool)
        masks[name] = torch.from_numpy(whole).reshape(shapes[name])
    return masks


def apply_masks(model: nn.Module, recipe: WeightRecipe, folder: object) -> nn.Module:
    """Set the weights of a network to zero that a recipe did without.

    Only where zeros are is put back: the values of the others are the given network's.

    Args:
        model: a network of the class that was pruned; changed in place.
        recipe: of the run.
        folder: the result folder, or its ``recipe.json``: ``masks.safetensors`` lies beside it.

    Returns:
        ``model``.

    Raises:
        UsageError: no masks, those of another run, or masks that do not fit the network.
    """
    masks = _beside(folder)
    if hashlib.sha256(masks).hexdigest() != recipe.masks:
        raise UsageError(
            "the masks are not those of the recipe.", hint="Give both files of one result folder."
        )
    weights = dict(model.named_parameters(remove_duplicate=False))
    found = unpack(masks, {name: weight.shape for name, weight in weights.items()})
    with torch.no_grad():
        for name, keep in found.items():
            weights[name].mul_(keep)
    return model


def _beside(folder: object) -> bytes:
    """The masks of a result folder."""
    if not isinstance(folder, (str, Path)):
        raise UsageError("the masks of zero weights are a file of their own:", hint="give the result folder.")
    file = (Path(folder) if Path(folder).is_dir() else Path(folder).parent) / "masks.safetensors"
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}.") from error
