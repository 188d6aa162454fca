"""Searches by ranking: budgets met on the grid, booked, refused where they cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401
from torch import Tensor

from joulecut.errors import BudgetUnreachable, ModelError, UsageError
from joulecut.hw_models.catalogue import device
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.curves import BY_SCORE, PER_JOULE
from joulecut.pruning.folding import fold
from joulecut.pruning.memory import peak_memory
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import pricer
from joulecut.pruning.ranked import quick, ranked
from joulecut.pruning.rankings import Context, Ranking, find_ranking
from joulecut.pruning.records import Budget
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.state import Run, Samples, silent
from joulecut.pruning.training_step import budget_pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

REFERENCE = device("reference/edge/float32")


def prepared(
    name: str = "residual", share: float = 0.5, step: int = 1, labelled: bool = True, **more: Any
) -> Run:
    """A run that stands at the whole network."""
    x = torch.randn(96, *EXACT[name].shape, generator=torch.Generator().manual_seed(0))
    graph = trace(build(EXACT[name].build), x[:1])
    coupling = Coupling(graph.module)
    module, pairs = fold(graph.module)
    folded = Network.whole(Coupling(module))
    spec = dataclasses.replace(REFERENCE, channel_step=step)
    labels = folded(x).argmax(1) if labelled else None
    given: dict[str, Any] = {
        "device": spec,
        "budget": Budget(share=share),
        "calibration": Samples(x, labels),
        "judge": None,
        "progress": silent,
        "settings": SearchSettings(gradient_samples=64),
        "coupling": coupling,
        "folded": folded,
        "pairs": pairs,
        "pricer": pricer(coupling, layer_works(graph), spec),
        "here": folded,
    }
    return Run(**(given | more))


@pytest.mark.parametrize("name", ["random", "l1", "l2", "taylor", "fisher", "obs"])
def test_every_ranking_meets_the_budget_and_books_its_steps(name: str) -> None:
    run = prepared(share=0.6)
    network = quick(run, find_ranking(name))
    assert run.reached(network)
    assert network is run.here
    left = {group: set(range(size)) for group, size in run.pricer.sizes.items()}
    energy_j = run.before.value
    for number, step in enumerate(run.steps):
        assert step.index == number
        assert set(step.taken.channels) <= left[step.taken.group]
        left[step.taken.group] -= set(step.taken.channels)
        assert step.total.value == pytest.approx(energy_j - step.taken.saving_j, rel=1e-9)
        assert step.share == pytest.approx(step.total.value / run.before.value)
        assert len(step.runners_up) <= 3
        assert name in step.reason
        energy_j = step.total.value
    assert {group: tuple(sorted(channels)) for group, channels in left.items()} == dict(network.kept)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_widths_stay_on_the_grid(step: int) -> None:
    run = prepared("attention", share=0.7, step=step)
    network = ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=2)
    for name, size in run.pricer.sizes.items():
        width = len(network.kept[name])
        assert width == size or width % step == 0


def test_the_best_loss_by_joule_goes_first() -> None:
    """The first step is the block of least score by joule, worked out from the scores themselves."""
    run = prepared()
    scores = find_ranking("fisher").scores(Context(run.folded, run.calibration.inputs[:64]))
    prices = {
        (name, int(of_group.argmin())): float(of_group.min()) / run.pricer.saving_j(run.pricer.sizes, name, 1)
        for name, of_group in scores.items()
    }
    ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=1)
    first = run.steps[0]
    order = sorted(prices, key=lambda key: prices[key])
    assert (first.taken.group, *first.taken.channels) == order[0]
    assert first.taken.price == pytest.approx(prices[order[0]], rel=1e-5)
    assert [(other.group, *other.channels) for other in first.runners_up] == order[1:4]


def test_scores_that_are_no_losses_go_in_their_own_order() -> None:
    run = prepared()
    quick(run, find_ranking("l2"))
    scores = find_ranking("l2").scores(Context(run.folded, run.calibration.inputs))
    lowest = min((float(of_group.min()), name) for name, of_group in scores.items())
    first = run.steps[0].taken
    assert first.group == lowest[1]
    assert first.price == pytest.approx(lowest[0], rel=1e-6)
    with pytest.raises(UsageError, match="the scores of l2 are no losses"):
        ranked(prepared(), find_ranking("l2"), price=PER_JOULE, rounds=1)


def test_rounds_pass_the_energies_between() -> None:
    """Three rounds to 0.512 of the energy: the first ends at 0.8, the second at 0.64, as the grid allows."""
    run = prepared(share=0.512)
    kept: list[float] = []
    run.save = lambda state: kept.append(state.steps[-1].share)
    ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=3)
    assert len(kept) == 3
    for share, goal in zip(kept, (0.8, 0.64, 0.512), strict=True):
        assert goal - 0.05 < share <= goal + 1e-9


def test_a_run_that_was_killed_after_a_round_goes_on_alike() -> None:
    whole = prepared(share=0.5)
    rounds: list[tuple[Network, int]] = []
    whole.save = lambda state: rounds.append((state.here, len(state.steps)))
    ranked(whole, find_ranking("fisher"), price=PER_JOULE, rounds=3)
    network, count = rounds[0]
    again = prepared(share=0.5, here=network, steps=whole.steps[:count])
    ranked(again, find_ranking("fisher"), price=PER_JOULE, rounds=3)
    assert again.here.kept == whole.here.kept
    for name, weight in whole.here.weights.items():
        assert torch.equal(weight, again.here.weights[name])


def test_the_booked_loss_is_that_of_the_network() -> None:
    for labelled in (True, False):
        run = prepared(labelled=labelled)
        network = ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=1)
        samples = run.search_samples
        logits, before = network(samples.inputs), run.folded(samples.inputs)
        if samples.labels is not None:
            expected = torch.nn.functional.cross_entropy(logits, samples.labels)
        else:
            p, q = before.softmax(1), logits.softmax(1)
            expected = (p * (p / q).log()).sum(1).mean()
        assert run.steps[-1].calibration_loss == pytest.approx(float(expected), rel=1e-4, abs=1e-7)


def test_the_lowest_accuracy_and_what_cannot_be_met() -> None:
    floor = Budget(share=0.5, min_accuracy=0.9)
    run = prepared(budget=floor, judge=lambda network, quick: 0.5)
    with pytest.raises(BudgetUnreachable, match="without falling below 90"):
        ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=2)
    with pytest.raises(BudgetUnreachable, match="cannot be met"):
        quick(prepared(share=1e-4), find_ranking("l2"))

    def nothing(context: Context) -> dict[str, Tensor]:
        return {}

    with pytest.raises(BudgetUnreachable):
        ranked(prepared(), Ranking("nothing", nothing, nats=False), price=BY_SCORE, rounds=1)


def test_a_loss_that_is_no_number_is_said() -> None:
    run = prepared()
    run.calibration.inputs[0] = torch.nan
    with pytest.raises(ModelError, match="the loss of the cut network is not finite"):
        quick(run, find_ranking("l2"))


def test_limits_other_than_joules_are_met_too() -> None:
    """A peak memory of two thirds, with and without joules that are limited less."""
    whole = peak(prepared().folded, prepared())
    for share in (0.95, None):
        budget = Budget(share=share, memory_bytes=whole * 2 // 3)
        run = prepared(budget=budget)
        network = ranked(run, find_ranking("fisher"), price=PER_JOULE, rounds=2)
        assert run.reached(network)
        assert peak(network, run) <= whole * 2 // 3


def peak(network: Network, run: Run) -> int:
    found = peak_memory(network.coupling, run.pricer.layers, run.device, ())
    return int(found.at({name: len(kept) for name, kept in network.kept.items()}))


def test_a_training_step_is_a_budget() -> None:
    x = torch.randn(96, *EXACT["residual"].shape, generator=torch.Generator().manual_seed(0))
    graph = trace(build(EXACT["residual"].build), x[:1])
    budget = Budget(share=0.6, per="training step", step_samples=8)
    prices = budget_pricer(graph, Coupling(graph.module), layer_works(graph), REFERENCE, budget)
    run = prepared(budget=budget, pricer=prices)
    network = quick(run, find_ranking("fisher"))
    assert run.reached(network)
    assert run.steps[-1].total.value == pytest.approx(run.total(network).value)


def test_only_the_layer_that_is_named_loses_nodes() -> None:
    settings = SearchSettings(gradient_samples=64, strategy="nodes", layer="c")
    run = prepared(share=0.85, settings=settings)
    quick(run, find_ranking("fisher"))
    assert {step.taken.group for step in run.steps} == {"c"}
