"""Meters of a machine whose counters and clock are simulated, and runs that they decide on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from powercap_tree import PowercapTree, TreeClock
from torch import Tensor, nn

from joulecut.errors import BudgetUnreachable, NothingMeasured, SensorMissing, UsageError
from joulecut.hw_models.catalogue import device
from joulecut.jobs.metering import (
    LatencyMeter,
    chosen_meters,
    cuda_runner,
    onnx_runner,
    runner_for,
    sensor_meter,
    torch_runner,
)
from joulecut.profiler.sensors.choose import Sources
from joulecut.profiler.sensors.powercap import open_powercap
from joulecut.pruning.measured import Meters
from joulecut.pruning.metering import MeteringSettings
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

INPUT = (torch.zeros(1, 6),)
WATTS = 20.0
REFERENCE = device("reference/edge/float32")
SHORT = MeteringSettings(every=1, rounds=5, confirming_rounds=8)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def sleeping(clock: TreeClock) -> Callable[[nn.Module, tuple[Tensor, ...]], Callable[[], object]]:
    """Runs a network by letting time pass: 10 us for each of its parameters, and 2 ms."""

    def runner(module: nn.Module, _: tuple[Tensor, ...]) -> Callable[[], object]:
        return lambda: clock.sleep_s(seconds(module))

    return runner


def seconds(module: nn.Module) -> float:
    return 0.002 + 1e-5 * parameters(module)


def network(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 3))


@pytest.fixture
def tree(tmp_path: Path) -> PowercapTree:
    found = PowercapTree(tmp_path)
    found.add("intel-rapl:0", "package-0", watts=WATTS)
    return found


@pytest.fixture
def clock(tree: PowercapTree) -> TreeClock:
    return TreeClock(tree, tick_s=0.001)


def test_joules_are_those_of_the_counters(tree: PowercapTree, clock: TreeClock) -> None:
    """20 W: 8 x 6 + 8 + 8 x 3 + 3 = 83 parameters take 2.83 ms, 56.6 mJ; 43 take 2.43 ms, 48.6 mJ."""
    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    with sensor_meter(INPUT, sensor, clock=clock, runner=sleeping(clock)) as meter:
        pairs = meter.pairs(network(8), network(4), 6)
    assert len(pairs.before) == len(pairs.after) == 6
    assert pairs.before == pytest.approx([WATTS * 0.00283] * 6, rel=0.02)
    assert pairs.after == pytest.approx([WATTS * 0.00243] * 6, rel=0.02)
    assert pairs.ratio.estimate().value == pytest.approx(2.43 / 2.83, rel=0.01)
    assert pairs.unit == "J"
    assert pairs.source == "rapl, windows of 0.25 s"
    assert pairs.gain > 0


def test_the_order_turns_around_from_round_to_round(tree: PowercapTree, clock: TreeClock) -> None:
    ran: list[int] = []

    def runner(module: nn.Module, _: tuple[Tensor, ...]) -> Callable[[], object]:
        def work() -> None:
            ran.append(parameters(module))
            clock.sleep_s(0.01)

        return work

    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    with sensor_meter(INPUT, sensor, clock=clock, runner=runner) as meter:
        meter.pairs(network(8), network(4), 5)
    order = [count for count, _ in itertools.groupby(ran)]
    assert order == [43, 83, 43, 83, 43, 83]


def test_a_counter_that_cannot_be_read_says_so(tree: PowercapTree) -> None:
    clock = TreeClock(tree, step_s=1e-4, tick_s=0.001)
    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    with sensor_meter(INPUT, sensor, clock=clock, window_s=0.02, runner=sleeping(clock)) as meter:
        tree.spoil("intel-rapl:0", b"nonsense\n")
        with pytest.raises(NothingMeasured, match="gives no joules of the") as caught:
            meter.pairs(network(8), network(4), 5)
    assert "\n" not in str(caught.value)


def test_seconds_are_those_of_the_clock(clock: TreeClock) -> None:
    meter = LatencyMeter(INPUT, sleeping(clock), clock)
    pairs = meter.pairs(network(8), network(4), 5)
    assert pairs.before == pytest.approx([0.00283] * 5, rel=0.01)
    assert pairs.after == pytest.approx([0.00243] * 5, rel=0.01)
    assert pairs.unit == "s"


def test_real_networks_run() -> None:
    pairs = LatencyMeter(INPUT, torch_runner, burst_s=0.001).pairs(network(8).eval(), network(4).eval(), 5)
    assert all(0 < reading < 1 for reading in (*pairs.before, *pairs.after))
    onnx_runner(network(4).eval(), INPUT)()


def test_a_gpus_joules_need_a_gpu_to_run_on() -> None:
    assert runner_for(["gpu:0", "gpu:1"]) is cuda_runner
    assert runner_for(["gpu:0", "package:0"]) is onnx_runner
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch sees none"):
            cuda_runner(network(4), INPUT)


def test_counters_that_move_by_themselves(tmp_path: Path) -> None:
    """A process writes 20 W into the files while two functions sleep 4 and 8 ms; the sensor is found by name.

    How long a busy machine really sleeps is not known here, so that only the order is told.
    """
    tree = PowercapTree(tmp_path)
    tree.add("intel-rapl:0", "package-0", watts=WATTS)

    def runner(module: nn.Module, _: tuple[Tensor, ...]) -> Callable[[], object]:
        pause_s = 0.008 if parameters(module) > 50 else 0.004
        return lambda: time.sleep(pause_s)

    with (
        tree.live_process(),
        sensor_meter(
            INPUT, "rapl", sources=Sources(powercap=tree.root), window_s=0.05, runner=runner
        ) as meter,
    ):
        pairs = meter.pairs(network(8), network(4), 5)
    assert pairs.original.estimate().value > pairs.smaller.estimate().value > 0


def test_nothing_is_measured_unless_it_is_asked_for() -> None:
    board = device("raspberry-pi-4b/tflite/float32")
    with chosen_meters(Budget(share=0.5, latency_s=1.0), board, INPUT, None) as meters:
        assert meters is None
    with chosen_meters(Budget(share=0.5), REFERENCE, INPUT, None) as meters:
        assert meters is None


def test_a_latency_that_no_file_tells_is_measured() -> None:
    with chosen_meters(Budget(share=0.5, latency_s=1.0), REFERENCE, INPUT, None) as meters:
        assert meters is not None
        assert isinstance(meters.latency, LatencyMeter)
        assert meters.energy is None


def test_a_sensor_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    sources = Sources(powercap=tmp_path / "nothing")
    with (
        pytest.raises(SensorMissing),
        chosen_meters(Budget(share=0.5), REFERENCE, INPUT, "rapl", sources=sources),
    ):
        pass


def pruned(meters: Meters, budget: Budget) -> Pruned:
    """A network of 24 and 16 nodes, cut with meters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    inputs = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
    graph = trace(model, inputs[:1])
    return prune_network(
        graph,
        layer_works(graph),
        device=REFERENCE,
        budget=budget,
        calibration=Samples(inputs, None),
        settings=SearchSettings(samples=64, final_samples=64, gradient_samples=32, exchange_rounds=1),
        meters=meters,
    )


