"""The search: what it says a removal costs is what the smaller network, run whole, costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, Sample, build, one_thread  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.hw_models.catalogue import device
from joulecut.pruning.candidates.channels import ChannelOptions
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.greedy import Search
from joulecut.pruning.limits import Needs, limits
from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import pricer
from joulecut.pruning.records import Budget
from joulecut.pruning.refit import refit_observed, teach
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace


class Normed(nn.Module):
    """Layer norms and a softmax over channels: groups whose removal is more than losing channels."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.up = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 12)
        self.down, self.last, self.head = nn.Linear(12, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        x = x + self.down(functional.softmax(self.up(self.norm(x)), -1) * 4)
        return self.head(self.last(x).mean(1))


CASES = EXACT | {"normed": Sample(Normed, (5, 6), {})}
SETTINGS = SearchSettings(shortlist=50, refit_every=1_000, gram_rows=500, gradient_samples=64)


def search(name: str, labelled: bool) -> tuple[Search, Network]:
    model, shape = build(CASES[name].build), CASES[name].shape
    x = torch.randn(96, *shape, generator=torch.Generator().manual_seed(0))
    graph = trace(model, x[:1])
    whole = Network.whole(Coupling(fold(graph.module)[0]))
    logits = whole(x)
    labels = logits.argmax(1) if labelled else None
    spec = dataclasses.replace(device("reference/edge/float32"), channel_step=1, pads=())
    prices = pricer(Coupling(graph.module), layer_works(graph), spec)
    teacher = teach(whole, x, SETTINGS.refit)
    groups = frozenset(group.name for group in whole.coupling.all_groups())
    source = ChannelOptions(SETTINGS, groups)

    def again(smaller: Network, read: frozenset[str]) -> tuple[Network, Tensor, Values]:
        return refit_observed(smaller, teacher, SETTINGS.refit, read)

    return Search(teacher, labels, logits, prices, 1, SETTINGS, (source,), again), whole


def least(found: Search) -> Callable[[Network], Needs]:
    """What is missing to a budget that nothing meets."""
    return limits(Budget(energy_j=1e-15), found.pricer).needs


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_loss_of_a_step_is_that_of_the_whole_smaller_network(name: str, labelled: bool) -> None:
    found, network = search(name, labelled)
    inputs = found.teacher.inputs.clone()
    widths = {group: len(kept) for group, kept in network.kept.items()}
    before, energy_j = found.loss(network(inputs)), found.pricer.total_j(widths)
    for count, step in enumerate(found.steps(network, least(found), lambda _: False)):
        after = found.loss(step.network(inputs))
        taken = step.candidates[0]
        assert taken.loss == pytest.approx(after - before, abs=2e-5)
        assert step.loss == pytest.approx(after, abs=2e-5)
        widths = {group: len(kept) for group, kept in step.network.kept.items()}
        assert energy_j - taken.saving_j == pytest.approx(found.pricer.total_j(widths), rel=1e-9)
        assert [c.price for c in step.candidates] == sorted(c.price for c in step.candidates)
        before, energy_j = after, step.energy_j
        if count == 2:
            break
    assert torch.equal(found.teacher.inputs, inputs)


def test_banned_groups_stay_whole() -> None:
    found, network = search("residual", True)
    steps = list(found.steps(network, least(found), lambda option: option.name in ("stem", "c", "d")))
    assert {step.candidates[0].group for step in steps} == {"a"}
    assert len(steps) == 5
    assert {name: len(kept) for name, kept in steps[-1].network.kept.items()} == {
        "stem": 8, "a": 1, "c": 12, "d": 10,
    }  # fmt: skip


def test_nothing_is_removed_where_the_budget_is_met_already() -> None:
    found, network = search("perceptron", True)
    assert list(found.steps(network, limits(Budget(energy_j=1.0), found.pricer).needs, lambda _: False)) == []
