"""Limits on joules, seconds, bytes and training steps, against the network that is really cut and priced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from pruning_networks import EXACT, build, captured, one_thread, random_kept  # noqa: F401
from torch import nn

from joulecut.errors import UsageError
from joulecut.estimate import ratio
from joulecut.hw_models.catalogue import device
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.training import training_step
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.latency import SecondsPricer, has_time
from joulecut.pruning.limits import Limits, limits
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import pricer
from joulecut.pruning.records import Budget
from joulecut.pruning.training_step import StepPricer, budget_pricer
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced, rebatched, trace

REFERENCE = device("reference/edge/float32")
BOARD = device("raspberry-pi-4b/tflite/float32")
PLAIN = dataclasses.replace(
    REFERENCE, coefficients=dataclasses.replace(REFERENCE.coefficients, s_per_mac=1e-9, s_per_layer=1e-6)
)
"""1 ns a MAC and 1 us a layer: the time of a device whose power is not known."""


def cut(name: str, seed: int = 0) -> tuple[Network, Traced, Traced]:
    """A network at random widths in a search, and the same captured whole and really cut."""
    _, graph, coupling = captured(name)
    kept = {group: tuple(channels) for group, channels in random_kept(coupling, seed, fewest=2).items()}
    network = Network(coupling, {}, kept)
    return network, graph, trace(coupling.apply(kept), graph.inputs)


@pytest.mark.parametrize("spec", [BOARD, PLAIN], ids=["power", "time"])
@pytest.mark.parametrize("name", ["residual", "separable", "attention", "perceptron"])
def test_seconds_are_those_of_the_cut_network(name: str, spec: object) -> None:
    assert isinstance(spec, type(BOARD))
    network, graph, smaller = cut(name)
    seconds = SecondsPricer(pricer(network.coupling, layer_works(graph), spec))
    found = seconds.total({group: len(kept) for group, kept in network.kept.items()})
    expected = estimate(workload(smaller), spec).duration
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.unit == "s"


def test_a_device_without_times_has_no_latency() -> None:
    _, graph, coupling = captured("residual")
    assert not has_time(REFERENCE)
    with pytest.raises(UsageError, match="nothing is known of the time") as caught:
        limits(Budget(latency_s=1.0), pricer(coupling, layer_works(graph), REFERENCE))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", [REFERENCE, BOARD], ids=["reference", "board"])
@pytest.mark.parametrize("name", ["residual", "separable", "perceptron"])
def test_a_training_step_is_that_of_the_cut_network(name: str, spec: object) -> None:
    assert isinstance(spec, type(BOARD))
    network, graph, smaller = cut(name)
    budget = Budget(share=0.5, per="training step", step_samples=8)
    prices = budget_pricer(graph, network.coupling, layer_works(graph), spec, budget)
    assert isinstance(prices, StepPricer)
    at = {group: len(kept) for group, kept in network.kept.items()}
    found, expected = prices.total(at), training_step(workload(smaller), spec, batch=8)
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert prices.total_j(at) == pytest.approx(expected.value, rel=1e-9)
    for confidence in (0.5, 0.9):
        assert found.bounds(confidence) == pytest.approx(expected.bounds(confidence), rel=1e-6)


def test_of_a_share_of_a_training_step_its_factor_cancels() -> None:
    """The factor 3 may be 2 or 4.5, for both networks alike."""
    network, graph, _ = cut("residual")
    budget = Budget(share=0.5, per="training step", step_samples=4)
    prices = budget_pricer(graph, network.coupling, layer_works(graph), REFERENCE, budget)
    whole = prices.total(prices.sizes)
    low, high = whole.bounds(0.9)
    assert (low / whole.value, high / whole.value) == pytest.approx((2 / 3, 1.5))
    less = prices.total({group: len(kept) for group, kept in network.kept.items()})
    low, high = ratio(less, whole).bounds(0.9)
    assert low == pytest.approx(high)


def test_the_samples_of_a_step_share_its_weights() -> None:
    """1 x 1 convolutions 1 -> 8 -> 2 on 2 x 2, four samples: forward 4 x (32 + 64) MACs at 4 pJ; weights
    8 + 8 and 16 + 2, read once; activations 4 x (4 + 32 and 32 + 8), 4 bytes a value at 20 pJ; times 3."""
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    graph = trace(model, torch.zeros(1, 1, 2, 2))
    coupling = Coupling(graph.module)
    budget = Budget(share=0.5, per="training step", step_samples=4)
    prices = budget_pricer(
        graph, coupling, layer_works(graph), dataclasses.replace(REFERENCE, pads=()), budget
    )
    forward_pj = 4 * 96 * 4 + (34 + 4 * 76) * 4 * 20
    assert prices.total_j({"0": 8}) * 1e12 == pytest.approx(3 * forward_pj)


def two_layers(budget: Budget, spec: object = PLAIN) -> tuple[Limits, Network]:
    """1 x 1 convolutions 1 -> 8 -> 2 on 2 x 2 without padding: with w channels in between, 4w and 8w MACs."""
    assert isinstance(spec, type(BOARD))
    model = build(lambda: nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)))
    graph = trace(model, torch.zeros(1, 1, 2, 2))
    coupling = Coupling(graph.module)
    spec = dataclasses.replace(spec, pads=(), channel_step=1)
    return limits(budget, pricer(coupling, layer_works(graph), spec)), Network.whole(coupling)


def without(network: Network, channels: int) -> Network:
    """Some channels fewer."""
    (group,) = network.coupling.all_groups()
    return network.cut(group, network.kept[group.name][:channels])


def joules(width: int) -> float:
    """12w MACs at 4 pJ; 2w + 2w + 2 weights, 4 + 4w values and 4w + 8 at 80 pJ."""
    return (12 * width * 4 + (2 * width + 2 * width + 2 + 4 + 4 * width + 4 * width + 8) * 80) * 1e-12


def seconds(width: int) -> float:
    """12w ns and 1 us for each of two layers; the activation is part of the first."""
    return 12e-9 * width + 2e-6


def size(width: int) -> float:
    """4w + 8 values where the second layer runs, beside 4w + 2 weights."""
    return 4.0 * (4 * width + 8 + 4 * width + 2)


@pytest.mark.parametrize(
    ("budget", "unit", "amount"),
    [
        (Budget(energy_j=joules(5)), "J", joules),
        (Budget(latency_s=seconds(5)), "s", seconds),
        (Budget(memory_bytes=size(5)), "B", size),
    ],
    ids=["energy", "latency", "memory"],
)
def test_each_limit_says_what_is_missing_and_what_a_removal_gives(
    budget: Budget, unit: str, amount: Callable[[int], float]
) -> None:
    found, network = two_layers(budget)
    needs = found.needs(network)
    assert needs.unit == unit
    (limit,) = needs.missing
    assert limit.ceiling(network) == pytest.approx(amount(5))
    gains = {n: needs.useful(joules(8) - joules(8 - n), lambda n=n: without(network, n)) for n in (1, 3, 6)}  # type: ignore[misc]
    assert gains[3] == gains[6] == pytest.approx(needs.missing[limit])
    if unit != "B":  # bytes over the limit add up over the operations
        assert gains[3] == pytest.approx(amount(8) - amount(5))
        assert gains[1] == pytest.approx(amount(8) - amount(7))
    assert [found.met(without(network, n)) for n in (0, 2, 3)] == ["no", "no", "yes"]
    assert not found.needs(without(network, 3)).missing


def test_of_several_limits_the_shares_of_what_is_missing_add_up() -> None:
    """Joules want 4 channels less, seconds 2: one gives a quarter of the one and half of the other."""
    found, network = two_layers(Budget(energy_j=joules(4), latency_s=seconds(6)))
    needs = found.needs(network)
    assert needs.unit == "1"
    saving_j = joules(8) - joules(7)
    assert needs.useful(saving_j, lambda: without(network, 1)) == pytest.approx(0.25 + 0.5)
    assert needs.useful(3 * saving_j, lambda: without(network, 3)) == pytest.approx(0.75 + 1)
    there = found.needs(without(network, 2))
    assert there.unit == "J"
    assert [(check.what, check.met) for check in found.checks(without(network, 2))] == [
        ("energy of one inference", "no"),
        ("latency", "yes"),
    ]


def test_a_share_is_held_against_the_original() -> None:
    found, network = two_layers(Budget(share=1.001 * joules(6) / joules(8)))
    (check,) = found.checks(network)
    assert check.asked == f"at most {100.1 * joules(6) / joules(8):.1f} % of the original"
    assert found.met(without(network, 1)) == "no"
    assert found.met(without(network, 2)) == "yes"


def test_the_ceiling_keeps_the_upper_bound_under_the_limit() -> None:
    """On a board with an interval the modelled joules must lie that much lower."""
    _, graph, coupling = captured("residual")
    prices = pricer(coupling, layer_works(graph), BOARD)
    network = Network.whole(coupling)
    whole = prices.total(prices.sizes)
    (limit,) = limits(Budget(energy_j=whole.value), prices).each
    assert limit.ceiling(network) == pytest.approx(whole.value**2 / whole.bounds(0.9)[1])
    assert limit.check(network).met == "unsure"


def test_memory_and_time_are_those_of_an_inference_beside_a_training_step() -> None:
    _, graph, coupling = captured("residual")
    budget = Budget(share=0.5, per="training step", step_samples=16, memory_bytes=1e6, latency_s=1.0)
    prices = budget_pricer(graph, coupling, layer_works(graph), PLAIN, budget)
    network = Network.whole(coupling)
    energy, latency, memory = limits(budget, prices).checks(network)
    alone = limits(Budget(memory_bytes=1e6, latency_s=1.0), pricer(coupling, layer_works(graph), PLAIN))
    assert energy.what == "energy of one training step"
    assert (latency, memory) == alone.checks(network)


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"scaled"}))
def test_a_step_of_two_samples_is_priced_for_every_kind_of_network(name: str) -> None:
    _, graph, coupling = captured(name)
    budget = Budget(share=0.5, per="training step", step_samples=2)
    prices = budget_pricer(graph, coupling, layer_works(graph), REFERENCE, budget)
    expected = training_step(workload(rebatched(graph, 1)), REFERENCE, batch=2)
    assert prices.total_j(prices.sizes) == pytest.approx(expected.value, rel=1e-9)
