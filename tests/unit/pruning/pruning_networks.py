"""Small networks, one for each way in which channels hang together, with their groups worked out by hand."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from joulecut.pruning.coupling.engine import Coupling
from joulecut.workload.trace import Traced, trace


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For every test of a module that imports it: quick beside other work, and sums come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Sample:
    """A network, the shape of one input, and the size of each group of channels, found by reading it."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    groups: dict[str, int]


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics and affine parameters that move their outputs; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim == 1:
                tensor.copy_(
                    uniform(tensor, 0.5, 1.5) if name.endswith("weight") else uniform(tensor, -0.5, 0.5)
                )
        for name, statistic in model.named_buffers():
            if name.endswith("running_mean"):
                statistic.copy_(uniform(statistic, -0.5, 0.5))
            elif name.endswith("running_var"):
                statistic.copy_(uniform(statistic, 0.5, 2.0))
    return model.eval()


def build(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return randomised(factory(), seed)


def random_kept(coupling: Coupling, seed: int, fewest: int = 1) -> dict[str, list[int]]:
    """Between the fewest channels and all but one of every group."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in coupling.all_groups():
        count = int(torch.randint(min(fewest, group.size - 1), group.size, (1,), generator=generator))
        kept[group.name] = sorted(torch.randperm(group.size, generator=generator)[:count].tolist())
    return kept


def readers_zeroed(model: nn.Module, coupling: Coupling, kept: dict[str, list[int]]) -> nn.Module:
    """The author's own module, nothing cut: only the weights that read removed channels are 0."""
    model = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for group in coupling.all_groups():
            removed = sorted(set(range(group.size)) - set(kept[group.name]))
            for part in group.of_role("reader"):
                parameters[part.parameter].index_fill_(part.dim, part.positions[removed].flatten(), 0.0)
    return model


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


class Residual(nn.Module):
    """Two blocks; the second projects its skip. In-place ReLUs and sums, as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.bna = nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.bnb = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.c, self.bnc = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.d, self.bnd = nn.Conv2d(12, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.skip, self.bns = nn.Conv2d(8, 10, 1, stride=2, bias=False), nn.BatchNorm2d(10)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn0(self.stem(x)))
        y = self.bnb(self.b(self.relu(self.bna(self.a(x)))))
        y += x
        x = self.relu(y)
        y = self.bnd(self.d(self.relu(self.bnc(self.c(x)))))
        y += self.bns(self.skip(x))
        logits: Tensor = self.head(self.relu(y).mean((2, 3)))
        return logits


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, as in DS-CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(1, 8, (4, 3), stride=2, padding=1), nn.BatchNorm2d(8)
        self.depth, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        self.point, self.bn2 = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn0(self.stem(x)))
        x = functional.relu(self.bn1(self.depth(x)))
        x = functional.relu(self.bn2(self.point(x)))
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class DenseConcat(nn.Module):
    """Every layer reads all before it, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.bnb, self.b = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1)
        self.bnc, self.c = nn.BatchNorm2d(10), nn.Conv2d(10, 4, 3, padding=1)
        self.head = nn.Conv2d(14, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = torch.cat([x, self.b(functional.relu(self.bnb(x)))], 1)
        x = torch.cat([x, self.c(functional.relu(self.bnc(x)))], 1)
        logits: Tensor = self.head(functional.avg_pool2d(x, 4)).flatten(1)
        return logits


def grouped() -> nn.Module:
    """A convolution in two groups: channel i of each group goes with channel i of the other."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU6(),
        nn.Conv2d(8, 12, 3, padding=1, groups=2),
        nn.Hardswish(),
        nn.Conv2d(12, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def multiplier() -> nn.Module:
    """A depthwise convolution that makes three channels of each."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 12, 3, padding=1, groups=4),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Attention(nn.Module):
    """Squeeze and excite: a gate of as many channels as it scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.out = nn.Conv2d(8, 4, 3, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.conv(x))
        gate = self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        logits: Tensor = self.out(x * torch.sigmoid(gate)).flatten(1)
        return logits


class Flattening(nn.Module):
    """A classifier on the flattened map, its size written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.hidden, self.head = nn.Linear(6 * 4 * 4, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.bn(self.conv(x)), 1)
        logits: Tensor = self.head(functional.leaky_relu(self.hidden(x.view(-1, 6 * 4 * 4))))
        return logits


class Shuffle(nn.Module):
    """ShuffleNet's block: grouped, shuffled by a view, depthwise, and torch's own shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 12, 1, groups=2)
        self.depth = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.last = nn.Conv2d(12, 4, 1)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(self.shuffle(functional.relu(self.stem(x)))))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        logits: Tensor = self.last(self.depth(x)).mean((2, 3))
        return logits


class Splitting(nn.Module):
    """One half of the channels gates the other; a third part goes by a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 20, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(x)
        value, gate = x[:, :16].chunk(2, 1)
        logits: Tensor = (self.left(value * torch.sigmoid(gate)) + self.right(x[:, 16:])).mean((2, 3))
        return logits


def transposed() -> nn.Module:
    """Down and up again."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 8, 2, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 2, 3, stride=4),
        nn.Flatten(),
    )


def one_dimensional() -> nn.Module:
    """Convolutions over time, one dilated, one depthwise."""
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, padding=2),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Conv1d(6, 8, 3, padding=2, dilation=2),
        nn.GELU(),
        nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding="same", groups=8),
        nn.Conv1d(8, 4, 1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


def three_dimensional() -> nn.Module:
    """Convolutions over a volume."""
    return nn.Sequential(
        nn.Conv3d(1, 6, 3, padding=1),
        nn.BatchNorm3d(6),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(6, 8, 3, padding=1),
        nn.ELU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def perceptron() -> nn.Module:
    """Linear layers with batch norms."""
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 10, bias=False),
        nn.BatchNorm1d(10),
        nn.Tanh(),
        nn.Linear(10, 4),
    )


class Twice(nn.Module):
    """One module called twice in a row: what it writes is what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(self.shared(x))
        x = functional.relu(self.shared(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Scaled(nn.Module):
    """LayerScale and a position embedding: parameters used one element at a time, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.scale = nn.Parameter(torch.rand(8) + 0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        x = x + self.scale * self.down(functional.gelu(self.up(x)))
        logits: Tensor = self.head(x.mean(1))
        return logits


class Pyramid(nn.Module):
    """Pooled, upsampled, padded as TensorFlow does, with a slope for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes = nn.Conv2d(3, 6, 3, padding=1), nn.PReLU(6)
        self.low, self.one_slope = nn.Conv2d(6, 6, 3, padding=1), nn.PReLU()
        self.last = nn.Conv2d(6, 4, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes(self.stem(x))
        low = functional.adaptive_max_pool2d(self.one_slope(self.low(functional.max_pool2d(x, 2))), 4)
        x = x + functional.interpolate(low, size=x.shape[2:], mode="bilinear")
        x = self.last(functional.pad(x, (0, 1, 0, 1)))
        return torch.squeeze(functional.adaptive_avg_pool2d(x, 1))


class Gated(nn.Module):
    """A gate of one channel over many, and channels that take different ways to the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1), nn.Conv2d(16, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = torch.cat([x * torch.sigmoid(self.gate(x)), functional.max_pool2d(x, 3, 1, 1)], 1)
        left, right = x.chunk(2, 1)
        x = functional.avg_pool2d(torch.cat([left, functional.max_pool2d(right, 3, 1, 1)], 1), 2)
        logits: Tensor = self.head(self.b(x).amax((2, 3)))
        return logits


class Halves(nn.Module):
    """Half of a layer's channels are pooled, and all are read together."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).split([8, 4], 1)
        logits: Tensor = self.b(torch.cat([left, functional.max_pool2d(right, 3, 1, 1)], 1)).mean((2, 3))
        return logits


EXACT: dict[str, Sample] = {
    "residual": Sample(Residual, (3, 8, 8), {"stem": 8, "a": 6, "c": 12, "d": 10}),
    "separable": Sample(Separable, (1, 10, 10), {"stem": 8, "point": 12}),
    "dense concat": Sample(DenseConcat, (3, 8, 8), {"a": 6, "b": 4, "c": 4}),
    "grouped": Sample(grouped, (3, 8, 8), {"0": 4, "2": 6}),
    "depth multiplier": Sample(multiplier, (3, 6, 6), {"0": 4}),
    "attention": Sample(Attention, (3, 8, 8), {"conv": 8, "squeeze": 4}),
    "flatten": Sample(Flattening, (3, 8, 8), {"conv": 6, "hidden": 10}),
    "shuffle": Sample(Shuffle, (3, 6, 6), {"stem": 2, "first": 6}),
    "split": Sample(Splitting, (3, 6, 6), {"wide": 8, "wide#2": 4}),
    "transposed": Sample(transposed, (3, 8, 8), {"0": 6, "2": 8}),
    "conv1d": Sample(one_dimensional, (2, 16), {"0": 6, "3": 8}),
    "conv3d": Sample(three_dimensional, (1, 4, 4, 4), {"0": 6, "4": 8}),
    "perceptron": Sample(perceptron, (12,), {"0": 16, "3": 10}),
    "called twice": Sample(Twice, (3, 6, 6), {"stem": 6}),
    "scaled": Sample(Scaled, (5, 6), {"embed": 8, "up": 12}),
    "gated": Sample(Gated, (3, 6, 6), {"a": 8, "b": 6}),
    "halves": Sample(Halves, (3, 6, 6), {"a": 8, "a#2": 4}),
    "pyramid": Sample(Pyramid, (3, 8, 8), {"stem": 6}),
}


@functools.cache
def captured(name: str) -> tuple[nn.Module, Traced, Coupling]:
    """A network of ``EXACT``, captured and coupled once for all tests: to be read, not changed."""
    model = build(EXACT[name].build)
    graph = trace(model, torch.zeros(1, *EXACT[name].shape))
    return model, graph, Coupling(graph.module)
