"""A small residual network for 8x8 digits; its trained weights are bundled."""

from __future__ import annotations

import torch
from torch import nn

from joulecut.benchmarks.networks.blocks import ConvNorm, Residual, Separable

__all__ = ["DigitsCnn", "digits_cnn", "trained_digits_cnn"]


class DigitsCnn(nn.Module):
    """Stem, residual block, strided convolution, separable block, global mean, linear classifier.

    [N, 1, 8, 8] -> logits [N, 10]; 43,050 parameters. It holds each thing that makes pruning hard in
    small: channels tied by a sum, by a depthwise convolution, and free ones.

    >>> DigitsCnn()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 32, (3, 3))
        self.block = Residual(32, 32)
        self.down = ConvNorm(32, 64, (3, 3), stride=2)
        self.separable = Separable(64, 64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, 10]."""
        features = self.separable(self.down(self.block(self.stem(x))))
        logits: torch.Tensor = self.classifier(features.mean((2, 3)))
        return logits


def digits_cnn() -> DigitsCnn:
    """Untrained."""
    return DigitsCnn()


def trained_digits_cnn() -> DigitsCnn:
    """With the bundled weights, in evaluation mode (``perf/train_digits.py`` trains them again).

    Raises:
        MissingExtra: safetensors is not installed.
        UsageError: the bundled file is damaged.
    """
    from joulecut.benchmarks.data.bundled import read_bundled
    from joulecut.errors import MissingExtra

    try:
        from safetensors.torch import load
    except ImportError as error:
        raise MissingExtra("safetensors", "torch", "Loading trained weights") from error
    network = DigitsCnn()
    network.load_state_dict(load(read_bundled("digits_cnn.safetensors")))
    return network.eval()
