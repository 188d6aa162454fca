"""Recovery: kept only where validation gains, costed by hand, and nothing lost where a loop fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.training import TrainingRun
from joulecut.errors import SensorDenied, UsageError
from joulecut.hw_models.modelling import estimate
from joulecut.jobs.recovering import Recovered, Recovery, bundled_loop, recovered
from joulecut.jobs.training_cost import SensorOfTraining, costed, modelled
from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter
from joulecut.workload.from_torch import workload
from joulecut.workload.trace import trace

EXAMPLE = (torch.zeros(1, 6),)
NO_SENSOR = SensorOfTraining("nvml")
"""No test machine is expected to have one that sees a CPU."""


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def captured() -> fx.GraphModule:
    return trace(network(), EXAMPLE).module


def splits(count: int = 600) -> Splits:
    """Three blobs: an untrained network has much to learn."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(count) % 3
    x = torch.randn(count, 6, generator=generator) + 2.0 * functional.one_hot(y, 6)
    data = Dataset("blobs", x, y, 3)
    third = count // 3
    return Splits.of(data.take(0, third), data.take(third, 2 * third), data.take(2 * third))


def silent(*_: object) -> None:
    return None


def state(module: fx.GraphModule) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def run(recovery: Recovery, **options: Any) -> tuple[fx.GraphModule, Recovered]:
    before = captured()
    return before, recovered(before, recovery, splits(), EXAMPLE, sensor=NO_SENSOR, **options)


def test_a_gain_is_kept_and_booked() -> None:
    before, found = run(bundled_loop(20, seed=0, progress=silent, lr=0.1), stage="fine-tune")
    assert found.cost.kept
    assert found.module is not before
    name, accuracy = found.row
    assert (name, accuracy > 0.8) == ("fine-tune, 20 epochs", True)
    assert found.note.startswith(
        "The weights of the fine-tune, 20 epochs are kept: validation accuracy moved by +"
    )
    assert found.cost.stage == "fine-tune"
    assert not any(module.training for module in found.module.modules())


def test_the_joules_of_a_fine_tune_by_hand() -> None:
    """200 samples in batches of 128 are a step an epoch; each costs three forward passes of 128 samples."""
    _, found = run(bundled_loop(20, seed=0, progress=silent, lr=0.1), stage="fine-tune")
    assert (found.cost.steps, found.cost.batch) == (20, 128)
    energy = found.cost.energy
    assert energy is not None
    forward = estimate(workload(network().eval(), EXAMPLE), "auto", batch=128).total
    assert energy.value == pytest.approx(20 * 3 * forward.value, rel=1e-9)
    assert energy.origin == "modelled"
    low, high = energy.bounds(0.9)
    assert low < 20 * 2 * forward.value
    assert high > 20 * 4.5 * forward.value
    assert found.cost.source.startswith("modelled on generic-")
    assert "20 steps of 128 samples at 3 forward passes each (not measured: " in found.cost.source


def test_what_gains_nothing_is_rolled_back() -> None:
    def shake(module: fx.GraphModule, data: Dataset) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.001)

    before, found = run(shake)
    weights = state(before)
    assert found.module is before
    assert not found.cost.kept
    assert found.row[0] == "recovery shake, not kept"
    assert "were rolled back" in found.note
    assert found.note.endswith("which shows no gain.")
    assert all(torch.equal(weights[key], tensor) for key, tensor in state(found.module).items())
    assert found.cost.energy is None
    assert found.cost.source.endswith("and not modelled: the loop does not say its steps and their batch")


def test_a_loop_of_the_user_sees_training_mode_and_tells_its_steps() -> None:
    means: list[Tensor] = []

    def loop(module: fx.GraphModule, data: Dataset) -> TrainingRun:
        with torch.no_grad():
            module(data.inputs[:64])
        means.append(module.state_dict()["1.running_mean"].clone())
        return TrainingRun(2.5, 10, 0.1, 8)

    before, found = run(loop)
    assert not torch.equal(means[0], before.state_dict()["1.running_mean"])
    assert (found.cost.duration_s, found.cost.steps, found.cost.batch) == (2.5, 10, 8)


def test_zero_weights_of_a_sparse_layer_stay_zero() -> None:
    before = captured()
    with torch.no_grad():
        before.get_parameter("0.weight")[:, ::2] = 0
        before.get_parameter("3.weight")[:, ::2] = 0
    loop = bundled_loop(20, seed=0, progress=silent, lr=0.1)
    found = recovered(before, loop, splits(), EXAMPLE, sparse=("0",), sensor=NO_SENSOR)
    assert found.cost.kept
    sparse, dense = found.module.get_parameter("0.weight"), found.module.get_parameter("3.weight")
    assert (sparse[:, ::2] == 0).all()
    assert (sparse[:, 1::2] != before.get_parameter("0.weight")[:, 1::2]).any()
    assert (dense[:, ::2] != 0).any()


