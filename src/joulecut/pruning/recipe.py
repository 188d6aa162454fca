"""The recipe of a cut: which blocks are left out, and which indices of which parameters are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Recipe", "fingerprint", "recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run kept, so that the cut can be made again on the author's class.

    Attributes:
        model: name of the network.
        fingerprint: SHA-256 over names, shapes and values of the original's parameters and buffers.
        device: device that priced the run.
        budget: what was asked for, in words.
        seed: of the run.
        groups: kept channels (original indices) by group.
        kept: kept indices by parameter name and dimension, for every dimension that was cut.
        blocks: residual blocks that were left out before.
        inputs: shapes and types of the example inputs, as ``"1x3x32x32:float32"``; "" where they have none.
    """

    model: str
    fingerprint: str
    device: str
    budget: str
    seed: int
    groups: dict[str, tuple[int, ...]]
    kept: dict[str, dict[str, tuple[int, ...]]]
    blocks: tuple[str, ...] = ()
    inputs: str = ""


def recipe(
    model: str,
    module: torch.nn.Module,
    *,
    device: str,
    budget: str,
    seed: int,
    groups: Mapping[str, tuple[int, ...]],
    indices: Mapping[str, Mapping[int, list[int]]],
    blocks: Sequence[str] = (),
    inputs: Sequence[torch.Tensor] = (),
) -> Recipe:
    """Make the recipe of a finished run on ``module`` (the original)."""
    kept = {name: {str(dim): tuple(at) for dim, at in dims.items()} for name, dims in indices.items()}
    return Recipe(
        model, fingerprint(module), device, budget, seed, dict(groups), kept, tuple(blocks), _shapes(inputs)
    )


def _shapes(inputs: Sequence[torch.Tensor]) -> str:
    """The form that ``workload.inputs.parse_inputs`` reads."""
    if not all(t.ndim and t.numel() for t in inputs):
        return ""
    return ",".join(f"{'x'.join(map(str, t.shape))}:{str(t.dtype).removeprefix('torch.')}" for t in inputs)


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 of a network's state, hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(
            plain.view(torch.uint8).numpy().tobytes() if plain.ndim else repr(plain.item()).encode()
        )
    return digest.hexdigest()
