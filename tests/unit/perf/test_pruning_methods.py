"""Every method of perf.pruning on a network of two convolutions: all meet their budgets by the true price."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from perf.pruning_bases import Base, Recipe, one_cycle
from perf.pruning_field import Field, Point, field_of
from perf.pruning_halp import fisher_scores, halp
from perf.pruning_netadapt import netadapt
from perf.pruning_ours import searched
from perf.pruning_refit import REFITS, Cut, cut_to
from perf.pruning_widths import Space, uniform
from torch import nn

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network

BUDGETS = (0.8, 0.5)


def _network() -> nn.Module:
    layers = (nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 3))


@pytest.fixture(scope="module")
def field() -> Field:
    """Three classes of 5x5 images that differ in their mean."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(384) % 3
    images = torch.randn(384, 1, 5, 5, generator=generator) + labels[:, None, None, None]
    data = Dataset("images", images, labels, 3)
    splits = Splits(data, data.take(0, 256), data.take(256, 320), data.take(320))
    base = Base("two convolutions", _network, (0,), Recipe(one_cycle, 1, 0.1, 0.01))
    torch.manual_seed(0)
    return field_of(base, 0, splits, _network().eval())


@pytest.mark.parametrize(
    "method", [uniform, halp, netadapt, searched("quick"), searched("full")], ids=lambda m: m.__qualname__
)
def test_networks_cost_no_more_than_their_budgets(
    field: Field, method: Callable[[Field, Sequence[float]], Iterator[Point]]
) -> None:
    points = list(method(field, BUDGETS))
    assert [point.budget for point in points] == list(BUDGETS)
    for point in points:
        assert field.share(point.network) <= point.budget
        assert point.network(field.inputs[:2]).shape == (2, 3)
        assert point.clock.cpu_s > 0


def test_the_base_is_recalibrated(field: Field) -> None:
    norm = next(part for part in field.module.modules() if isinstance(part, nn.BatchNorm2d))
    convolution = next(part for part in field.module.modules() if isinstance(part, nn.Conv2d))
    assert norm.running_mean is not None
    with torch.no_grad():
        assert torch.allclose(norm.running_mean, convolution(field.inputs).mean((0, 2, 3)), atol=1e-4)


def test_fisher_scores_are_squared_gates(field: Field) -> None:
    space = Space(field.graph, field.spec)
    found = fisher_scores(field, field.graph, space.coupling)["3"]
    layers = list(field.module)  # type: ignore[call-overload]
    total = torch.zeros(12)
    for image, label in zip(field.inputs, field.labels, strict=True):
        gate = torch.ones(12, requires_grad=True)
        hidden = image[None]
        for layer in layers[:4]:
            hidden = layer(hidden)
        out = hidden * gate[None, :, None, None]
        for layer in layers[4:]:
            out = layer(out)
        loss = nn.functional.cross_entropy(out, label[None])
        total += torch.autograd.grad(loss, gate)[0].square()
    assert torch.allclose(found, total / 256, rtol=1e-3, atol=1e-6)


def test_every_refit_gives_a_network_that_runs(field: Field) -> None:
    module, pairs = fold(field.graph.module)
    whole = Network.whole(Coupling(module))
    cut = Cut(field, pairs, whole, cut_to(whole, {"0": list(range(8)), "3": list(range(8))}))
    before = whole(field.inputs)
    errors = {}
    for name, method in REFITS.items():
        out = method(cut)(field.inputs)
        assert out.shape == (256, 3)
        errors[name] = float((out - before).square().mean())
    assert errors["sequential"] < errors["none, batch norms recalibrated"]
