"""MACs by hand, from published figures, and against torch's own flop counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from joulecut.benchmarks.networks.autoencoder import autoencoder_machine_sound
from joulecut.benchmarks.networks.dscnn import ds_cnn_keywords
from joulecut.benchmarks.networks.mobilenet_v1 import mobilenet_v1_person
from joulecut.benchmarks.networks.resnet8 import resnet8_cifar10
from joulecut.workload.from_torch import workload


def conv(i: int, o: int, k: int = 3, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, k, padding=k // 2, bias=False, **options), nn.BatchNorm2d(o), nn.ReLU()
    )


class Block(nn.Module):
    """A body around which the input is added, concatenated or scaled."""

    def __init__(self, body: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.body(x))


def plus(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def times(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def beside(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x, y], 1)


def head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


def residual() -> nn.Module:
    return nn.Sequential(conv(3, 8), Block(nn.Sequential(conv(8, 8), conv(8, 8)), plus), head(8))


def grouped() -> nn.Module:
    return nn.Sequential(conv(3, 12), conv(12, 24, groups=3), head(24))


def depthwise() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), conv(8, 8, groups=8, stride=2), conv(8, 16, 1), conv(16, 32, groups=16), head(32)
    )


def transposed() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, stride=2), nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2), nn.Conv2d(6, 3, 1)
    )


def one_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, dilation=2),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 4, 3),
        nn.Flatten(),
    )


def three_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.GELU(), nn.MaxPool3d(2), nn.Conv3d(4, 2, (1, 3, 3))
    )


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 32), nn.Tanh(), nn.Dropout(), nn.Linear(32, 32, bias=False), nn.Linear(32, 3)
    )


def dense_concat() -> nn.Module:
    return nn.Sequential(conv(3, 8), Block(conv(8, 4), beside), Block(conv(12, 4), beside), head(16))


def squeeze_excite() -> nn.Module:
    gate = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid()
    )
    return nn.Sequential(conv(3, 8), Block(gate, times), head(8))


def shuffled() -> nn.Module:
    return nn.Sequential(
        conv(3, 12), conv(12, 12, 1, groups=3), nn.ChannelShuffle(3), conv(12, 12, groups=12), head(12)
    )


NETS = {
    residual: (3, 12, 12),
    grouped: (3, 12, 12),
    depthwise: (3, 12, 12),
    transposed: (3, 12, 12),
    one_dimensional: (2, 40),
    three_dimensional: (1, 4, 8, 8),
    perceptron: (20,),
    dense_concat: (3, 12, 12),
    squeeze_excite: (3, 12, 12),
    shuffled: (3, 12, 12),
}


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_macs_are_half_of_torchs_flops(build: Callable[[], nn.Module]) -> None:
    model, x = build().eval(), torch.randn(2, *NETS[build])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    work = workload(model, x)
    assert 2 * work.macs == counter.get_total_flops()
    assert not work.uncounted
    assert work.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "shape", "macs"),
    [
        (resnet8_cifar10, (3, 32, 32), 12_501_632),
        (ds_cnn_keywords, (1, 49, 10), 2_656_768),
        (mobilenet_v1_person, (3, 96, 96), 7_489_664),
        (autoencoder_machine_sound, (640,), 264_192),
    ],
    ids=["resnet8", "ds-cnn", "mobilenet", "autoencoder"],
)
def test_macs_of_mlperf_tiny(build: Callable[[], nn.Module], shape: tuple[int, ...], macs: int) -> None:
    assert workload(build(), torch.zeros(1, *shape)).macs == macs
    three = workload(build(), torch.zeros(1, *shape), batch=3)
    assert (three.batch, three.macs) == (3, 3 * macs)


class Attention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v)


def test_attention_by_hand() -> None:
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)
    work = workload(Attention(), (q, k, v))
    # 2 samples x 3 heads x 5 queries x 7 keys, each a dot product of 8 and a weighted sum of 4
    assert work.macs == 2 * 3 * 5 * 7 * (8 + 4)
    assert work.layers[0].in_bytes == 4 * (q.numel() + k.numel() + v.numel())
    assert work.layers[0].kind == "dense"


class SelfAttention(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return y


@pytest.mark.parametrize("weights", [True, False])
def test_multihead_attention_by_hand(weights: bool) -> None:
    work = workload(SelfAttention(weights), torch.randn(2, 10, 12))
    projections = 2 * 10 * (12 * 36 + 12 * 12)
    scores_and_sums = 2 * 3 * 10 * 10 * (4 + 4)
    assert work.macs == projections + scores_and_sums
    stored = {layer.path: layer.weight_bytes for layer in work.layers if layer.weight_bytes}
    assert stored == {"attention": 4 * (12 * 36 + 36), "attention.out_proj": 4 * (12 * 12 + 12)}


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)[0]
        return y


def test_lstm_by_hand() -> None:
    model = Recurrent(nn.LSTM(6, 5, num_layers=2, batch_first=True))
    (layer,) = workload(model, torch.randn(2, 7, 6)).layers
    # four gates; the second layer reads the first one's 5 values
    assert layer.macs == 2 * 7 * (4 * 5 * (6 + 5) + 4 * 5 * (5 + 5))
    assert layer.weight_bytes == 4 * (4 * 5 * (6 + 5) + 4 * 5 * (5 + 5) + 2 * 2 * 4 * 5)
    assert layer.bias_bytes == 4 * 2 * 2 * 4 * 5
    assert (layer.in_bytes, layer.out_bytes) == (4 * 2 * 7 * 6, 4 * 2 * 7 * 5)


def test_bidirectional_gru_by_hand() -> None:
    (layer,) = workload(Recurrent(nn.GRU(6, 5, bidirectional=True)), torch.randn(7, 2, 6)).layers
    assert layer.macs == 2 * 7 * 2 * (3 * 5 * (6 + 5))
    assert layer.out_bytes == 4 * 7 * 2 * 10


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight  # [2, 5, 4]
        z = torch.bmm(y, y.transpose(1, 2))  # [2, 5, 5]
        return torch.einsum("bij,bjk->bik", z, y)


def test_matrix_products_by_hand() -> None:
    first, second, third = workload(Products(), torch.randn(2, 5, 6)).layers
    assert (first.macs, second.macs, third.macs) == (2 * 5 * 6 * 4, 2 * 5 * 5 * 4, 2 * 5 * 5 * 4)
    assert (first.in_channels, first.out_channels, first.weight_bytes) == (6, 4, 96)
