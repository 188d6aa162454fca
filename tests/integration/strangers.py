"""Networks and data as strangers bring them; tests name them as ``strangers.py:tiny`` on the command line."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J</script>" + "x" * 10_000


class Odd(Exception):
    """An author's own."""


class Tiny(nn.Module):
    """8 channels, twice, on images of 4x4 pixels; 4 classes."""

    def __init__(self, first: str = "first") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.add_module(first, nn.Conv2d(1, 8, 3, padding=1))
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.classifier = nn.Linear(32, 4)

    def logits(self, x: Tensor) -> Tensor:
        first, second, classifier = self.children()
        found: Tensor = classifier(second(first(x).relu()).relu().flatten(1))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


class Branching(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x if x.sum() > 0 else -x)


class Failing(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        raise Odd("not today\nand not tomorrow")


class Chatting(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        print("a forward that chats")  # noqa: T201 - as strangers do
        return self.logits(x)


class Masked(Tiny):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.logits(x * mask)


class Pair(Tiny):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.logits(x), x


def tiny() -> nn.Module:
    return Tiny()


def hostile() -> nn.Module:
    return Tiny(HOSTILE)


def branching() -> nn.Module:
    return Branching()


def failing() -> nn.Module:
    return Failing()


def chatting() -> nn.Module:
    return Chatting()


def masked() -> nn.Module:
    return Masked()


def pair() -> nn.Module:
    return Pair()


def rigid() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def weights() -> dict[str, Tensor]:
    return Tiny().state_dict()


def leaving() -> nn.Module:
    raise SystemExit(3)


def on_a_gpu() -> nn.Module:
    return Tiny().to("cuda")


def samples() -> tuple[Tensor, Tensor]:
    """400 images whose brightness tells their class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    return torch.randn(400, 1, 4, 4, generator=generator) + labels[:, None, None, None], labels


def breaking_off() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = samples()
    yield x, y
    raise Odd("the disk is gone")
