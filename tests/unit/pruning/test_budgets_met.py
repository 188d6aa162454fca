"""Whole runs to budgets of every kind, on devices made for it: met, on the grid, and not overshot."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import pytest
import torch
from pruning_networks import build, one_thread  # noqa: F401
from sklearn.datasets import load_digits
from torch import Tensor, nn

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.training import train
from joulecut.errors import BudgetUnreachable, UsageError
from joulecut.estimate import Estimate
from joulecut.hw_models.device_file import parse_devices
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.training import training_step
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.memory import peak_memory
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, trace

_HEAD = """
schema = 1
chip = "paper"
category = "reference"
core = "none: a definition"
boundary = "definition"
[source.test]
text = "made up for tests"
evidence = "assumed"
[runtime.rt.float32]
mode = "definition"
"""
QUICK = SearchSettings(samples=96, final_samples=96, gram_rows=800, gradient_samples=64, exchange_rounds=1)


def paper(**figures: float) -> DeviceSpec:
    """A device of these figures."""
    lines = [f'{key} = {{ value = {value}, source = "test" }}' for key, value in figures.items()]
    return parse_devices(_HEAD + "\n".join(lines), "paper.toml")[0]


def stepping(step: int) -> DeviceSpec:
    """4 pJ a MAC, 20 pJ a byte, and so many channels at a time."""
    return paper(channel_step=step, pj_per_mac_dense=4, pj_per_weight_byte=20, pj_per_activation_byte=20)


class Digits(nn.Module):
    """On 8 x 8: 12 channels, half of the size at 16, then 40 nodes; 16 x 16 activations reach them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.down = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.hidden, self.head = nn.Linear(256, 40), nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.down(torch.relu(self.wide(x))))
        logits: Tensor = self.head(torch.relu(self.hidden(torch.flatten(x, 1))))
        return logits


@functools.cache
def digits() -> Dataset:
    pictures, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pictures / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return Dataset("digits", inputs, torch.tensor(labels), 10)


@functools.cache
def trained() -> tuple[Traced, Coupling]:
    model = build(Digits)
    train(model, digits().take(0, 256), epochs=2, lr=0.1, seed=0)
    graph = trace(model, digits().inputs[:1])
    return graph, Coupling(graph.module)


