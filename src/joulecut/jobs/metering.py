"""Meters of this machine for measured budgets: joules by a real sensor, seconds by its clock.

What a sensor reads is what the machine spends while one inference after the other runs, its idle power
included. Readings of the two networks are taken in turn, each a window of its own, so that what drifts
meanwhile meets both.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from joulecut.errors import NothingMeasured, UsageError
from joulecut.hw_models.spec import DeviceSpec
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.clock import Clock, SystemClock
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.measure import recording
from joulecut.profiler.repeat import Patience, record_repeated
from joulecut.pruning.latency import has_time
from joulecut.pruning.measured import Meters
from joulecut.pruning.pairs import Pairs
from joulecut.pruning.records import Budget

if TYPE_CHECKING:
    from joulecut.profiler.sensors.choose import Sources
    from joulecut.profiler.sensors.sensor import Sensor

__all__ = [
    "LatencyMeter",
    "Runner",
    "SensorMeter",
    "chosen_meters",
    "cuda_runner",
    "onnx_runner",
    "runner_for",
    "sensor_meter",
    "torch_runner",
]

Inputs = tuple[torch.Tensor, ...]
Runner = Callable[[torch.nn.Module, Inputs], Callable[[], object]]
"""Makes something that runs one inference of a module each time that it is called."""

_WINDOW_S = 0.25
_BURST_S = 0.02
_FEWEST_CALLS = 5


def onnx_runner(module: torch.nn.Module, inputs: Inputs) -> Callable[[], object]:
    """Inferences in onnxruntime, on one thread of the processor.

    Raises:
        ModelError: the module cannot be exported.
    """
    from joulecut.benchmarks.export import export_onnx
    from joulecut.benchmarks.session import open_session

    with tempfile.TemporaryDirectory(prefix="joulecut-") as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(module, inputs, file)
        return open_session(file).run


def torch_runner(module: torch.nn.Module, inputs: Inputs) -> Callable[[], object]:
    """Inferences in torch, on the device that module and inputs are on."""

    def run() -> object:
        with torch.no_grad():
            return module(*inputs)

    return run


def cuda_runner(module: torch.nn.Module, inputs: Inputs) -> Callable[[], object]:
    """Inferences in torch, on the GPU.

    Raises:
        UsageError: torch sees no GPU.
    """
    if not torch.cuda.is_available():
        raise UsageError(
            "the sensor reads a GPU, and torch sees none to run the networks on.",
            hint="Install torch with CUDA, or measure with --sensor rapl.",
        )
    gpu = torch.device("cuda")
    return torch_runner(copy.deepcopy(module).to(gpu), tuple(tensor.to(gpu) for tensor in inputs))


def runner_for(domains: Iterable[str]) -> Runner:
    """Where the networks run that a sensor measures: on the GPU if it reads GPUs alone, else in onnxruntime.

    Args:
        domains: names of what it counts, as ``gpu:0`` and ``package:0``.

    >>> runner_for(["package:0", "dram:0"]).__name__, runner_for(["gpu:0"]).__name__
    ('onnx_runner', 'cuda_runner')
    """
    return cuda_runner if all(name.startswith("gpu") for name in domains) else onnx_runner


@dataclass(slots=True, eq=False)
class SensorMeter:
    """Joules of one inference by a sensor; made by ``sensor_meter``.

    Attributes:
        recorder: of the sensor, its ticks found.
        inputs: of one inference.
        runner: what runs the networks.
        window_s: time of one reading; what a sensor needs to see a few of its ticks is added.
    """

    recorder: Recorder
    inputs: Inputs
    runner: Runner
    window_s: float
    _original: tuple[torch.nn.Module, Callable[[], object]] | None = field(default=None, init=False)

    def pairs(self, before: torch.nn.Module, after: torch.nn.Module, rounds: int) -> Pairs:
        """One reading of each network in every round, their order turned around from round to round.

        Raises:
            NothingMeasured: a reading is not valid, for the sensor's reason.
            ModelError: a network cannot be run.
        """
        works = {"original": self._first(before), "smaller": self.runner(after, self.inputs)}
        read: dict[str, list[float]] = {name: [] for name in works}
        gain = 0.0
        for number in range(rounds):
            for name in works if number % 2 else reversed(works):
                value, gain = self._read(works[name], name)
                read[name].append(value)
        source = f"{self.recorder.trace().sensor}, windows of {self.window_s:g} s"
        return Pairs(tuple(read["original"]), tuple(read["smaller"]), gain=gain, source=source)

    def _first(self, module: torch.nn.Module) -> Callable[[], object]:
        if self._original is None or self._original[0] is not module:
            self._original = module, self.runner(module, self.inputs)
        return self._original[1]

    def _read(self, work: Callable[[], object], name: str) -> tuple[float, float]:
        """Joules of one inference, and the sensor's declared relative error."""
        recorder = self.recorder.again()
        patience = Patience(min_s=self.window_s, max_s=self.window_s, idle_s=0.0)
        recorder.look()
        record_repeated(recorder, work, name, patience)
        recorder.look()
        found = evaluate(recorder.trace(), name)
        if found.total is None:
            raise NothingMeasured(
                f"{found.sensor} gives no joules of the {name} network: {'; '.join(found.reasons)}.",
                hint="Try another sensor, or a modelled budget.",
            )
        each = found.total.scaled(1 / found.iterations)
        return each.value, each.common.above_90 / abs(each.value) if each.value else 0.0


