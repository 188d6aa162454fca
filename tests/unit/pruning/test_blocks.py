"""Blocks and layers that can be left out: found as by reading the code, and really gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, relative  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import UsageError
from joulecut.pruning.blocks import removable_blocks, removable_layers, without_blocks
from joulecut.pruning.coupling import couple
from joulecut.workload.trace import Traced, trace


class Basic(nn.Module):
    """ResNet's basic block, in place as torchvision writes it; ``off`` leaves only the skip."""

    off = False

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.a, self.bna = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.b, self.bnb = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        same = inputs == outputs and stride == 1
        self.down = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.off:
            return functional.relu(x)
        y = self.bnb(self.b(self.relu(self.bna(self.a(x)))))
        y += self.down(x)
        out: Tensor = self.relu(y)
        return out


def resnet() -> nn.Module:
    """Two stages of two blocks; the third block projects its skip."""
    blocks = [Basic(8, 8), Basic(8, 8), Basic(8, 12, 2), Basic(12, 12)]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)
    )


class Inverted(nn.Module):
    """MobileNet's block, with squeeze and excite and dropout in place."""

    off = False

    def __init__(self) -> None:
        super().__init__()
        self.up, self.depth = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.squeeze, self.excite = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 24, 1)
        self.down, self.drop = nn.Conv2d(24, 8, 1), nn.Dropout(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.off:
            return x
        y = functional.silu(self.depth(functional.silu(self.up(x), inplace=True)))
        y = y * torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        out: Tensor = x + self.drop(self.down(y))
        return out


def mobilenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Inverted(), Inverted(), nn.Conv2d(8, 4, 8), nn.Flatten()
    )


class Encoder(nn.Module):
    """A transformer's layer: two blocks in one module. The mask is made of zeros that are written into."""

    off = False

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down, self.scale = nn.Linear(8, 16), nn.Linear(16, 8), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.off:
            return x
        y = self.norm1(x)
        mask = y.new_zeros((5, 5))
        mask[0, 1:] = -1.0
        batch, tokens, width = y.shape
        q, k, v = self.qkv(y).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.project(y.transpose(1, 2).reshape(batch, tokens, width))
        out: Tensor = x + self.scale.reshape(1, 1, -1) * self.down(functional.gelu(self.up(self.norm2(x))))
        return out


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Linear(6, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(Encoder(), Encoder())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.embed(x) + self.position).mean(1))
        return logits


def captured(factory: Callable[[], nn.Module], *shape: int) -> tuple[Any, Traced]:
    model = build(factory)
    return model, trace(model, torch.zeros(1, *shape))


