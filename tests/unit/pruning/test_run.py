"""A whole run on small networks: budgets met, refused or out of reach, guarded, and the same twice."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401
from torch import Tensor, nn

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.training import train
from joulecut.errors import BudgetUnreachable, UsageError
from joulecut.estimate import Estimate, ratio
from joulecut.hw_models.catalogue import device
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import SparsitySupport
from joulecut.pruning.budget import judge_figure
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import Effort, search_settings
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, trace

REFERENCE = device("reference/edge/float32")
GATE = SparsitySupport("gate", ("conv2d",), ("float32",), REFERENCE.sources[0], mac_energy_saved=0.9)
GATED = dataclasses.replace(REFERENCE, sparsity=(GATE,))
HALF = Budget(share=0.5)
LABELLED = search_settings("full", fit_labels=True)


class Small(nn.Module):
    """A residual block between two layers: 16, 12 and 16 channels, then 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.a, self.b = nn.Conv2d(16, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.bn(self.stem(x)))
        y = self.b(self.relu(self.a(x)))
        y += x
        return self.head(self.relu(y).mean((2, 3)))


def shapes(count: int, seed: int) -> Dataset:
    """8 x 8 pictures of horizontal stripes, vertical stripes or a chessboard, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    pictures = torch.stack([rows % 2, columns % 2, (rows + columns) % 2])[:, None].float()
    noise = 0.9 * torch.randn(count, 1, 8, 8, generator=generator)
    return Dataset("shapes", pictures[labels] - 0.5 + noise, labels, 3)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = build(Small)
    train(model, shapes(512, 0), epochs=12, lr=0.1, seed=0)
    return model


def judge_on(data: Dataset) -> Callable[[Callable[[Tensor], Tensor], bool], float]:
    def judge(network: Callable[[Tensor], Tensor], quick: bool) -> float:
        with torch.no_grad():
            return float((network(data.inputs).argmax(1) == data.labels).float().mean())

    return judge


def run(model: nn.Module, budget: Budget = HALF, count: int = 256, **options: Any) -> tuple[Pruned, Traced]:
    data, validation = shapes(count, 1), shapes(300, 2)
    graph = trace(model, data.inputs[:1])
    arguments: dict[str, Any] = {
        "device": REFERENCE,
        "budget": budget,
        "calibration": Samples(data.inputs, data.labels),
        "judge": judge_on(validation),
    }
    return prune_network(graph, layer_works(graph), **(arguments | options)), graph


def test_half_the_energy_is_met_on_the_grid_and_every_step_is_booked(trained: nn.Module) -> None:
    state = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    pruned, graph = run(trained)
    before, after = (
        estimate(workload(g), REFERENCE).total for g in (graph, trace(pruned.module, graph.inputs))
    )
    assert after.value <= 0.5 * before.value
    assert judge_figure(ratio(after, before), 0.5, 0.9) == "yes"
    assert pruned.steps[-1].total.value == pytest.approx(after.value, rel=1e-9)
    for kept in pruned.kept.values():
        assert len(kept) % 4 == 0
        assert list(kept) == sorted(set(kept))
    assert pruned.sizes == {"stem": 16, "a": 12}
    greedy = [step for step in pruned.steps if step.put_back is None]
    shares = [1.0, *(step.share for step in greedy)]
    assert all(new < old for old, new in itertools.pairwise(shares))
    assert all(step.share <= 0.5 for step in pruned.steps[len(greedy) - 1 :])
    assert [step.index for step in pruned.steps] == list(range(len(pruned.steps)))
    for step in greedy:
        assert step.taken.saving_j > 0
        assert step.reason
        assert (step.accuracy is not None) == (step.index % 4 == 0)
        assert all(other.price >= step.taken.price for other in step.runners_up)
    assert any(step.runners_up for step in pruned.steps)
    rows = dict(pruned.rows)
    assert rows["as trained"] > 0.9
    assert rows["pruned"] > 0.85
    assert all(torch.equal(trained.state_dict()[key], tensor) for key, tensor in state.items())


def test_the_result_has_the_authors_names_and_the_kept_indices(trained: nn.Module) -> None:
    pruned, _ = run(trained)
    assert set(pruned.module.state_dict()) == set(trained.state_dict())
    assert pruned.indices["stem.weight"][0] == list(pruned.kept["stem"])
    assert pruned.indices["a.weight"] == {0: list(pruned.kept["a"]), 1: list(pruned.kept["stem"])}
    for name, dims in pruned.indices.items():
        for dim, at in dims.items():
            assert pruned.module.state_dict()[name].shape[dim] == len(at)


def test_the_same_seed_gives_the_same_bytes(trained: nn.Module) -> None:
    (first, _), (second, _) = run(trained), run(trained)
    assert first.kept == second.kept
    assert [s.taken for s in first.steps] == [s.taken for s in second.steps]
    for key, tensor in first.module.state_dict().items():
        assert tensor.numpy().tobytes() == second.module.state_dict()[key].numpy().tobytes(), key


@pytest.mark.parametrize("step", [1, 5])
def test_widths_follow_the_devices_step(trained: nn.Module, step: int) -> None:
    spec = dataclasses.replace(REFERENCE, channel_step=step, pads=())
    pruned, _ = run(trained, Budget(share=0.6), device=spec)
    for group, kept in pruned.kept.items():
        assert len(kept) == pruned.sizes[group] or len(kept) % step == 0
    assert {len(step.taken.channels) for step in pruned.steps} <= {1, 2, 5}


def test_joules_are_a_budget_too(trained: nn.Module) -> None:
    graph = trace(trained, torch.zeros(1, 1, 8, 8))
    energy_j = 0.7 * estimate(workload(graph), REFERENCE).total.value
    pruned, _ = run(trained, Budget(energy_j=energy_j))
    assert 0.5 * energy_j < pruned.steps[-1].total.value <= energy_j


def test_a_budget_out_of_reach_names_the_best_point(trained: nn.Module) -> None:
    """Even one step of 4 channels in each group takes more than a hundredth."""
    graph = trace(trained, torch.zeros(1, 1, 8, 8))
    narrow = trace(Narrow(), torch.zeros(1, 1, 8, 8))
    smallest = estimate(workload(narrow), REFERENCE).total.value
    with pytest.raises(BudgetUnreachable, match="out of reach") as caught:
        run(trained, Budget(share=0.01))
    best = caught.value.best
    assert isinstance(best, Estimate)
    assert best.value == pytest.approx(smallest, rel=1e-9)
    assert best.value < estimate(workload(graph), REFERENCE).total.value


class Narrow(Small):
    """``Small`` at 4 channels everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)


