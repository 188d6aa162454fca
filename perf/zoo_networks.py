"""The zoo: 116 networks of torchvision and timm, with random weights, none of which hides a mistake."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["COSTED", "LIST", "SAMPLE", "Network", "build", "randomise_constants", "zoo"]

LIST = Path(__file__).parent / "data/zoo116.txt"
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Built without the heads that only training reads, and without their slow initialisation."""

SAMPLE = (
    "torchvision:resnet18",
    "torchvision:densenet121",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:mobilenet_v3_small",
    "timm:res2net50_14w_8s",
    "timm:resnest14d",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:levit_128s",
    "timm:resmlp_12_224",
)
"""A first look: residual, concatenating, shuffled, depthwise, split and attending networks."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: ``package:name``, as the package registers it.
        side: height and width of the input, pixels.
    """

    name: str
    side: int


COSTED = (Network("torchvision:resnet50", 224), Network("torchvision:vit_b_16", 224))
"""What the time and memory of coupling are measured on."""


def zoo(file: Path = LIST) -> tuple[Network, ...]:
    """The networks of a list, in its order: a name and a side in pixels in each line."""
    lines = [line.split() for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(Network(name, int(side)) for name, side in lines)


def build(network: Network, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode and a batch of two random images; always the same.

    The default type is set too, since networks make constants in ``forward``.
    """
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    package, _, name = network.name.partition(":")
    model = _torchvision(name) if package == "torchvision" else _timm(name)
    model = model.to(dtype).eval()
    randomise_constants(model)
    return model, torch.randn(2, 3, network.side, network.side)


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    plain = {"aux_logits": False, "init_weights": False} if name in WITH_AUXILIARY_HEADS else {}
    model: nn.Module = models.get_model(name, weights=None, **plain)
    return model


def _timm(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model


def randomise_constants(model: nn.Module) -> None:
    """Give random values to every parameter and running statistic that holds one value only.

    Zeros (the biases, a head or the last gain of a block before training) and tiny layer scales would hide
    what a cut does; a norm's gain of one everywhere would hide a gain that is cut at the wrong place.
    """
    generator = torch.Generator().manual_seed(1)
    statistics = [(n, b) for n, b in model.named_buffers() if n.endswith(("running_mean", "running_var"))]
    for name, value in (*model.named_parameters(), *statistics):
        if not value.numel() or not bool((value == value.flatten()[0]).all()):
            continue
        zero = float(value.detach().flatten()[0]) == 0 and not name.endswith("running_var")
        if zero or value.numel() > 1:
            with torch.no_grad():
                value.copy_(_around_zero(value, generator) if zero else _around_one(value, generator))


def _around_one(value: Tensor, generator: torch.Generator) -> Tensor:
    return 0.5 + torch.rand(value.shape, generator=generator, dtype=value.dtype)


def _around_zero(value: Tensor, generator: torch.Generator) -> Tensor:
    """As torch initialises a layer: uniform within 1 / sqrt(fan in)."""
    fan_in = max(1, value[0].numel()) if value.ndim > 1 else 4
    share = torch.rand(value.shape, generator=generator, dtype=value.dtype)
    return (2 * share - 1) / math.sqrt(fan_in)
