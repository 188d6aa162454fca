"""Training loops on simulated sensors: epochs, steps and parts that add up to what was truly drawn."""

import io
import json
import math
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from rich.console import Console

import joulecut as jc
from joulecut.cli.main import main
from joulecut.errors import UsageError
from joulecut.profiler.simulate import Fault, Load, Meter, SimulatedSensor, World, energy_counter
from joulecut.profiler.simulate.meters import FaultKind
from joulecut.profiler.training import TrainingMeter
from joulecut.profiler.training_records import TrainingEnergy, TrainingWindow
from joulecut.reports.text import spread
from joulecut.reports.training_console import print_training
from joulecut.schemas import schema_path

RAPL = energy_counter("package:0", "cpu", tick_s=0.001)
NVML = energy_counter("gpu:0", "cpu", tick_s=0.1, quantum_j=1e-3, counts=0, boundary="board_dc")


def trained(meter: Meter, scale: float, *, epochs: int = 2, steps: int = 4) -> TrainingEnergy:
    """Steps of 20 ms at 100 W, 40 ms at 200 W and 10 ms at 50 W, 10 ms of idle (30 W) before each; scaled."""
    world = World(Load("cpu", idle_w=30.0), seed=2)
    sensor = SimulatedSensor(world, [meter])
    with TrainingMeter(sensor, clock=world) as training:
        for _ in training.epochs(epochs):
            for _ in range(steps):
                world.sleep_s(0.0101 * scale)
                with training.step():
                    with training.forward():
                        world.work(0.0203 * scale, 100.0)
                    with training.backward():
                        world.work(0.0407 * scale, 200.0)
                    with training.optimizer():
                        world.work(0.0103 * scale, 50.0)
    return training.energy()


TRUE = {"forward": 2.03, "backward": 8.14, "optimizer": 0.515}
IDLE = 0.303


def parts(window: TrainingWindow) -> dict[str, float]:
    return {part.name: part.energy.value for part in window.parts}


@pytest.mark.parametrize(("meter", "scale"), [(RAPL, 1.0), (NVML, 100.0)])
def test_parts_are_those_that_were_drawn(meter: Meter, scale: float) -> None:
    energy = trained(meter, scale)
    assert (len(energy.epochs), len(energy.steps), energy.reasons) == (2, 8, ())
    for epoch in energy.epochs:
        assert epoch.steps == 4
        for part in epoch.parts:
            true = 4 * scale * TRUE.get(part.name, IDLE)
            low, high = part.energy.bounds(0.9)
            assert low <= true <= high
            assert part.energy.value == pytest.approx(true, rel=0.08)
            assert part.energy.origin == "measured"


@pytest.mark.parametrize(("meter", "scale"), [(RAPL, 1.0), (NVML, 1.0), (NVML, 100.0)])
def test_parts_and_rest_add_up_to_the_whole(meter: Meter, scale: float) -> None:
    energy = trained(meter, scale)
    for window in (*energy.epochs, *energy.steps):
        assert window.energy is not None
        assert math.fsum(parts(window).values()) == pytest.approx(window.energy.value, rel=1e-9)
        assert math.fsum(part.duration_s for part in window.parts) == pytest.approx(
            window.duration_s, rel=1e-9
        )
    assert sum(step.steps for step in energy.steps) == 8


def test_steps_too_short_for_the_counter_are_merged_and_said_so() -> None:
    """80 ms a step with ticks of 100 ms: three hold two ticks, and no epoch leaves a single one over."""
    energy = trained(NVML, 1.0, epochs=1, steps=6)
    assert [step.label for step in energy.steps] == ["steps 0 to 2", "steps 3 to 5"]
    assert "steps were merged until they held two ticks of 0.1 s" in energy.reasons
    assert all(step.quality == "good" for step in energy.steps)


def test_parts_too_short_for_the_counter_are_attributed_within_bounds_that_hold_all() -> None:
    energy = trained(NVML, 1.0)
    epoch = energy.epochs[0]
    assert epoch.energy is not None
    for part in epoch.parts[:3]:
        assert part.energy.origin == "attributed"
        assert part.energy.bounds(0.9) == pytest.approx((0.0, epoch.energy.value))
    assert "parts shorter than two ticks were attributed by their time" in energy.reasons


