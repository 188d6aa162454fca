"""Bundled networks: shapes and parameter counts worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from joulecut.benchmarks.networks.autoencoder import autoencoder_machine_sound
from joulecut.benchmarks.networks.blocks import Padding, Residual, same_padding
from joulecut.benchmarks.networks.digits_cnn import digits_cnn, trained_digits_cnn
from joulecut.benchmarks.networks.dscnn import ds_cnn_fashion_mnist, ds_cnn_keywords
from joulecut.benchmarks.networks.mobilenet_v1 import mobilenet_v1_person
from joulecut.benchmarks.networks.resnet8 import ResNet8, resnet8_cifar10, resnet8_fashion_mnist
from joulecut.benchmarks.quality import parameters
from joulecut.workload.trace import operation, trace

# Convolutions have no bias; a batch norm of C channels has 2 C parameters.
RESNET8_BLOCKS = (
    2 * (16 * 9 * 16 + 2 * 16)
    + (16 * 9 * 32 + 2 * 32) + (32 * 9 * 32 + 2 * 32) + (16 * 32 + 2 * 32)
    + (32 * 9 * 64 + 2 * 64) + (64 * 9 * 64 + 2 * 64) + (32 * 64 + 2 * 64)
)  # fmt: skip
SEPARABLE_64 = (9 * 64 + 2 * 64) + (64 * 64 + 2 * 64)
MOBILENET_WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
MOBILENET_BLOCKS = sum((9 * a + 2 * a) + (a * b + 2 * b) for a, b in pairwise(MOBILENET_WIDTHS))
AUTOENCODER_WEIGHTS = 2 * (640 * 128 + 3 * 128 * 128 + 128 * 8)

CASES: list[tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = [
    (resnet8_cifar10, (3, 32, 32), 10, 27 * 16 + 32 + RESNET8_BLOCKS + 64 * 10 + 10),
    (resnet8_fashion_mnist, (1, 28, 28), 10, 9 * 16 + 32 + RESNET8_BLOCKS + 64 * 10 + 10),
    (ds_cnn_keywords, (1, 49, 10), 12, 40 * 64 + 128 + 4 * SEPARABLE_64 + 64 * 12 + 12),
    (ds_cnn_fashion_mnist, (1, 28, 28), 10, 25 * 64 + 128 + 4 * SEPARABLE_64 + 64 * 10 + 10),
    (mobilenet_v1_person, (3, 96, 96), 2, 27 * 8 + 16 + MOBILENET_BLOCKS + 256 * 2 + 2),
    (autoencoder_machine_sound, (640,), 640, AUTOENCODER_WEIGHTS + 3 * (8 * 128 + 8) + 640),
    (digits_cnn, (1, 8, 8), 10, 9 * 32 + 64 + 2 * (9 * 1024 + 64) + 9 * 2048 + 128 + SEPARABLE_64 + 650),
]
IDS = [case[0].__name__ for case in CASES]


@pytest.mark.parametrize(("factory", "sample", "outputs", "count"), CASES, ids=IDS)
def test_shape_and_parameters(
    factory: Callable[[], nn.Module], sample: tuple[int, ...], outputs: int, count: int
) -> None:
    network = factory().eval()
    assert network(torch.zeros(3, *sample)).shape == (3, outputs)
    assert parameters(network) == count


@pytest.mark.parametrize(("factory", "sample", "outputs", "count"), CASES, ids=IDS)
def test_exports_with_a_free_batch(
    factory: Callable[[], nn.Module], sample: tuple[int, ...], outputs: int, count: int
) -> None:
    network = factory().eval()
    traced = trace(network, torch.zeros(1, *sample))
    assert traced.dynamic_batch
    x = torch.randn(3, *sample)
    torch.testing.assert_close(traced.module(x), network(x))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((49, 10), (10, 4), 2, (1, 1, 4, 5)),  # 25 out: 24 * 2 + 10 - 49 = 9; 5 out: 4 * 2 + 4 - 10 = 2
        ((96, 96), (3, 3), 2, (0, 1, 0, 1)),  # 48 out: 47 * 2 + 3 - 96 = 1, at the end
        ((3, 3), (3, 3), 2, (1, 1, 1, 1)),  # 2 out: 2 + 3 - 3 = 2
        ((6, 6), (1, 1), 2, (0, 0, 0, 0)),  # 3 out: 4 + 1 - 6 < 0
    ],
)
def test_same_padding(size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding) -> None:
    assert same_padding(size, kernel, stride) == padding


def test_only_uneven_padding_is_a_layer_of_its_own() -> None:
    def pads(factory: Callable[[], nn.Module], sample: tuple[int, ...]) -> int:
        nodes = trace(factory(), torch.zeros(1, *sample)).module.graph.nodes
        return sum("pad" in operation(node) for node in nodes if node.op == "call_function")

    assert pads(ds_cnn_keywords, (1, 49, 10)) == 1
    assert pads(mobilenet_v1_person, (3, 96, 96)) == 5  # the stem and the four blocks of stride 2
    assert pads(resnet8_cifar10, (3, 32, 32)) == 0


def test_uneven_padding_adds_zeros_at_the_end() -> None:
    stem = mobilenet_v1_person().stem
    nn.init.ones_(stem.conv.weight)
    y = stem.conv(stem.pad(torch.ones(1, 3, 96, 96)))
    assert y.shape == (1, 8, 48, 48)
    assert y[0, 0, 0, 0] == 27
    assert y[0, 0, -1, -1] == 3 * 2 * 2


def test_residual_block_adds_its_input() -> None:
    block = Residual(4, 4).eval()
    nn.init.zeros_(block.second.conv.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_widths_are_free() -> None:
    assert ResNet8(widths=(8, 12, 20), classes=7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_trained_digits_come_ready_to_use() -> None:
    first, second = trained_digits_cnn(), trained_digits_cnn()
    assert not first.training
    assert first.classifier.weight.equal(second.classifier.weight)
    assert first.classifier.weight is not second.classifier.weight
