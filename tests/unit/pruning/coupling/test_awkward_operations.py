"""Operations that reorder, pick, share or make up channels: cut rightly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from coupling_networks import randomised
from silenced import Silenced, random_kept
from torch import Tensor, nn
from torch.nn import functional

from joulecut.pruning.coupling import couple


@dataclass(frozen=True)
class Awkward:
    """What is done between a layer ``a`` of 8 channels, or two, and a head; and the groups found by hand."""

    between: Callable[[Tensor, Tensor], Tensor]
    groups: dict[str, int]
    read: int = 8


class Between(nn.Module):
    """Two layers over five tokens of six features, something between, and a head."""

    def __init__(self, case: Awkward) -> None:
        super().__init__()
        self.between = case.between
        self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 8)
        self.last, self.head = nn.Linear(case.read, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.last(self.between(self.a(x), self.b(x))).relu()
        out: Tensor = self.head(hidden)
        return out


def turned_pairs(x: Tensor) -> Tensor:
    """Neighbours as real and imaginary parts, turned by a right angle."""
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


def turned_halves(x: Tensor) -> Tensor:
    """The first half of the width as real parts, turned by a right angle."""
    return torch.cat([-x[..., 2:], x[..., :2]], -1)


def scores(a: Tensor, b: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
    """Two heads of four, turned by position, weigh what the second layer says."""
    query, key = (x.view(*x.shape[:2], 2, 4).transpose(1, 2) for x in (a, b))
    turned = (turn(query) @ turn(key).transpose(-2, -1)).softmax(-1)
    return (turned @ key).transpose(1, 2).flatten(2)


def shifted(a: Tensor, b: Tensor) -> Tensor:
    """Some channels come from the token before, written into zeros."""
    out = torch.zeros_like(a)
    out[:, 1:, :2] = a[:, :-1, :2]
    out[:, :, 2:] = a[:, :, 2:]
    return out + 0 * b


def unread(a: Tensor, b: Tensor) -> Tensor:
    """A layout that fixes the number of channels, which nothing reads."""
    a.reshape(-1, 8).reshape(-1, 2, 4).sum(1)
    return a + b


def two_tables(a: Tensor, b: Tensor) -> Tensor:
    """The same channels as a table of 2 x 4 and as one of 4 x 2."""
    two, four = a.view(*a.shape[:2], 2, 4), a.view(*a.shape[:2], 4, 2)
    return (two.sum(-1, keepdim=True) * two).flatten(2) + (four.sum(-1, keepdim=True) * four).flatten(2) + b


PERMUTATION = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])

CASES: dict[str, Awkward] = {
    "flip": Awkward(lambda a, b: a + a.flip(-1), {"a": 4, "last": 7}),
    "roll": Awkward(lambda a, b: a.roll(1, -1) + 0 * b.mean(), {"b": 8, "last": 7}),
    "every second": Awkward(lambda a, b: a[..., ::2] + b[..., 1::2], {"last": 7}, 4),
    "counted from the end": Awkward(
        lambda a, b: a.narrow(-1, -3, 3) + b[..., -8:3], {"a": 5, "a#2": 3, "b": 5, "last": 7}, 3
    ),
    "picked by number": Awkward(lambda a, b: a[..., PERMUTATION] + b, {"last": 7}),
    "picked by value": Awkward(lambda a, b: a.gather(-1, b.argsort(-1)), {"last": 7}),
    "largest": Awkward(lambda a, b: a.topk(4, -1)[0] + b[..., :4], {"b": 4, "last": 7}, 4),
    "numbered": Awkward(lambda a, b: a * torch.arange(8.0, dtype=a.dtype), {"last": 7}),
    "made of ones": Awkward(lambda a, b: a + a.new_ones(a.shape[0], 5, 8), {"a": 8, "last": 7}),
    "outer product": Awkward(
        lambda a, b: torch.einsum("bni,bnj->bnij", a, b).flatten(2), {"a": 8, "b": 8, "last": 7}, 64
    ),
    "repeated": Awkward(lambda a, b: a.repeat(1, 1, 2) + b.repeat_interleave(2, -1), {"a": 4, "last": 7}, 16),
    "beside itself": Awkward(lambda a, b: torch.cat([a, a.relu(), b], -1), {"a": 8, "b": 8, "last": 7}, 24),
    "beside itself many times": Awkward(
        lambda a, b: torch.cat([a] * 39 + [b], -1), {"a": 8, "b": 8, "last": 7}, 320
    ),
    "read by nothing": Awkward(unread, {"a": 8, "last": 7}),
    "normalised": Awkward(lambda a, b: functional.normalize(a, dim=-1) * b, {"a": 8, "last": 7}),
    "turned halves": Awkward(
        lambda a, b: scores(a, b, turned_halves), {"a": 2, "a#2": 2, "a#3": 2, "last": 7}
    ),
    "turned pairs": Awkward(lambda a, b: scores(a, b, turned_pairs), {"a": 2, "last": 7}),
    "shifted": Awkward(shifted, {"a": 2, "a#2": 6, "last": 7}),
    "two tables": Awkward(two_tables, {"a": 2, "a#2": 2, "last": 7}),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_cut_rightly_or_not_at_all(name: str) -> None:
    case = CASES[name]
    model = randomised(lambda: Between(case))
    x = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    coupling = couple(model, x)
    assert {group.name: group.size for group in coupling.all_groups()} == case.groups
    for seed in range(3):
        kept = random_kept(coupling, seed)
        with torch.no_grad():
            found, expected = coupling.apply(kept)(x), Silenced(coupling, kept).run(x)
        assert float((found - expected).abs().max()) < 1e-9 * float(expected.abs().max())