def falling(good: int) -> Callable[[Callable[[Tensor], Tensor], bool], float]:
    """A judge that is content so many times."""
    asked = itertools.count()
    return lambda network, quick: 0.9 if next(asked) < good else 0.5


@pytest.mark.parametrize("effort", ["full", "quick"])
def test_a_floor_that_cannot_be_kept_gives_the_best_point(trained: nn.Module, effort: Effort) -> None:
    """The original is judged twice, then a step or more that keep the floor, then none does."""
    budget, settings = Budget(share=0.2, min_accuracy=0.85), search_settings(effort)
    with pytest.raises(BudgetUnreachable, match=r"without falling below 85\.0 % validation") as caught:
        run(trained, budget, judge=falling(4), settings=settings)
    best, found = caught.value.best, caught.value.result
    assert isinstance(best, Estimate)
    assert isinstance(found, Pruned)
    small, whole = (trace(m, torch.zeros(1, 1, 8, 8)) for m in (found.module, trained))
    assert best.value == pytest.approx(estimate(workload(small), REFERENCE).total.value, rel=1e-9)
    assert best.value < 0.99 * estimate(workload(whole), REFERENCE).total.value
    assert [check.met for check in found.limits] == ["no"]
    assert [step.accuracy for step in found.steps] == [0.9] * len(found.steps)


def test_where_not_one_step_keeps_the_floor_there_is_no_point(trained: nn.Module) -> None:
    with pytest.raises(BudgetUnreachable) as caught:
        run(trained, Budget(share=0.2, min_accuracy=0.85), judge=falling(2))
    assert caught.value.result is None


def test_a_floor_that_can_be_kept_is_kept(trained: nn.Module) -> None:
    pruned, _ = run(trained, Budget(share=0.6, min_accuracy=0.85))
    assert dict(pruned.rows)["pruned"] >= 0.85
    assert all(step.accuracy is not None and step.accuracy >= 0.85 for step in pruned.steps)


