"""Torch-Pruning on one network, helped as its own examples help it; prints one line of JSON.

    python -m perf.zoo_peer timm:resnest14d 64 --setting 0

It gets what its users must find out by themselves: the class layer is left alone, the number of heads of
every attention is told, widths are multiples of eight where there are heads, and the attributes of timm's
and torchvision's modules that hold sizes are repaired after the cut. What fails is tried with the next
setting.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from typing import Any

import torch
from torch import nn

from perf.zoo_networks import Network, build
from perf.zoo_process import Result, limit_cpu, peak_rss_bytes

__all__ = ["SETTINGS", "prune"]

SETTINGS: tuple[dict[str, Any], ...] = (
    {"heads": True, "round_to": 8},
    {"heads": True, "round_to": None},
    {"heads": False, "round_to": 8},
    {"heads": False, "round_to": None, "skip_attention": True},
)
"""The first is what its examples do; the others are for networks on which that fails."""

SHARE = 0.4
CLASSES = 1000


def prune(network: Network, setting: int) -> Result:
    """Remove 40 % of the channels of each group and say whether the network still runs."""
    import torch_pruning

    model, images = build(network)
    before, shape = _count(model), model(images).shape
    started = time.process_time()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        images,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=SHARE,
        **_help(model, **SETTINGS[setting]),
    )
    couple_s = time.process_time() - started
    peak = peak_rss_bytes()
    pruner.step()
    _repair(model, pruner)
    out = model(images)
    after = _count(model)
    verdict = "other shape" if out.shape != shape else "not smaller" if after > 0.95 * before else "runs"
    return {
        "verdict": verdict,
        "reason": "" if verdict == "runs" else f"{after / before:.1%} of the parameters, {tuple(out.shape)}",
        "parameters": [before, after],
        "couple_s": couple_s,
        "peak_rss_bytes": peak,
    }


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _help(
    model: nn.Module, heads: bool, round_to: int | None, skip_attention: bool = False
) -> dict[str, Any]:
    attention = [m for m in model.modules() if isinstance(getattr(m, "num_heads", None), int)]
    ignored = [m for m in model.modules() if _width(m) == CLASSES]
    if skip_attention:
        ignored += [m for block in attention for m in block.modules() if _width(m)]
    told = {part: block.num_heads for block in attention for part in _projections(block)}
    return {
        "ignored_layers": ignored,
        "num_heads": told if heads else {},
        "round_to": round_to if attention else None,
    }


def _width(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else 0


def _projections(block: nn.Module) -> list[nn.Module]:
    """The layers that make queries, keys and values."""
    if isinstance(block, nn.MultiheadAttention):
        return [block]
    return [
        part
        for name, part in block.named_children()
        if name in ("qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj") and _width(part)
    ]


def _repair(model: nn.Module, pruner: Any) -> None:
    """The sizes that modules keep as attributes."""
    block: Any
    for block in model.modules():
        qkv = getattr(block, "qkv", None)
        if isinstance(qkv, nn.Module) and _width(qkv) and hasattr(block, "num_heads"):
            block.num_heads = pruner.num_heads.get(qkv, block.num_heads)
            block.head_dim = _width(qkv) // (3 * block.num_heads)
            if hasattr(block, "attn_dim"):
                block.attn_dim = block.head_dim * block.num_heads
        if hasattr(block, "hidden_dim") and hasattr(block, "conv_proj"):
            block.hidden_dim = block.conv_proj.out_channels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("side", type=int, help="of the input, pixels")
    parser.add_argument("--setting", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60, help="CPU seconds")
    args = parser.parse_args()
    limit_cpu(args.limit)
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            result = prune(Network(args.name, args.side), args.setting)
    except Exception as error:  # noqa: BLE001 - whatever the peer raises is a result
        said = str(error).strip().splitlines() or [""]
        result = {"verdict": "breaks", "reason": f"{type(error).__name__}: {said[0][:200]}"}
    print(json.dumps({"name": args.name, "setting": args.setting} | result))


if __name__ == "__main__":
    main()
