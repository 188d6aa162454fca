"""ResNet-8, the image classification network of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597)."""

from __future__ import annotations

import torch
from torch import nn

from joulecut.benchmarks.networks.blocks import ConvNorm, Residual

__all__ = ["ResNet8", "resnet8_cifar10", "resnet8_fashion_mnist"]


class ResNet8(nn.Module):
    """A stem, three residual blocks (the second and third halve the image), global mean, linear classifier.

    [N, in_channels, H, W] -> logits [N, classes], for any H and W of at least 4 times the stem's stride.
    Convolutions pad both sides alike; the reference in TensorFlow pads at the end only where it strides,
    which costs the same MACs.

    Args:
        in_channels: channels of the image.
        classes: number of classes.
        widths: channels of the three blocks; the stem has the first.
        stem_stride: step of the first convolution; 2 keeps a 28x28 image cheap.

    >>> ResNet8()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 10,
        widths: tuple[int, int, int] = (16, 32, 64),
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, widths[0], (3, 3), stride=stem_stride)
        self.block1 = Residual(widths[0], widths[0])
        self.block2 = Residual(widths[0], widths[1], stride=2)
        self.block3 = Residual(widths[1], widths[2], stride=2)
        self.classifier = nn.Linear(widths[2], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes]."""
        features = self.block3(self.block2(self.block1(self.stem(x))))
        logits: torch.Tensor = self.classifier(features.mean((2, 3)))
        return logits


def resnet8_cifar10() -> ResNet8:
    """Untrained, for CIFAR-10 [N, 3, 32, 32]: 12,501,632 MACs."""
    return ResNet8()


def resnet8_fashion_mnist() -> ResNet8:
    """Untrained, for Fashion-MNIST [N, 1, 28, 28], with a stem of stride 2."""
    return ResNet8(in_channels=1, stem_stride=2)