def test_zeros_are_held_whatever_a_loop_writes() -> None:
    def fill(module: fx.GraphModule, data: Dataset) -> None:
        with torch.no_grad():
            module.get_parameter("0.weight").add_(1.0)
        weights.append(module.get_parameter("0.weight"))

    weights: list[Tensor] = []
    before = captured()
    with torch.no_grad():
        before.get_parameter("0.weight")[3:] = 0
    recovered(before, fill, splits(), EXAMPLE, sparse=("0", "no such layer"), sensor=NO_SENSOR)
    assert (weights[0][3:] == 0).all()
    assert (weights[0][:3] != 0).all()


def breaks(module: fx.GraphModule, data: Dataset) -> None:
    with torch.no_grad():
        next(module.parameters()).zero_()
    raise RuntimeError("out of patience\nat line 2")


def leaves_nan(module: fx.GraphModule, data: Dataset) -> None:
    with torch.no_grad():
        next(module.parameters())[0] = float("nan")


def reshapes(module: fx.GraphModule, data: Dataset) -> None:
    module.get_submodule("3").bias = nn.Parameter(torch.zeros(1))


def returns_text(module: fx.GraphModule, data: Dataset) -> Any:
    return "done"


@pytest.mark.parametrize(
    ("recovery", "says"),
    [
        (breaks, "the recovery breaks failed: RuntimeError: out of patience."),
        (leaves_nan, "the recovery leaves_nan has left NaN or infinite values in 0.weight."),
        (reshapes, "the recovery reshapes has changed the shape of 3.bias."),
        (returns_text, "the recovery returns_text returns a str, not a TrainingRun or None."),
        (bundled_loop(1, seed=0, progress=silent, lr=1e38), "the loss is "),
    ],
)
def test_a_loop_that_fails_is_one_sentence_and_the_cut_network_stays(recovery: Recovery, says: str) -> None:
    before = captured()
    weights = state(before)
    with pytest.raises(UsageError) as refused:
        recovered(before, recovery, splits(), EXAMPLE, sensor=NO_SENSOR)
    if recovery.__name__.startswith("fine-tune"):
        assert "learning rate" in str(refused.value) or "NaN" in str(refused.value)
    else:
        assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(weights[key], tensor) for key, tensor in state(before).items())


def test_without_training_data_there_is_no_recovery() -> None:
    with pytest.raises(UsageError, match="no training data"):
        recovered(captured(), breaks, Splits(None, *(splits().test,) * 3), EXAMPLE)


def simulated(device: str) -> tuple[World, SensorOfTraining]:
    """A machine of 30 W idle whose one counter belongs to a device."""
    world = World(Load(device, idle_w=30.0), seed=2)
    name = "gpu:0" if device.startswith("gpu") else "package:0"
    sensor = SimulatedSensor(world, [energy_counter(name, device, tick_s=0.001)])
    return world, SensorOfTraining(sensor, world)


def test_a_sensor_measures_what_the_training_drew() -> None:
    world, sensor = simulated("cpu")

    def train() -> TrainingRun:
        world.work(4.0, 120.0)
        return TrainingRun(4.0, 10, 0.1, 8)

    cost = costed("fine-tune", train, workload(network().eval(), EXAMPLE), network(), sensor)
    assert cost.energy is not None
    assert cost.energy.value == pytest.approx(4.0 * 120.0, rel=0.01)
    assert cost.energy.origin == "measured"
    assert "on package:0, all that ran there included" in cost.source


def test_a_sensor_that_does_not_see_what_trained_is_not_believed() -> None:
    world, sensor = simulated("gpu:0")

    def train() -> TrainingRun:
        world.work(1.0, 300.0)
        return TrainingRun(1.0, 10, 0.1, 8)

    cost = costed("fine-tune", train, workload(network().eval(), EXAMPLE), network(), sensor)
    assert cost.energy is not None
    assert cost.energy.origin == "modelled"
    assert "does not see the cpu that trained" in cost.source


def test_joules_that_the_loop_tells_are_taken_as_they_are() -> None:
    forward = workload(network().eval(), EXAMPLE)
    told = estimate(forward, "reference/edge/float32").total
    cost = costed("recovery", lambda: TrainingRun(1.0, 2, 0.1, 8, told), forward, network(), NO_SENSOR)
    assert (cost.energy, cost.source) == (told, "told by the training itself")


def test_a_training_on_a_gpu_without_a_sensor_has_no_joules() -> None:
    forward = workload(network().eval(), EXAMPLE)
    energy, source = modelled(TrainingRun(1.0, 2, 0.1, 8), forward, torch.device("cuda"), "no right to read")
    assert energy is None
    assert source == "not measured: no right to read; and there is no model of the cuda that trained"


def test_what_training_raises_passes_through_the_meter() -> None:
    def train() -> TrainingRun:
        raise SensorDenied("inner")

    with pytest.raises(SensorDenied, match="inner"):
        costed("fine-tune", train, workload(network().eval(), EXAMPLE), network(), simulated("cpu")[1])