BASIC = 2 * 8 * 8 * 9 + 4 * 8
ENCODER = (16 + 8 * 24 + 24 + 8 * 8 + 8, 16 + 8 * 16 + 16 + 16 * 8 + 8 + 8)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, int]]] = {
    "resnet": (resnet, (3, 8, 8), {"1": BASIC, "2": BASIC, "4": 2 * 12 * 12 * 9 + 4 * 12}),
    "mobilenet": (
        mobilenet,
        (3, 8, 8),
        dict.fromkeys("12", 8 * 24 + 24 + 24 * 9 + 24 + 24 * 4 + 4 + 4 * 24 + 24 + 24 * 8 + 8),
    ),
    "transformer": (
        Transformer,
        (5, 6),
        {f"blocks.{i}{n}": ENCODER[j] for i in (0, 1) for j, n in enumerate(("", "#2"))},
    ),
    "dense": (EXACT["dense concat"].build, (3, 8, 8), {}),
    "perceptron": (EXACT["perceptron"].build, (12,), {}),
    "called twice": (EXACT["called twice"].build, (3, 6, 6), {}),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_blocks_are_those_found_by_hand(case: str) -> None:
    factory, shape, expected = CASES[case]
    _, traced = captured(factory, *shape)
    assert {block.name: block.parameters for block in removable_blocks(traced)} == expected


@pytest.mark.parametrize("case", ["resnet", "mobilenet", "transformer"])
def test_without_blocks_only_their_skips_are_left(case: str) -> None:
    factory, shape, expected = CASES[case]
    model, traced = captured(factory, *shape)
    names = {name.partition("#")[0] for name in expected}
    gone = sorted(names)[::2]
    cut = without_blocks(traced, [name for name in expected if name.partition("#")[0] in gone])
    x = torch.randn(3, *shape)
    with torch.no_grad():
        before = traced.module(x)
        for name in gone:
            model.get_submodule(name).off = True
        assert relative(cut.module(x), model(x)) < 1e-6
        assert torch.equal(traced.module(x), before)  # the given network is left alone
    left = {name for name, _ in cut.module.named_parameters()}
    assert left == {n for n, _ in model.named_parameters() if not n.startswith(tuple(f"{g}." for g in gone))}
    freed = sum(count for name, count in expected.items() if name.partition("#")[0] in gone)
    count = sum(p.numel() for p in traced.module.parameters())
    assert sum(p.numel() for p in cut.module.parameters()) == count - freed


def test_all_blocks_can_go_in_any_order_and_channels_after_them() -> None:
    _, traced = captured(resnet, 3, 8, 8)
    blocks = removable_blocks(traced)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        outputs = [without_blocks(traced, order).module(x) for order in (blocks, blocks[::-1])]
        assert torch.equal(*outputs)
        one_by_one = traced
        for name in ("4", "2", "1"):
            one_by_one = without_blocks(one_by_one, [name])
        assert torch.equal(one_by_one.module(x), outputs[0])
    coupling = couple(without_blocks(traced, blocks))
    assert {group.name: group.size for group in coupling.all_groups()} == {"0": 8, "3.a": 12, "3.b": 12}
    cut = coupling.apply({"3.a": range(5), "3.b": range(7), "0": range(3)})
    assert cut(x).shape == (2, 5)


def test_whole_layers_that_keep_the_shape() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU())
            self.cells, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layers(x)[:, None]
            logits: Tensor = self.head(self.cells(x)[0][:, 0])
            return logits

    model, traced = captured(Plain, 6)
    layers = removable_layers(traced)
    assert {layer.name: layer.parameters for layer in layers} == {"layers.1": 72, "cells": 8 * 64 + 64}
    assert all(layer.source.startswith("test_blocks.py:") for layer in layers)
    cut = without_blocks(traced, [layers[0]])
    x = torch.randn(4, 6)
    model.layers[1] = nn.Identity()
    with torch.no_grad():
        assert relative(cut.module(x), model(x)) < 1e-6


class Overwriting(nn.Module):
    """The block's first operation overwrites the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        logits: Tensor = self.c(x + self.b(functional.relu(x, inplace=True)))
        return logits


class Tapped(Overwriting):
    """The block's result is read a second time."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(x)
        logits: Tensor = self.c(x + y) + y.mean()
        return logits


class Scaled(Overwriting):
    """The skip is doubled on its way, and a sum of two ways is no block on a skip."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = torch.add(self.b(x), x, alpha=2)
        logits: Tensor = self.c(x)
        return logits


def test_a_skip_that_is_overwritten_keeps_what_was_written() -> None:
    model, traced = captured(Overwriting, 4)
    cut = without_blocks(traced, removable_blocks(traced))
    x = torch.randn(3, 4)
    with torch.no_grad():
        assert relative(cut.module(x), model.c(model.a(x).relu())) < 1e-6
    assert "b.weight" not in dict(cut.module.named_parameters())


@pytest.mark.parametrize("factory", [Tapped, Scaled])
def test_what_is_no_block_on_a_skip_is_not_offered(factory: Callable[[], nn.Module]) -> None:
    assert removable_blocks(captured(factory, 4)[1]) == ()


def test_unknown_blocks_are_refused() -> None:
    _, traced = captured(resnet, 3, 8, 8)
    says = r"no block '3' that can be removed. Blocks and layers that can: 1, 2, 4"
    with pytest.raises(UsageError, match=says):
        without_blocks(traced, ["3"])
    _, other = captured(Transformer, 5, 6)
    with pytest.raises(UsageError, match=r"blocks.0 is no part of Sequential"):
        without_blocks(traced, removable_blocks(other)[:1])