def test_hooks_mark_what_a_loop_does_not() -> None:
    torch.manual_seed(0)
    world = World(Load("cpu", idle_w=30.0))
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        TrainingMeter(SimulatedSensor(world, [RAPL]), clock=world) as training,
        training.watch(model, optimizer),
    ):
        for _ in training.epochs(1):
            with training.step():
                loss = model(torch.ones(3, 4)).sum()
                world.work(0.1, 200.0)  # after the forward pass, before the optimiser: backward
                loss.backward()
                optimizer.step()
            model(torch.ones(1, 4))  # outside of a step: not marked
    epoch = training.energy().epochs[0]
    assert parts(epoch)["backward"] == pytest.approx(20.0, rel=0.02)
    assert {part.name for part in epoch.parts} == {"forward", "backward", "optimizer", "rest"}
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_a_loop_without_parts_has_whole_steps() -> None:
    world = World(Load("cpu", idle_w=30.0))
    with TrainingMeter(SimulatedSensor(world, [RAPL]), clock=world) as training, training.step():
        world.work(0.5, 100.0)
    step = training.energy().steps[0]
    assert step.energy is not None
    assert step.energy.value == pytest.approx(50.0, rel=0.01)
    assert step.parts == ()


def test_mistakes_are_named() -> None:
    world = World(Load("cpu", idle_w=30.0))
    with TrainingMeter(SimulatedSensor(world, [RAPL]), clock=world) as training:
        with pytest.raises(UsageError, match="forward is a part of a step"), training.forward():
            pass
        with training.step(), pytest.raises(UsageError, match="inside a step"), training.step():
            pass
    with TrainingMeter(SimulatedSensor(world, [RAPL]), clock=world) as empty:
        pass
    with pytest.raises(UsageError, match="no finished step"):
        empty.energy()


def test_it_saves_and_loads(tmp_path: Path) -> None:
    energy = trained(RAPL, 1.0)
    jc.save(energy, tmp_path / "training.json")
    assert jc.load(tmp_path / "training.json") == energy
    plain = json.loads((tmp_path / "training.json").read_text())
    Draft202012Validator(json.loads(schema_path("training_energy").read_text())).validate(plain)
    assert plain["epochs"][0]["energy"]["unit"] == "J"
    assert (plain["sensor"], "joulecut" in plain["provenance"]) == ("simulated", True)


def test_it_is_printed_by_epoch_part_and_step(tmp_path: Path) -> None:
    energy = trained(NVML, 1.0)
    stream = io.StringIO()
    print_training(energy, Console(file=stream, width=110))
    lines = stream.getvalue().splitlines()
    epoch = next(line for line in lines if line.startswith("epoch 0"))
    assert energy.epochs[0].energy is not None
    assert spread(energy.epochs[0].energy) in epoch
    assert sum(line.strip().startswith("backward") and "attributed" in line for line in lines) == 2
    assert any("parts shorter than two ticks" in line for line in lines[:8])
    jc.save(energy, tmp_path / "training.json")
    assert main(["report", str(tmp_path / "training.json")]) == 0


@pytest.mark.parametrize(
    ("kind", "quality"), [("throttle", "degraded"), ("shared", "degraded"), ("mig", "invalid")]
)
def test_what_the_devices_say_is_a_doubt_about_every_window(kind: FaultKind, quality: str) -> None:
    world = World(Load("cpu", idle_w=30.0), seed=2)
    sensor = SimulatedSensor(world, [RAPL], faults=[Fault(kind, at_s=0.2)])
    with TrainingMeter(sensor, clock=world) as training, training.step():
        world.work(0.5, 100.0)
    energy = training.energy()
    assert [step.quality for step in energy.steps] == [quality]
    assert energy.reasons[0].startswith("cpu ")
    assert (energy.steps[0].energy is None) == (quality == "invalid")


def test_a_counter_that_stands_still_about_the_end_of_an_epoch_widens_it() -> None:
    """0.5 s at 100 W, of which the counter shows 0.1 s before the loop ends."""
    world = World(Load("cpu", idle_w=30.0), seed=2)
    with TrainingMeter(SimulatedSensor(world, [RAPL]), clock=world) as training, training.step():
        world.work(0.5, 100.0)
    begin_s = training.trace().marks[0].at_s
    world = World(Load("cpu", idle_w=30.0), seed=2)
    stuck = Fault("stuck", at_s=begin_s + 0.1, until_s=begin_s + 0.6)
    with (
        TrainingMeter(SimulatedSensor(world, [RAPL], faults=[stuck]), clock=world) as training,
        training.step(),
    ):
        world.work(0.5, 100.0)
    step = training.energy().steps[0]
    assert step.quality == "degraded"
    assert step.energy is not None
    low_j, high_j = step.energy.bounds(0.9)
    assert low_j <= 50.0 <= high_j
