"""Small networks with every way in which channels hang together, their groups worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NETWORKS", "Case", "randomised"]


@dataclass(frozen=True)
class Case:
    """A network, the shape of one input (of token numbers below 11 where it is one number), its groups.

    Groups are sizes by name. ``inexact`` names those with a norm, a mean or a softmax over their channels.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    groups: dict[str, int]
    inexact: frozenset[str] = frozenset()

    def inputs(self, batch: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if len(self.shape) == 1:
            return torch.randint(0, 11, (batch, *self.shape), generator=generator)
        return torch.randn(batch, *self.shape, generator=generator, dtype=torch.float64)


def randomised(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Nothing is zero, no gain is 1: a comparison that a zero hides would prove nothing. Double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory().double().eval()
        with torch.no_grad():
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if tensor.is_floating_point() and (
                    tensor.ndim < 2 or bool((tensor == tensor.flatten()[0]).all())
                ):
                    low = 0.5 if name.endswith(("weight", "var", "scale")) else -0.5
                    tensor.uniform_(low, low + 1)
    return model


class Fuse(nn.Module):
    """Branches at two resolutions that are added to each other, as in HRNet, and joined at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up, self.down = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(14, 3, 1)

    def forward(self, x: Tensor) -> Any:
        high = self.high(x).relu()
        low = self.low(high).relu()
        up = functional.interpolate(self.up(low), scale_factor=2, mode="nearest")
        high, low = (high + up).relu(), (low + self.down(high)).relu()
        low = functional.interpolate(low, size=high.shape[2:], mode="bilinear")
        return self.head(torch.cat([high, low], 1)).mean((2, 3))


class Scales(nn.Module):
    """Splits of one layer, each convolved with the one before added, as in Res2Net."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 3, 1)
        self.steps = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        pieces = torch.split(self.stem(x), 4, 1)
        out = [pieces[0]]
        for step, piece in zip(self.steps, pieces[1:], strict=True):
            out.append(step(piece + out[-1]).relu())
        return self.last(torch.cat(out, 1)).mean((2, 3))


class SplitAttention(nn.Module):
    """Two radices of a grouped layer, weighted by a softmax over the radices, as in ResNeSt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.squeeze, self.excite, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 16, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.wide(self.stem(x)).relu()
        batch, _, *size = x.shape
        x = x.reshape(batch, 2, 8, *size)
        gate = self.excite(self.squeeze(x.sum(1).mean((2, 3), keepdim=True)).relu())
        gate = gate.view(batch, 1, 2, -1).transpose(1, 2).softmax(1).reshape(batch, 2, 8, 1, 1)
        return self.head((x * gate).sum(1).mean((2, 3)))


class PixelShuffle(nn.Module):
    """Channels become places and places channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(20, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.b(functional.pixel_shuffle(self.a(x), 2).relu())
        return self.head(functional.pixel_unshuffle(x, 2)).mean((2, 3))


class Mixer(nn.Module):
    """Layers over tokens and over features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 12), nn.Linear(12, 3)
        self.token_up, self.token_down = nn.Linear(5, 8), nn.Linear(8, 5)
        self.up, self.down = nn.Linear(12, 10), nn.Linear(10, 12)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        x = x + self.token_down(functional.gelu(self.token_up(x.transpose(1, 2)))).transpose(1, 2)
        x = x + self.down(functional.gelu(self.up(x)))
        return self.head(x.mean(1))


class Attention(nn.Module):
    """One projection for queries, keys and values; the heads are made by hand."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.fused = fused
        self.embed, self.norm = nn.Linear(6, 16), nn.LayerNorm(16)
        self.qkv, self.project, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        batch, tokens, width = x.shape
        query, key, value = self.qkv(self.norm(x)).reshape(batch, tokens, 3, 4, 4).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = functional.scaled_dot_product_attention(query, key, value)
        else:
            y = (query @ key.transpose(-2, -1) * 0.5).softmax(-1) @ value
        return self.head((x + self.project(y.transpose(1, 2).reshape(batch, tokens, width))).mean(1))


class MultiheadAttention(nn.Module):
    """torch's own."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.weights = weights
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        x = x + self.attend(x, x, x, need_weights=self.weights)[0]
        return self.head(x.mean(1))


class Windowed(nn.Module):
    """Shifted windows of 2 x 2 with a table of relative positions and a mask, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Conv2d(3, 8, 1), nn.Linear(8, 24)
        self.project, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.table = nn.Parameter(torch.randn(9, 2))
        at = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        apart = at[:, None] - at[None] + 1
        self.index = nn.Buffer(apart[..., 0] * 3 + apart[..., 1])

    def windows(self, x: Tensor) -> Tensor:
        batch, height, width, features = x.shape
        x = x.view(batch, height // 2, 2, width // 2, 2, features)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, features)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x).permute(0, 2, 3, 1)
        batch, height, width, features = x.shape
        y = self.windows(torch.roll(x, (-1, -1), (1, 2)))
        query, key, value = self.qkv(y).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1).unsqueeze(0)
        scores = query @ key.transpose(-2, -1) * 0.5 + bias
        regions = x.new_zeros((1, height, width, 1))
        regions[:, :2, :2] = 1
        regions[:, 2:, 2:] = 2
        region = self.windows(regions).squeeze(-1)
        apart = region.unsqueeze(1) - region.unsqueeze(2)
        mask = apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)
        scores = scores.view(batch, -1, 2, 4, 4) + mask.unsqueeze(1).unsqueeze(0)
        y = (scores.view(-1, 2, 4, 4).softmax(-1) @ value).transpose(1, 2).reshape(-1, 4, features)
        y = self.project(y).view(batch, height // 2, width // 2, 2, 2, features)
        y = torch.roll(y.permute(0, 1, 3, 2, 4, 5).reshape(x.shape), (1, 1), (1, 2))
        return self.head((x + y).mean((1, 2)))


class CrossCovariance(nn.Module):
    """Attention of features to features, normalised, with a temperature for each head, as in XCiT."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(6, 16), nn.Linear(16, 48)
        self.temperature = nn.Parameter(torch.ones(4, 1, 1))
        self.project, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        batch, tokens, width = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, 4, 4).permute(2, 0, 3, 4, 1).unbind(0)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        scores = (query @ key.transpose(-2, -1) * self.temperature).softmax(-1)
        y = (scores @ value).permute(0, 3, 1, 2).reshape(batch, tokens, width)
        return self.head((x + self.project(y)).mean(1))


class GroupedQuery(nn.Module):
    """Four heads of queries share two of keys, repeated, and two of values, expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.q, self.k, self.v = (nn.Linear(6, 16), *(nn.Linear(16, n) for n in (24, 12, 8)))
        self.project, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        batch, tokens, _ = x.shape
        query = self.q(x).view(batch, tokens, 4, 6).transpose(1, 2)
        key = self.k(x).view(batch, tokens, 2, 6).transpose(1, 2).repeat_interleave(2, 1)
        value = self.v(x).view(batch, tokens, 2, 4).transpose(1, 2)
        value = value[:, :, None].expand(batch, 2, 2, tokens, 4).reshape(batch, 4, tokens, 4)
        y = functional.scaled_dot_product_attention(query, key, value)
        return self.head((x + self.project(y.transpose(1, 2).reshape(batch, tokens, 16))).mean(1))


class TalkingHeads(nn.Module):
    """The scores of all heads are mixed before they weigh the values."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.q, self.k, self.v = (nn.Linear(6, 16), *(nn.Linear(16, n) for n in (12, 12, 8)))
        self.mix, self.project, self.head = nn.Linear(4, 4), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        query, key, value = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = self.mix((query @ key.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head((x + self.project((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))).mean(1))


class Language(nn.Module):
    """An embedding tied to the last layer, and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(5, 8)
        self.up, self.down, self.out = nn.Linear(8, 10), nn.Linear(10, 8), nn.Linear(8, 11, bias=False)
        self.out.weight = self.words.weight

    def forward(self, numbers: Tensor) -> Any:
        x = self.words(numbers) + self.places(torch.arange(numbers.shape[1]))
        return self.out(x + self.down(self.up(x).relu()))


class Recurrent(nn.Module):
    """Two layers of LSTM in both directions, then a GRU whose last state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 7), nn.Linear(9, 3)
        self.lstm = nn.LSTM(7, 8, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(16, 9, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        begin = x.new_zeros(4, x.shape[0], 8)
        x, _ = self.lstm(self.embed(x), (begin, begin))
        return self.head(self.gru(x, x.new_zeros(1, x.shape[0], 9))[1][0])


class Equations(nn.Module):
    """einsum with a weight for each head, and between activations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 12), nn.Linear(15, 8), nn.Linear(8, 3)
        self.each = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x: Tensor) -> Any:
        x = torch.einsum("bnhc,hcd->bnhd", self.a(x).unflatten(-1, (3, 4)), self.each).flatten(2)
        x = self.b(x.relu())
        scores = torch.einsum("bnc,bmc->bnm", x, x)
        return self.head(torch.einsum("...nm,...mc->...nc", scores, x).mean(1))


class Patches(nn.Module):
    """Patches as channels, a layer over them, and back into an image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.over, self.head = nn.Conv2d(3, 6, 1), nn.Linear(54, 18), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        patches = functional.unfold(x, 3, padding=1).transpose(1, 2)
        y = functional.fold(self.over(patches).transpose(1, 2), (4, 4), 3, padding=1)
        return self.head(torch.cat([y, x[:, :4]], 1).mean((2, 3)))


class Writes(nn.Module):
    """Some channels of a copy are overwritten, and a row of every channel is set to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        y = x.clone()
        y[:, :4] = self.b(x)
        y[:, :, 0] = 0
        return self.head(y.relu()).mean((2, 3))


class Standardised(nn.Module):
    """A convolution whose weight is standardised in forward, as in normaliser-free networks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8, 3)
        self.gain = nn.Parameter(torch.ones(8, 1, 1, 1))

    def forward(self, x: Tensor) -> Any:
        weight = self.b.weight
        flat = weight.reshape(1, 8, -1)
        weight = functional.batch_norm(flat, None, None, self.gain.view(-1), training=True).reshape_as(weight)
        return self.head(functional.conv2d(self.a(x).relu(), weight, self.b.bias).relu().mean((2, 3)))


class Norms(nn.Module):
    """Norms within groups (of which whole ones go), over single channels and by root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.groups = nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)
        self.b, self.single = nn.Conv2d(8, 6, 1), nn.GroupNorm(6, 6)
        self.c, self.instance = nn.Conv2d(6, 5, 1), nn.InstanceNorm2d(5, affine=True)
        self.d, self.root, self.head = nn.Linear(5, 7), nn.RMSNorm(7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.single(self.b(self.groups(self.a(x)).relu()))
        return self.head(self.root(self.d(self.instance(self.c(x)).amax((2, 3)))))


class Transposed(nn.Module):
    """Transposed convolutions: dense, depthwise, grouped, and one that makes two channels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.dense = nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 8, 2, stride=2)
        self.depth = nn.ConvTranspose2d(8, 8, 3, padding=1, groups=8)
        self.twice = nn.ConvTranspose2d(8, 16, 1, groups=8)
        self.grouped, self.head = nn.ConvTranspose2d(16, 12, 1, groups=2), nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.depth(self.dense(self.a(x)).relu())
        return self.head(self.grouped(self.twice(x).relu())).mean((2, 3))


def volume() -> nn.Module:
    """A gated convolution over time, and one over a volume of one slice."""
    return nn.Sequential(
        nn.Conv1d(3, 12, 3, padding=1), nn.GLU(1), nn.Unflatten(1, (6, 1, 1)), nn.Conv3d(6, 8, (1, 1, 3)),
        nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


HEADS = {"embed": 16, "qkv": 4, "qkv#2": 4}
"""Of one projection: heads, and widths that queries, keys and values share."""

NETWORKS: dict[str, Case] = {
    "fuse": Case(Fuse, (3, 8, 8), {"high": 6, "low": 8}),
    "scales": Case(Scales, (3, 6, 6), {"stem": 4, "stem#2": 4, "steps.1": 4}),
    "split attention": Case(SplitAttention, (3, 4, 4), {"stem": 4, "wide": 8, "squeeze": 4}),
    "pixel shuffle": Case(PixelShuffle, (3, 4, 4), {"a": 3, "b": 5}),
    "mixer": Case(Mixer, (5, 6), {"embed": 12, "token_up": 8, "up": 10}),
    "attention": Case(Attention, (5, 6), HEADS, frozenset({"embed"})),
    "attention by hand": Case(lambda: Attention(fused=False), (5, 6), HEADS, frozenset({"embed"})),
    "multihead attention": Case(
        lambda: MultiheadAttention(weights=False),
        (5, 6),
        {"embed": 16, "attend.in_proj_weight": 4, "attend.in_proj_weight#2": 4},
    ),
    "multihead attention with weights": Case(
        lambda: MultiheadAttention(weights=True),
        (5, 6),
        {"embed": 16, "attend.in_proj_weight": 4, "attend.in_proj_weight#2": 4},
    ),
    "windows": Case(Windowed, (3, 4, 4), {"embed": 8, "qkv": 2, "qkv#2": 4}),
    "cross-covariance": Case(CrossCovariance, (5, 6), HEADS, frozenset({"qkv#2"})),
    "grouped queries": Case(GroupedQuery, (5, 6), {"embed": 16, "q": 2, "q#2": 6, "v": 4}),
    "talking heads": Case(TalkingHeads, (5, 6), {"embed": 16, "q": 4, "q#2": 3, "v": 4, "v#2": 2}),
    "language": Case(Language, (5,), {"out": 8, "up": 10}),
    "recurrent": Case(Recurrent, (5, 6), {"embed": 7, "lstm.weight_ih_l0": 8, "gru.weight_ih_l0": 9}),
    "equations": Case(Equations, (5, 6), {"a": 3, "a#2": 4, "each": 5, "b": 8}),
    "patches": Case(Patches, (3, 4, 4), {"a": 4, "a#2": 2, "over": 2}),
    "writes": Case(Writes, (3, 4, 4), {"a": 4, "a#2": 2}),
    "standardised": Case(Standardised, (3, 4, 4), {"a": 6, "b": 8}, frozenset({"a"})),
    "norms": Case(Norms, (3, 4, 4), {"a": 2, "b": 6, "c": 5, "d": 7}, frozenset({"d"})),
    "transposed": Case(Transposed, (3, 4, 4), {"a": 6, "dense": 4, "grouped": 6}),
    "volume": Case(volume, (3, 8), {"0": 6, "3": 8}),
}