WHOLE = 6 * 24 + 24 + 24 * 16 + 16 + 16 * 3 + 3
"""Parameters of that network: 619, so 8.19 ms."""


@pytest.mark.parametrize("share", [0.8, 0.6])
def test_a_measured_share_is_met_by_what_was_measured(
    tree: PowercapTree, clock: TreeClock, share: float
) -> None:
    """Of the joules 2 of 8.19 ms never go away, which the model knows nothing of."""
    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    with sensor_meter(INPUT, sensor, clock=clock, window_s=0.1, runner=sleeping(clock)) as meter:
        found = pruned(Meters(energy=meter, settings=SHORT), Budget(share=share))
    true = seconds(found.module) / (0.002 + 1e-5 * WHOLE)
    assert 0.5 * share < true <= share
    (check,) = found.limits
    assert (check.met, check.asked) == ("yes", f"at most {100 * share:.1f} % of the original")
    assert check.figure is not None
    assert check.figure.origin == "measured"
    assert check.figure.value == pytest.approx(true, rel=0.02)


def test_a_measured_budget_may_be_out_of_reach(tree: PowercapTree, clock: TreeClock) -> None:
    """A fifth of the time is not to be had, as 2 of 8.19 ms stay: the model alone would think so."""
    sensor = open_powercap(clock, root=tree.root, machine=tree.root)
    with (
        sensor_meter(INPUT, sensor, clock=clock, window_s=0.1, runner=sleeping(clock)) as meter,
        pytest.raises(BudgetUnreachable),
    ):
        pruned(Meters(energy=meter, settings=SHORT), Budget(share=0.2))


def test_a_measured_latency_is_met_beside_modelled_joules(clock: TreeClock) -> None:
    """The reference device has no time: it is read off the clock, and the search cuts until it is kept."""
    meter = LatencyMeter(INPUT, sleeping(clock), clock)
    found = pruned(Meters(latency=meter, settings=SHORT), Budget(share=0.95, latency_s=0.006))
    assert seconds(found.module) <= 0.006
    energy, latency = found.limits
    assert (energy.what, energy.met) == ("energy of one inference", "yes")
    assert (latency.what, latency.met) == ("latency", "yes")
    assert latency.figure is not None
    assert latency.figure.unit == "s"
    assert latency.figure.value == pytest.approx(seconds(found.module), rel=0.01)
