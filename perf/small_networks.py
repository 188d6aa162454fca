"""A transformer and a MobileNet small enough to train on 28x28 images in minutes, for perf.pruning.

The transformer follows A. Dosovitskiy et al. 2020 (arXiv:2010.11929) with the mean of the tokens in place of
a class token; the MobileNet is of the inverted residuals of M. Sandler et al. 2018 (arXiv:1801.04381).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Attention", "SmallMobileNet", "SmallTransformer", "small_mobilenet", "small_transformer"]


class Attention(nn.Module):
    """Self-attention with a layer each for queries, keys and values: [N, tokens, width] -> the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    @property
    def projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The layers of queries, keys and values."""
        return self.query, self.key, self.value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the tokens."""
        query, key, value = (layer(x).unflatten(2, (self.heads, -1)) for layer in self.projections)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=self.scale
        )
        y: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention, then two linear layers with a GELU between them, each added to what it reads normalised."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, tokens, width] -> the same."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return y


class SmallTransformer(nn.Module):
    """Patches of 7x7 embedded, blocks, the mean over tokens, a linear classifier.

    [N, 1, 28, 28] -> logits [N, classes].

    >>> SmallTransformer()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, classes: int = 10, width: int = 64, heads: int = 4, blocks: int = 3, ratio: int = 3
    ) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(1, width, 7, 7)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.Sequential(*(Block(width, heads, ratio) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes]."""
        tokens = self.embedding(x).flatten(2).transpose(1, 2) + self.position
        logits: torch.Tensor = self.classifier(self.norm(self.blocks(tokens)).mean(1))
        return logits


class InvertedResidual(nn.Module):
    """1x1 to ``ratio`` times the channels, 3x3 depthwise, 1x1 back; added to its input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, stride: int) -> None:
        super().__init__()
        hidden = ratio * in_channels
        self.layers = nn.Sequential(
            *convolution(in_channels, hidden, 1),
            *convolution(hidden, hidden, 3, stride, groups=hidden),
            *convolution(hidden, out_channels, 1)[:2],
        )
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C_in, H, W] -> [N, C_out, H / stride, W / stride]."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.adds else y


def convolution(
    in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm and ReLU6."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False)
    return layer, nn.BatchNorm2d(out_channels), nn.ReLU6()


class SmallMobileNet(nn.Module):
    """A stem of stride 2, seven inverted residuals, a 1x1 convolution, global mean, linear classifier.

    [N, 1, 28, 28] -> logits [N, classes].

    >>> SmallMobileNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    WIDTHS = ((16, 1), (16, 1), (24, 2), (24, 1), (24, 1), (40, 2), (40, 1))
    """Channels and stride of each inverted residual."""

    def __init__(self, classes: int = 10, stem: int = 16, ratio: int = 4, last: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = [*convolution(1, stem, 3, 2)]
        width = stem
        for channels, stride in self.WIDTHS:
            layers.append(InvertedResidual(width, channels, ratio, stride))
            width = channels
        self.features = nn.Sequential(*layers, *convolution(width, last, 1))
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes]."""
        logits: torch.Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def small_transformer() -> SmallTransformer:
    """Untrained: three blocks of width 64."""
    return SmallTransformer()


def small_mobilenet() -> SmallMobileNet:
    """Untrained."""
    return SmallMobileNet()
