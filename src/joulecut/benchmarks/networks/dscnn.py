"""DS-CNN, the keyword spotting network of MLPerf Tiny (Zhang et al. 2017, arXiv:1711.07128)."""

from __future__ import annotations

import torch
from torch import nn

from joulecut.benchmarks.networks.blocks import ConvNorm, Padding, Separable, same_padding

__all__ = ["DsCnn", "ds_cnn_fashion_mnist", "ds_cnn_keywords"]


class DsCnn(nn.Module):
    """A stem of stride 2, separable blocks of one width, global mean, linear classifier.

    [N, 1, H, W] -> logits [N, classes]. The dropout of the reference's training is left out.

    Args:
        classes: number of classes.
        width: channels of every layer.
        blocks: number of separable blocks.
        kernel: height and width of the stem's kernel.
        padding: zeros around the stem's input; half the kernel by default.

    >>> ds_cnn_keywords()(torch.zeros(2, 1, 49, 10)).shape
    torch.Size([2, 12])
    """

    def __init__(
        self,
        classes: int = 12,
        width: int = 64,
        blocks: int = 4,
        kernel: tuple[int, int] = (10, 4),
        padding: Padding | None = None,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(1, width, kernel, stride=2, padding=padding)
        self.blocks = nn.Sequential(*(Separable(width, width) for _ in range(blocks)))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes]."""
        logits: torch.Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def ds_cnn_keywords() -> DsCnn:
    """Untrained, for 49 frames of 10 MFCCs [N, 1, 49, 10] and 12 keywords: 2,656,768 MACs."""
    return DsCnn(padding=same_padding((49, 10), (10, 4), 2))


def ds_cnn_fashion_mnist() -> DsCnn:
    """Untrained, for Fashion-MNIST [N, 1, 28, 28], with a 5x5 stem."""
    return DsCnn(classes=10, kernel=(5, 5))
