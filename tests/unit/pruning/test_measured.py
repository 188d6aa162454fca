"""Runs whose limits a meter decides: noisy, wrong in its own way, killed and resumed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pruning_networks import one_thread  # noqa: F401
from torch import Tensor, nn

from joulecut.codec import from_json, to_json
from joulecut.errors import BudgetUnreachable, UsageError
from joulecut.hw_models.catalogue import device
from joulecut.pruning.blocks import removable_blocks
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.limits import limits
from joulecut.pruning.measured import Measuring, Meters, cut_module
from joulecut.pruning.metering import Look, MeteringSettings
from joulecut.pruning.network import Network
from joulecut.pruning.pairs import Pairs
from joulecut.pruning.pricing import pricer
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import Effort, SearchSettings
from joulecut.pruning.training_step import budget_pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import Traced, trace

REFERENCE = device("reference/edge/float32")
QUICK = SearchSettings(samples=64, final_samples=64, gradient_samples=32, exchange_rounds=1)
BASE_J = 2e-3


def joules(module: nn.Module) -> float:
    """What the meter sees: 2 mJ in any case, and 10 uJ for each parameter."""
    return BASE_J + 1e-5 * sum(parameter.numel() for parameter in module.parameters())


class Noisy:
    """A meter that scatters by so much."""

    def __init__(self, noise: float, seed: int = 0) -> None:
        self.noise = noise
        self.generator = random.Random(seed)
        self.seen: list[float] = []

    def pairs(self, before: nn.Module, after: nn.Module, rounds: int) -> Pairs:
        self.seen.append(joules(after))

        def read(module: nn.Module) -> tuple[float, ...]:
            return tuple(joules(module) * (1 + self.generator.gauss(0, self.noise)) for _ in range(rounds))

        return Pairs(read(before), read(after), source="simulated")


class Mixer(nn.Module):
    """24 nodes around a residual block of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(6, 24), nn.Linear(24, 16), nn.Linear(16, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        logits: Tensor = self.head(x + self.down(torch.relu(self.up(x))))
        return logits


def graph() -> Traced:
    torch.manual_seed(0)
    return trace(Mixer().eval(), torch.zeros(1, 6))


def inputs() -> Tensor:
    return torch.randn(128, 6, generator=torch.Generator().manual_seed(0))


def run(budget: Budget, meters: Meters, **options: Any) -> Pruned:
    traced = graph()
    return prune_network(
        traced,
        layer_works(traced),
        device=REFERENCE,
        budget=budget,
        calibration=Samples(inputs(), None),
        **{"settings": QUICK, "meters": meters, **options},
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_a_noisy_meter_calls_met_is(seed: int) -> None:
    """5 % a reading; the limit is on joules of which the model knows neither the scale nor the 2 mJ."""
    whole_j = joules(graph().module)
    found = run(Budget(energy_j=0.75 * whole_j), Meters(energy=Noisy(0.05, seed)))
    (check,) = found.limits
    assert check.met == "yes"
    assert check.figure is not None
    assert check.figure.origin == "measured"
    assert 0.4 * whole_j < joules(found.module) <= 0.75 * whole_j
    assert check.figure.value == pytest.approx(joules(found.module), rel=0.03)


@pytest.mark.parametrize("effort", ["full", "quick"])
def test_a_measured_share_is_met_with_any_effort(effort: Effort) -> None:
    settings = SearchSettings(
        samples=64, final_samples=64, gradient_samples=32, exchange_rounds=1, effort=effort
    )
    found = run(Budget(share=0.8), Meters(energy=Noisy(0.01)), settings=settings)
    assert [check.met for check in found.limits] == ["yes"]
    assert joules(found.module) <= 0.8 * joules(graph().module)


def test_what_never_goes_away_is_found_out() -> None:
    """2 of 12.51 mJ stay: a tenth of the whole is out of reach, as the meter knows."""
    with pytest.raises(BudgetUnreachable):
        run(Budget(share=0.1), Meters(energy=Noisy(0.0)))


def test_a_latency_is_measured_where_no_file_tells_it() -> None:
    """Read as seconds; the reference device has none. Joules are met from the start."""
    whole = joules(graph().module)
    found = run(Budget(share=0.99, latency_s=0.7 * whole), Meters(latency=Noisy(0.0)))
    energy, latency = found.limits
    assert (energy.met, latency.met) == ("yes", "yes")
    assert joules(found.module) <= 0.7 * whole


class Killed(BaseException):
    """What a kill looks like from inside."""


def killing_after(steps: int) -> Callable[[str, int, int], None]:
    counted = [0]

    def progress(stage: str, _: int, __: int) -> None:
        if stage == "pruning":
            counted[0] += 1
            if counted[0] > steps:
                raise Killed

    return progress


def test_a_killed_run_goes_on_with_what_it_has_measured(tmp_path: Path) -> None:
    budget, settings = Budget(share=0.6), MeteringSettings(every=1, rounds=5, confirming_rounds=8)
    file = tmp_path / "state.safetensors"
    whole = run(budget, Meters(energy=Noisy(0.0), settings=settings))
    with pytest.raises(Killed):
        run(
            budget,
            Meters(energy=Noisy(0.0), settings=settings),
            checkpoint=file,
            progress=killing_after(3),
        )
    meter = Noisy(0.0)
    found = run(budget, Meters(energy=meter, settings=settings), checkpoint=file, resume=True)
    assert found.kept == whole.kept
    assert [step.taken for step in found.steps] == [step.taken for step in whole.steps]
    assert joules(graph().module) not in meter.seen


def test_looks_are_kept_as_text_and_gone_on_from() -> None:
    traced = graph()
    coupling = Coupling(traced.module)
    prices = pricer(coupling, layer_works(traced), REFERENCE)

    def build(network: Network) -> nn.Module:
        return cut_module(coupling, network)

    measuring = Measuring(Meters(energy=Noisy(0.02)), coupling.module, build, lambda: 0)
    found, again = (limits(Budget(share=0.9), prices, measuring) for _ in range(2))
    network = Network.whole(coupling)
    assert found.met(network) == "unsure"
    again.recall(
        {what: tuple(from_json(to_json(look), Look) for look in looks) for what, looks in found.looks.items()}
    )
    assert again.looks == found.looks
    assert again.allowed_j(network) == found.allowed_j(network)


def test_what_is_measured_is_the_cut_network_without_its_dropped_blocks() -> None:
    """stem 6 x 8 + 8, head 8 x 3 + 3 are left of the parameters, and the sum is gone."""
    traced = graph()
    coupling = Coupling(traced.module)
    (block,) = removable_blocks(traced)
    network = Network.whole(coupling).drop(block)
    network = network.cut(next(g for g in coupling.all_groups() if g.name == "stem"), tuple(range(16)))
    module = cut_module(coupling, network)
    assert sum(parameter.numel() for parameter in module.parameters()) == 6 * 8 + 8 + 8 * 3 + 3
    assert module(torch.zeros(2, 6)).shape == (2, 3)


def test_a_meter_reads_inferences_and_no_training_steps() -> None:
    traced = graph()
    coupling = Coupling(traced.module)
    budget = Budget(share=0.5, per="training step", step_samples=4)
    prices = budget_pricer(traced, coupling, layer_works(traced), REFERENCE, budget)
    measuring = Measuring(Meters(energy=Noisy(0.0)), coupling.module, lambda _: coupling.module, lambda: 0)
    with pytest.raises(UsageError, match="a meter reads inferences"):
        limits(budget, prices, measuring)
