"""What cannot be followed is refused with its reason, operation and line, and nothing wrong is cut."""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from typing import Any

import pytest
import torch
from pruning_networks import (
    EXACT,
    Sample,
    build,
    captured,
    one_thread,  # noqa: F401
    random_kept,
    readers_zeroed,
    relative,
)
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import UsageError
from joulecut.pruning.coupling.engine import Coupling, couple


@torch.library.custom_op("joulecut_tests::wobble", mutates_args=())
def wobble(x: Tensor) -> Tensor:
    """Mixes channels in a way that no rule knows."""
    return x + 0.1 * x.flip(1)


@wobble.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("joulecut_tests::scaled_by", mutates_args=())
def scaled_by(x: Tensor, weight: Tensor) -> Tensor:
    """Multiplies by the mean of a weight."""
    return x * weight.mean()


@scaled_by.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = wobble(self.a(x))
        return self.c(self.b(x).relu()).mean((2, 3))


class UnknownReadsWeight(nn.Module):
    """An operation without a rule reads a weight whose channels another layer could lose."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return scaled_by(self.c(self.b(self.a(x).relu()).relu()), self.a.weight)


class ReadTwice(nn.Module):
    """A linear layer that reads the hidden channels once, and once an input of fixed size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.shared = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.shared(self.a(x).relu()) + self.shared(x)


class NormTwice(nn.Module):
    """One batch norm on hidden channels and on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.head = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.norm(self.a(self.norm(x))).relu())


class Selected(nn.Module):
    """One channel is picked by its number, one by unbinding, every second by a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 6, 1), nn.Conv2d(2, 5, 1), nn.Conv2d(2, 8, 1)
        self.one, self.five, self.four = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.one(self.a(x)[:, 2:3]) + self.one(self.a(x)[:, 4].unsqueeze(1))
        b = self.five(torch.unbind(self.b(x), 1)[3].unsqueeze(1))
        return (a + b + self.four(self.c(x)[:, 1::2])).mean((2, 3))


class Computed(nn.Module):
    """A standardised weight, an LSTM, a projection by matmul."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv1d(2, 6, 1), nn.Conv1d(6, 5, 1), nn.Linear(4, 3)
        self.lstm = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        weight = self.b.weight - self.b.weight.mean((1, 2), keepdim=True)
        x = functional.conv1d(self.a(x).relu(), weight, self.b.bias)
        return self.head(self.lstm(x.transpose(1, 2))[0][:, -1])


class Powers(nn.Module):
    """A power of two tensors, one of a number, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.ramp = nn.Buffer(torch.arange(1.0, 7.0))

    def forward(self, x: Tensor) -> Any:
        y = torch.pow(self.a(x).abs() + 1, torch.sigmoid(self.b(x))) * torch.pow(2.0, torch.tanh(self.a(x)))
        return self.head(y * self.ramp)


class PooledTokens(nn.Module):
    """A window over channels: three dimensions handed to a two-dimensional pool."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv1d(2, 6, 1), nn.Linear(3 * 4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.head(functional.avg_pool2d(self.a(x), 2).flatten(1))


class Padded(nn.Module):
    """A shortcut that is padded to more channels, as in the first ResNets for CIFAR."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        return self.head((self.b(x).relu() + functional.pad(x, (0, 0, 0, 0, 0, 2))).mean((2, 3)))


def shape(*sizes: int) -> tuple[int, ...]:
    return sizes


HARD: dict[str, Sample] = {
    "unknown": Sample(Unknown, shape(3, 4, 4), {"b": 8}),
    "unknown reads weight": Sample(UnknownReadsWeight, shape(4), {"b": 8}),
    "read twice": Sample(ReadTwice, shape(6), {}),
    "norm twice": Sample(NormTwice, shape(6), {}),
    "selected": Sample(Selected, shape(2, 4, 4), {"a": 4}),
    "computed": Sample(Computed, shape(2, 7), {"a": 6, "b": 5, "lstm.weight_ih_l0": 4}),
    "powers": Sample(Powers, shape(4), {"a": 6}),
    "pooled tokens": Sample(PooledTokens, shape(2, 8), {}),
    "padded": Sample(Padded, shape(3, 4, 4), {"a": 4}),
}


@pytest.mark.parametrize("name", sorted(HARD))
def test_less_is_pruned_and_nothing_wrong(name: str) -> None:
    sample = HARD[name]
    model = build(sample.build)
    coupling = couple(model, torch.zeros(1, *sample.shape))
    assert {group.name: group.size for group in coupling.all_groups()} == sample.groups
    x = torch.randn(3, *sample.shape, generator=torch.Generator().manual_seed(0))
    inexact = {group.name for group in coupling.all_groups() if group.inexact}
    for seed in range(3):
        kept = random_kept(coupling, seed)
        kept |= {
            group.name: list(range(group.size)) for group in coupling.all_groups() if group.name in inexact
        }
        with torch.no_grad():
            assert relative(coupling.apply(kept)(x), readers_zeroed(model, coupling, kept)(x)) < 1e-5


