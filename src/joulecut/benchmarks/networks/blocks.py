"""The blocks that the bundled networks are built of: convolution with batch norm, residual, separable."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ConvNorm", "Padding", "Residual", "Separable", "same_padding"]

Padding = tuple[int, int, int, int]
"""Zeros added left, right, above and below, in the order of ``torch.nn.functional.pad``."""


def same_padding(size: tuple[int, int], kernel: tuple[int, int], stride: int) -> Padding:
    """Padding that TensorFlow calls ``same``: ceil(size / stride) values out, the odd zero at the end.

    Args:
        size: height and width of the input, in values.
        kernel: height and width of the kernel.
        stride: step in both directions.

    Source: tensorflow.org/api_docs/python/tf/nn, notes on padding: pad = max((out - 1) * stride + kernel -
    size, 0), half of it (rounded down) before.

    >>> same_padding((49, 10), (10, 4), 2)
    (1, 1, 4, 5)
    """
    above, below = _same(size[0], kernel[0], stride)
    left, right = _same(size[1], kernel[1], stride)
    return left, right, above, below


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return pad // 2, pad - pad // 2


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and, on request, ReLU: [N, C_in, H, W] -> [N, C_out, H', W'].

    Args:
        in_channels: channels read.
        out_channels: channels written.
        kernel: height and width of the kernel.
        stride: step in both directions.
        padding: zeros around the input; half the kernel by default. One that differs from side to side
            becomes a layer of its own, as a convolution of torch pads both sides alike.
        groups: groups of the convolution; the number of channels makes it depthwise.
        relu: whether a ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding | None = None,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        half_high, half_wide = kernel[0] // 2, kernel[1] // 2
        left, right, above, below = padding or (half_wide, half_wide, half_high, half_high)
        even = left == right and above == below
        self.pad = nn.Identity() if even else nn.ZeroPad2d((left, right, above, below))
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            (above, left) if even else 0,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, convolve, normalise, rectify."""
        y: torch.Tensor = self.relu(self.norm(self.conv(self.pad(x))))
        return y


class Residual(nn.Module):
    """Two 3x3 convolutions whose sum with the input is rectified (He et al. 2016, arXiv:1512.03385).

    Where width or stride change, the input passes a 1x1 convolution with batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, (3, 3), stride=stride)
        self.second = ConvNorm(out_channels, out_channels, (3, 3), relu=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same else ConvNorm(in_channels, out_channels, (1, 1), stride=stride, relu=False)
        )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C_in, H, W] -> [N, C_out, H / stride, W / stride]."""
        y: torch.Tensor = self.relu(self.second(self.first(x)) + self.shortcut(x))
        return y


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise 1x1 convolution (Howard et al. 2017, arXiv:1704.04861, figure 3)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, padding: Padding | None = None
    ) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            in_channels, in_channels, (3, 3), stride=stride, padding=padding, groups=in_channels
        )
        self.pointwise = ConvNorm(in_channels, out_channels, (1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C_in, H, W] -> [N, C_out, H / stride, W / stride]."""
        y: torch.Tensor = self.pointwise(self.depthwise(x))
        return y
