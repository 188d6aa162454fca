"""How many residual blocks of published networks can be left out, against the count by reading their code.

    python -m perf.blocks

Needs torchvision and timm (``make perf-env``). For each network: the blocks found, the blocks of its
architecture, and whether the network still runs, with exactly their weights gone, when every second one is
left out. Exits with 1 where any of it is not so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import torch

from joulecut.pruning.blocks import removable_blocks, without_blocks
from joulecut.workload.trace import trace

NETWORKS: Final[dict[str, tuple[str, int]]] = {
    "resnet18": ("torchvision.models", 5),
    "resnet50": ("torchvision.models", 12),
    "mobilenet_v2": ("torchvision.models", 10),
    "efficientnet_b0": ("torchvision.models", 9),
    "regnety_002": ("timm", 9),
    "convnext_tiny": ("torchvision.models", 18),
    "vit_tiny_patch16_224": ("timm", 24),
    "swin_t": ("torchvision.models", 24),
    "mixer_s16_224": ("timm", 16),
    "densenet121": ("torchvision.models", 0),
}
"""Where a network comes from, and its residual blocks whose skip is the identity (attention and MLP count
as two)."""


def build(name: str) -> torch.nn.Module:
    """The network with random weights."""
    home = NETWORKS[name][0]
    make: Callable[..., Any] = import_module(home).create_model if home == "timm" else _of(home, name)
    made = make(name) if home == "timm" else make(weights=None)
    assert isinstance(made, torch.nn.Module)
    return made.eval()


def _of(home: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(home), name)
    return found


def weights(module: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def check(name: str) -> bool:
    """Print the row of one network."""
    expected, x = NETWORKS[name][1], torch.randn(1, 3, 224, 224)
    traced = trace(build(name), x)
    blocks = removable_blocks(traced)
    half = blocks[::2]
    cut = without_blocks(traced, half)
    with torch.no_grad():
        runs = cut.module(x).shape == traced.module(x).shape
    freed = weights(traced.module) - weights(cut.module)
    good = len(blocks) == expected and runs and freed == sum(block.parameters for block in half)
    share = freed / weights(traced.module)
    verdict = "met" if good else "MISSED"
    left_out = f"without {len(half):2}: {share:5.1%} fewer weights"
    print(f"{name:22} {len(blocks):3} of {expected:3}   {left_out}   {verdict}")
    return good


if __name__ == "__main__":
    verdicts = [check(name) for name in NETWORKS]
    sys.exit(0 if all(verdicts) else 1)
