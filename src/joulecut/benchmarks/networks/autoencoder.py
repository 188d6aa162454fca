"""The fully connected autoencoder of MLPerf Tiny's anomaly detection (DCASE 2020 task 2 baseline)."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn

__all__ = ["Autoencoder", "autoencoder_machine_sound"]

_WIDTHS: Final = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)


class Autoencoder(nn.Module):
    """Ten linear layers through a bottleneck of 8, with batch norm and ReLU after all but the last.

    Five log-mel frames of 128 bins [N, 640] -> their reconstruction [N, 640]: 264,192 MACs.

    >>> Autoencoder()(torch.zeros(3, 640)).shape
    torch.Size([3, 640])
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(_WIDTHS):
            layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction [N, 640]."""
        y: torch.Tensor = self.layers(x)
        return y


def autoencoder_machine_sound() -> Autoencoder:
    """Untrained, as MLPerf Tiny uses it."""
    return Autoencoder()