@dataclass(frozen=True)
class Ended:
    """A run that ended, and what prices it."""

    pruned: Pruned
    prices: Pricer

    @property
    def widths(self) -> dict[str, int]:
        return {name: len(kept) for name, kept in self.pruned.kept.items()}

    @property
    def energy_j(self) -> float:
        return self.prices.total_j(self.widths)

    @property
    def share(self) -> float:
        return self.energy_j / self.prices.total_j(self.prices.sizes)

    def back_j(self) -> list[float]:
        """Joules of putting back one device step, group by group."""
        found = []
        for name, width in self.widths.items():
            step = self.prices.device.channel_step
            wider = min(width // step * step + step, self.prices.sizes[name])
            if wider > width:
                found.append(self.prices.total_j({**self.widths, name: wider}) - self.energy_j)
        return found


def run(device: DeviceSpec, budget: Budget, settings: SearchSettings = QUICK) -> Ended:
    graph, coupling = trained()
    data = digits().take(0, 128)
    works = layer_works(graph)
    pruned = prune_network(
        graph,
        works,
        device=device,
        budget=budget,
        calibration=Samples(data.inputs, data.labels),
        settings=settings,
    )
    return Ended(pruned, pricer(coupling, works, device))


def check_path(ended: Ended) -> None:
    """What holds on every path: the grid, and a saving in every removal."""
    step = ended.prices.device.channel_step
    for name, width in ended.widths.items():
        assert width == ended.prices.sizes[name] or width % step == 0
    for booked in ended.pruned.steps:
        if booked.put_back is None:
            assert booked.taken.saving_j > 0
        for other in booked.runners_up:
            assert other.saving_j > 0


@pytest.mark.parametrize(("step", "share"), [(4, 0.9), (4, 0.7), (4, 0.5), (4, 0.35), (1, 0.7), (8, 0.5)])
def test_a_budget_is_met_and_no_step_more_would_fit(step: int, share: float) -> None:
    ended = run(stepping(step), Budget(share=share))
    check_path(ended)
    assert ended.share <= share
    limit_j = share * ended.prices.total_j(ended.prices.sizes)
    assert ended.back_j()
    assert all(ended.energy_j + back_j > limit_j for back_j in ended.back_j())
    (check,) = ended.pruned.limits
    assert check.met == "yes"
    assert check.figure is not None
    assert check.figure.value == pytest.approx(ended.energy_j)


def test_a_step_wider_than_most_layers_leaves_them_whole() -> None:
    """Of 12, 16 and 40 only 40 can give 8 to reach 32."""
    ended = run(stepping(32), Budget(share=0.9))
    check_path(ended)
    assert ended.widths == {"wide": 12, "down": 16, "hidden": 32}
    with pytest.raises(BudgetUnreachable):
        run(stepping(32), Budget(share=0.3))


def test_a_budget_out_of_reach_names_the_least_that_can_be_had() -> None:
    _, coupling = trained()
    prices = pricer(coupling, layer_works(trained()[0]), stepping(4))
    with pytest.raises(BudgetUnreachable) as caught:
        run(stepping(4), Budget(share=0.01))
    best = caught.value.best
    assert isinstance(best, Estimate)
    assert best.value == pytest.approx(prices.total_j(dict.fromkeys(prices.sizes, 4)))


def test_a_layer_that_always_costs_the_same_is_never_cut() -> None:
    """Only MACs of depthwise layers and weights cost here, and the weights next to nothing: what saves 0 J is
    not offered. On a device that prices calls alone nothing saves, and nothing is cut."""
    calls = paper(channel_step=4, pj_per_mac_dense=0, uj_per_layer=3)
    with pytest.raises(BudgetUnreachable, match="out of reach"):
        run(calls, Budget(share=0.99))


class Summed(nn.Module):
    """A skip of 8 channels around 16 that only convolutions read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.back, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.back(torch.relu(self.inner(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_where_only_sums_cost_only_what_is_summed_is_cut() -> None:
    """Convolutions and linear layers are free: 16 channels between them save nothing, whatever the loss."""
    sums = paper(channel_step=2, pj_per_mac_dense=0, pj_per_elementwise_byte=20)
    graph = trace(build(Summed), digits().inputs[:1])
    data = digits().take(0, 128)
    pruned = prune_network(
        graph,
        layer_works(graph),
        device=sums,
        budget=Budget(share=0.6),
        calibration=Samples(data.inputs, data.labels),
        settings=QUICK,
    )
    assert {step.taken.group for step in pruned.steps if step.put_back is None} == {"stem"}
    assert {name: len(kept) for name, kept in pruned.kept.items()} == {"stem": 4, "inner": 16}


def test_heavy_weights_thin_the_layer_that_has_them_and_heavy_activations_the_first() -> None:
    """256 x 40 of the 12,554 weights are the hidden layer's; 12 x 64 of the 1,138 values are what the first
    layer writes and the second reads."""
    weights = run(paper(channel_step=4, pj_per_mac_dense=0, pj_per_weight_byte=600), Budget(share=0.5))
    activations = run(
        paper(channel_step=4, pj_per_mac_dense=0, pj_per_activation_byte=600), Budget(share=0.5)
    )
    for ended in (weights, activations):
        check_path(ended)
        assert ended.share <= 0.5
    assert activations.widths["wide"] <= 4
    assert weights.widths["down"] * weights.widths["hidden"] <= 0.55 * 16 * 40


def test_latency_binds_where_joules_are_met() -> None:
    """1 ns a MAC: 83,152 MACs; half of that time allowed, and 99 % of the joules."""
    timed = paper(
        channel_step=4, pj_per_mac_dense=4, pj_per_weight_byte=20, pj_per_activation_byte=20, ps_per_mac=1000
    )
    graph, _ = trained()
    whole_s = estimate(workload(graph), timed).duration.value
    loose, tight = Budget(share=0.99), Budget(share=0.99, latency_s=0.5 * whole_s)
    ended = run(timed, tight)
    check_path(ended)
    found = estimate(workload(trace(ended.pruned.module, graph.inputs)), timed).duration.value
    assert found <= 0.5 * whole_s
    energy, latency = ended.pruned.limits
    assert (energy.what, energy.met) == ("energy of one inference", "yes")
    assert (latency.what, latency.met) == ("latency", "yes")
    assert latency.figure is not None
    assert latency.figure.value == pytest.approx(found)
    alone = run(timed, loose)
    looser = estimate(workload(trace(alone.pruned.module, graph.inputs)), timed).duration.value
    assert looser > 0.5 * whole_s
    assert any("per second" in step.reason for step in ended.pruned.steps)


def test_memory_binds_where_joules_are_met() -> None:
    """In 5 kB of SRAM: the peak is the first layer's 768 values beside what reads or makes them."""
    board = paper(
        channel_step=4, pj_per_mac_dense=4, pj_per_weight_byte=20, pj_per_activation_byte=20, sram_kib=64
    )
    graph, coupling = trained()
    layers = pricer(coupling, layer_works(graph), board).layers
    whole = peak_memory(coupling, layers, board)
    assert whole.at({"wide": 12, "down": 16, "hidden": 40}) == 4 * (768 + 256)
    ended = run(board, Budget(share=0.99, memory_bytes=3000))
    check_path(ended)
    cut = trace(ended.pruned.module, graph.inputs)
    anew = Coupling(cut.module)
    peak = peak_memory(anew, (), board).at({group.name: group.size for group in anew.all_groups()})
    assert peak <= 3000
    assert whole.at(run(board, Budget(share=0.99)).widths) > 3000
    energy, memory = ended.pruned.limits
    assert (energy.met, memory.met) == ("yes", "yes")
    assert memory.figure is not None
    assert memory.figure.value == peak


def test_a_budget_of_time_or_memory_alone_is_one() -> None:
    board = paper(channel_step=4, pj_per_mac_dense=4, sram_kib=64, ps_per_mac=1000)
    ended = run(board, Budget(memory_bytes=3000))
    assert [(check.what, check.met) for check in ended.pruned.limits] == [("memory peak", "yes")]
    with pytest.raises(
        BudgetUnreachable, match=r"its memory peak being .* where at most 100 B is asked"
    ) as caught:
        run(board, Budget(memory_bytes=100))
    assert "\n" not in str(caught.value)


def test_the_joules_of_a_training_step_are_a_budget() -> None:
    budget = Budget(share=0.6, per="training step", step_samples=32)
    ended = run(stepping(4), budget)
    graph, _ = trained()
    cut = trace(ended.pruned.module, graph.inputs)
    before, after = (training_step(workload(g), stepping(4), batch=32).value for g in (graph, cut))
    assert after <= 0.6 * before
    (check,) = ended.pruned.limits
    assert (check.what, check.met) == ("energy of one training step", "yes")
    assert check.figure is not None
    assert check.figure.value == pytest.approx(after)


def test_joules_of_a_training_step_must_meet_what_its_factor_may_be() -> None:
    """The factor 3 may be 4.5: the budget is met on that upper bound."""
    graph, _ = trained()
    before = training_step(workload(graph), stepping(4), batch=8).value
    ended = run(stepping(4), Budget(energy_j=before, per="training step", step_samples=8))
    cut = trace(ended.pruned.module, graph.inputs)
    after = training_step(workload(cut), stepping(4), batch=8).value
    assert 0.5 * before < 1.5 * after <= before * (1 + 1e-9)


def test_a_latency_on_a_device_without_times_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing is known of the time"):
        run(stepping(4), Budget(share=0.5, latency_s=1.0))


def test_a_budget_that_is_met_already_cuts_nothing() -> None:
    graph, _ = trained()
    whole_j = estimate(workload(graph), stepping(4)).total.value
    ended = run(stepping(4), Budget(energy_j=1.01 * whole_j))
    assert ended.pruned.steps == ()
    assert math.isclose(ended.energy_j, whole_j, rel_tol=1e-9)