@contextmanager
def sensor_meter(
    inputs: Inputs,
    sensor: str | Sensor | Recorder = "auto",
    *,
    clock: Clock | None = None,
    sources: Sources | None = None,
    window_s: float = _WINDOW_S,
    runner: Runner | None = None,
) -> Iterator[SensorMeter]:
    """A meter of joules by a sensor that is open meanwhile.

    Args:
        inputs: of one inference.
        sensor: its name (``rapl``, ``nvml``, ``auto`` ...), or an open one.
        clock: that an open sensor was opened with.
        sources: where a sensor that is named is looked for.
        window_s: time of one reading.
        runner: what runs the networks; by default see ``runner_for``.

    Raises:
        SensorMissing, SensorDenied: no sensor can be read.
    """
    with recording(sensor, clock, sources) as recorder:
        counted = (domain.name for domain in recorder.domains if domain.counted)
        yield SensorMeter(recorder, inputs, runner or runner_for(counted), window_s)


@dataclass(slots=True, eq=False)
class LatencyMeter:
    """Seconds of one inference: medians of short bursts of calls, in turn.

    Attributes:
        inputs: of one inference.
        runner: what runs the networks.
        clock: times them.
        burst_s: time of one reading; at least five calls are made.
    """

    inputs: Inputs
    runner: Runner = onnx_runner
    clock: Clock = field(default_factory=SystemClock)
    burst_s: float = _BURST_S
    _original: tuple[torch.nn.Module, Callable[[], object]] | None = field(default=None, init=False)

    def pairs(self, before: torch.nn.Module, after: torch.nn.Module, rounds: int) -> Pairs:
        """One reading of each network in every round, their order turned around from round to round.

        Raises:
            ModelError: a network cannot be run.
        """
        if self._original is None or self._original[0] is not before:
            self._original = before, self.runner(before, self.inputs)
        works = (self._original[1], self.runner(after, self.inputs))
        read: tuple[list[float], list[float]] = ([], [])
        for work in works:
            self._burst(work)
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                read[which].append(self._burst(works[which]))
        return Pairs(tuple(read[0]), tuple(read[1]), unit="s", source=f"medians of {self.burst_s:g} s")

    def _burst(self, work: Callable[[], object]) -> float:
        begin_s = now_s = self.clock.now_s()
        calls: list[float] = []
        while len(calls) < _FEWEST_CALLS or now_s - begin_s < self.burst_s:
            before_s = now_s
            work()
            now_s = self.clock.now_s()
            calls.append(now_s - before_s)
        return statistics.median(calls)


@contextmanager
def chosen_meters(
    budget: Budget,
    device: DeviceSpec,
    inputs: Inputs,
    sensor: str | None,
    *,
    sources: Sources | None = None,
) -> Iterator[Meters | None]:
    """What is to be measured for a budget, and by whom; None where everything is modelled.

    Joules are measured where a sensor is named. A latency is measured in onnxruntime on this machine where
    the device's file does not tell it, or where a sensor is named, as the machine then is the device.

    Args:
        budget: what is limited.
        device: what it is modelled on.
        inputs: of one inference.
        sensor: the name of a sensor, or None.
        sources: where it is looked for.

    Raises:
        SensorMissing, SensorDenied: no sensor of that name can be read.
    """
    here = sensor is not None or not has_time(device)
    latency = LatencyMeter(inputs) if budget.latency_s is not None and here else None
    if sensor is None or (budget.energy_j is None and budget.share is None):
        yield None if latency is None else Meters(latency=latency)
        return
    with sensor_meter(inputs, sensor, sources=sources) as energy:
        yield Meters(energy, latency)