def channels_written(model: nn.Module) -> dict[str, int]:
    """By layer, read off the modules."""
    sizes = {}
    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)):
            sizes[path] = module.out_channels
        elif isinstance(module, nn.Linear):
            sizes[path] = module.out_features
        elif isinstance(module, nn.LSTM):
            sizes[f"{path}.weight_ih_l0"] = module.hidden_size
    return sizes


def accounted(coupling: Coupling) -> dict[str, int]:
    """By layer: channels that groups hold, and those refused."""
    found: dict[str, int] = defaultdict(int)
    seen: dict[tuple[str, int], set[int]] = defaultdict(set)
    tensors = dict(coupling.module.named_parameters())
    for group in coupling.all_groups():
        for part in group.of_role("writer"):
            if tensors[part.parameter].ndim > 1:
                seen[part.parameter.removesuffix(".weight"), part.dim] |= set(
                    part.positions.flatten().tolist()
                )
    for (path, _), positions in seen.items():
        found[path] += len(positions)
    for refusal in coupling.refused():
        found[refusal.path] += refusal.channels
    return dict(found)


@pytest.mark.parametrize("name", sorted(EXACT | HARD))
def test_prunable_and_refused_channels_are_all_channels(name: str) -> None:
    if name in EXACT:
        model, _, coupling = captured(name)
    else:
        model = build(HARD[name].build)
        coupling = couple(model, torch.zeros(1, *HARD[name].shape))
    found = accounted(coupling)
    assert found == channels_written(model)
    for refusal in coupling.refused():
        assert refusal.reason
        assert refusal.op
        assert refusal.source.startswith(("pruning_networks.py:", "test_coupling_refusals.py:")) or (
            refusal.reason == "it is an output of the network"
        )


def test_a_refusal_names_the_line_that_is_in_the_way() -> None:
    coupling = couple(build(Unknown), torch.zeros(1, 3, 4, 4))
    refusal = next(r for r in coupling.refused() if r.path == "a")
    lines, first = inspect.getsourcelines(Unknown.forward)
    line = first + next(i for i, text in enumerate(lines) if "wobble" in text)
    assert refusal.channels == 6
    assert refusal.op == "wobble"
    assert refusal.source == f"test_coupling_refusals.py:{line}"
    assert refusal.reason == "the operation wobble is not handled"


def test_squeezing_keeps_a_channel_that_is_left_alone() -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Conv2d(3, 6, 4), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.a(x).squeeze())

    model = build(Squeezed)
    coupling = couple(model, torch.zeros(2, 3, 4, 4))
    kept = {"a": [4]}
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        assert relative(coupling.apply(kept)(x), readers_zeroed(model, coupling, kept)(x)) < 1e-5


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.tanh(self.a(x)) * self.b(x))


def test_tied_weights_are_cut_under_each_name_and_stay_tied() -> None:
    model = build(Tied)
    coupling = couple(model, torch.zeros(1, 4))
    (group,) = coupling.all_groups()
    kept = {group.name: [0, 2, 5]}
    cut = coupling.apply(kept)
    assert set(cut.state_dict()) == set(model.state_dict())
    assert cut.get_parameter("a.weight") is cut.get_parameter("b.weight")
    assert {name: dims[0] for name, dims in coupling.indices(kept).items() if name != "head.weight"} == {
        name: [0, 2, 5] for name in ("a.weight", "a.bias", "b.weight", "b.bias")
    }
    x = torch.randn(3, 4)
    with torch.no_grad():
        assert relative(cut(x), readers_zeroed(model, coupling, kept)(x)) < 1e-5


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"nothing": [0]}, "no group of channels is called 'nothing'"),
        ({"0": []}, "must keep at least one channel"),
        ({"0": [0, 8]}, "has channels 0 to 7, not 8"),
        ({"0": [-1, 3]}, "has channels 0 to 7, not -1"),
    ],
)
def test_impossible_cuts_are_refused(kept: dict[str, list[int]], message: str) -> None:
    coupling = couple(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), torch.zeros(1, 3))
    with pytest.raises(UsageError, match=message):
        coupling.apply(kept)
    assert math.isfinite(float(coupling.apply({"0": [7, 7, 0]})(torch.zeros(1, 3)).sum().detach()))


def test_a_module_needs_an_example() -> None:
    with pytest.raises(UsageError, match="example"):
        couple(nn.Linear(3, 8))