def test_few_samples_are_refused_unless_forced(trained: nn.Module) -> None:
    with pytest.raises(UsageError, match="63 calibration samples are too few"):
        run(trained, count=63)
    pruned, _ = run(trained, count=63, force=True)
    assert pruned.steps


def test_copies_of_a_sample_do_not_count(trained: nn.Module) -> None:
    data = shapes(40, 1)
    copies = Samples(data.inputs.repeat(4, 1, 1, 1), data.labels.repeat(4))
    with pytest.raises(UsageError, match=r"^40 different calibration samples are too few"):
        run(trained, calibration=copies)


def test_without_labels_the_originals_own_answers_count(trained: nn.Module) -> None:
    data = shapes(256, 1)
    pruned, graph = run(trained, calibration=Samples(data.inputs, None), judge=None)
    assert pruned.rows == ()
    assert all(step.accuracy is None for step in pruned.steps)
    with torch.no_grad():
        same = (pruned.module(data.inputs).argmax(1) == graph.module(data.inputs).argmax(1)).float().mean()
    assert float(same) > 0.85


def test_a_floor_needs_a_judge(trained: nn.Module) -> None:
    with pytest.raises(UsageError, match="labelled validation data"):
        run(trained, Budget(share=0.5, min_accuracy=0.5), judge=None)


@pytest.mark.parametrize("effort", ["full", "quick"])
def test_labels_reach_the_last_layer_alone_and_only_where_that_is_asked_for(
    trained: nn.Module, effort: Effort
) -> None:
    """Of two runs that differ in it, every weight but the last layer's is the same."""
    plain, _ = run(trained, settings=search_settings(effort))
    assert not any("labels" in name for name, _ in plain.rows)
    fitted, _ = run(trained, settings=search_settings(effort, fit_labels=True))
    scores = {name: score for name, score in fitted.rows if name.startswith("refit")}
    labelled = [name for name in scores if name.endswith("last layer to labels")]
    assert len(labelled) == (2 if effort == "full" else 1)
    assert dict(fitted.rows)["pruned"] == pytest.approx(max(scores.values()), abs=0.005)
    before, after = plain.module.state_dict(), fitted.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if "moments matched" in max(scores, key=lambda name: scores[name]):
        return  # validation took another refit, too
    assert changed <= {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"judge": None, "settings": LABELLED}, "validation samples have none"),
        ({"device": GATED, "settings": dataclasses.replace(LABELLED, strategy="auto")}, "zeros"),
    ],
)
def test_a_last_layer_that_cannot_be_fitted_to_labels(
    trained: nn.Module, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=rf"cannot be fitted to labels: .*{reason}"):
        run(trained, **options)


def test_a_convolution_that_ends_a_network_is_not_fitted_to_labels() -> None:
    model = build(lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 6), nn.Flatten()))
    with pytest.raises(UsageError, match="no linear layer that writes the only output"):
        run(model, settings=LABELLED)


def test_a_network_without_prunable_channels_is_refused_with_the_reason() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(UsageError, match="no channel that can be removed: it is an output of the network"):
        run(model)


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"scaled"}))
def test_every_kind_of_network_gets_through(name: str) -> None:
    """With random weights and labels: what counts is that the budget is met and the numbers are finite."""
    model, shape = build(EXACT[name].build), EXACT[name].shape
    x = torch.randn(128, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(x).argmax(1)
    data = Dataset("noise", x, labels, int(labels.max()) + 1)
    graph = trace(model, x[:1])
    spec = dataclasses.replace(REFERENCE, channel_step=1, pads=())
    pruned = prune_network(
        graph,
        layer_works(graph),
        device=spec,
        budget=Budget(share=0.85),
        calibration=Samples(x, labels),
        judge=judge_on(data),
    )
    after = estimate(workload(trace(pruned.module, graph.inputs)), spec).total.value
    assert after <= 0.85 * estimate(workload(graph), spec).total.value
    with torch.no_grad():
        found = pruned.module(x)
    assert math.isfinite(float(found.abs().sum()))
    assert dict(pruned.rows)["pruned"] == pytest.approx(float((found.argmax(1) == labels).float().mean()))
