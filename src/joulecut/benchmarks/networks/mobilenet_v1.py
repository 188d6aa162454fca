"""MobileNet V1, the visual wake words network of MLPerf Tiny (Howard et al. 2017, arXiv:1704.04861)."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from joulecut.benchmarks.networks.blocks import ConvNorm, Separable, same_padding

__all__ = ["MobileNetV1", "mobilenet_v1_person"]

_STEM_WIDTH: Final = 32
_BLOCKS: Final[tuple[tuple[int, int], ...]] = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1),
    (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
"""Width at full size and stride of each separable block: table 1 of the paper, the last stride 1 as in
every implementation (the table's 2 would not give its own 7x7)."""


class MobileNetV1(nn.Module):
    """A stem of stride 2, thirteen separable blocks, global mean, linear classifier.

    [N, 3, size, size] -> logits [N, classes]. Strided layers pad as TensorFlow does (``same``), for which
    the size must be known.

    Args:
        width: factor on every width; fractions of a channel are dropped.
        size: height and width of the image.
        classes: number of classes.

    >>> mobilenet_v1_person()(torch.zeros(1, 3, 96, 96)).shape
    torch.Size([1, 2])
    """

    def __init__(self, width: float = 0.25, size: int = 96, classes: int = 2) -> None:
        super().__init__()
        channels = int(_STEM_WIDTH * width)
        self.stem = ConvNorm(3, channels, (3, 3), stride=2, padding=same_padding((size, size), (3, 3), 2))
        size = -(-size // 2)
        blocks: list[nn.Module] = []
        for full, stride in _BLOCKS:
            padding = same_padding((size, size), (3, 3), stride)
            blocks.append(Separable(channels, int(full * width), stride=stride, padding=padding))
            channels, size = int(full * width), -(-size // stride)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes]."""
        logits: torch.Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def mobilenet_v1_person() -> MobileNetV1:
    """Untrained, width 0.25, for "person or not" on [N, 3, 96, 96]: 7,489,664 MACs."""
    return MobileNetV1()
