"""What a training took: seconds, and joules as measured, or modelled where no sensor saw it.

Joules are those of the machine that trained, not of the device that the network is cut for. A sensor gives
them gross: all that ran beside the training is in them. Without one, the bundled model of a generic host of
the same instruction set prices the steps (``hw_models.training``), with the wide interval that it deserves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from joulecut.benchmarks.training import TrainingRun
from joulecut.errors import SensorError, UsageError
from joulecut.estimate import Estimate
from joulecut.hw_models.catalogue import device as find_device
from joulecut.hw_models.training import STEP_OVER_FORWARD, training_energy
from joulecut.profiler.clock import Clock
from joulecut.profiler.measure import Meter, Window
from joulecut.profiler.records import Domain
from joulecut.profiler.sensors.sensor import Sensor
from joulecut.pruning.quality_records import TrainingCost
from joulecut.workload.layer import Workload

__all__ = ["SensorOfTraining", "costed", "modelled"]


@dataclass(frozen=True, slots=True, eq=False)
class SensorOfTraining:
    """What measures a training: the name of a sensor, or an open one with its clock."""

    sensor: str | Sensor = "auto"
    clock: Clock | None = None


def costed(
    stage: str,
    train: Callable[[], TrainingRun | None],
    forward: Workload,
    network: torch.nn.Module,
    sensor: SensorOfTraining | None = None,
) -> TrainingCost:
    """Train, and say what it took.

    Args:
        stage: what is trained, as ``TrainingCost.stage``.
        train: trains; what it returns says how many steps it took, if it knows.
        forward: one forward pass of the network.
        network: what is trained; where its weights lie afterwards, there it was trained.
        sensor: measures it; that of the machine by default.

    Raises:
        Whatever ``train`` raises.
    """
    chosen = sensor or SensorOfTraining()
    with ExitStack() as stack:
        window: Window | None = None
        why = ""
        try:
            meter = stack.enter_context(Meter(chosen.sensor, clock=chosen.clock))
            window = stack.enter_context(meter.window(stage))
        except SensorError as error:
            why = error.message.partition(" (")[0].rstrip(".")
        began = time.perf_counter()
        run = train()
        seconds = time.perf_counter() - began
    place = next(network.parameters()).device
    energy, source = _joules(run, window, why, forward, place)
    steps, batch = (None, None) if run is None else (run.steps, run.batch)
    return TrainingCost(stage, seconds if run is None else run.seconds, energy, source, steps, batch)


def _joules(
    run: TrainingRun | None, window: Window | None, why: str, forward: Workload, place: torch.device
) -> tuple[Estimate | None, str]:
    """The joules and where they come from: the user's own, else a sensor's, else the model's."""
    if run is not None and run.energy is not None:
        return run.energy, "told by the training itself"
    if window is not None:
        trace, measurement = window.trace, window.measurement
        if not _sees(trace.domains, trace.sensor, place):
            why = f"{trace.sensor} does not see the {place.type} that trained"
        elif measurement.total is None:
            why = f"{trace.sensor}: {'; '.join(measurement.reasons) or 'no figure'}"
        else:
            counted = ", ".join(domain.name for domain in measurement.domains if domain.counted)
            return measurement.total, f"measured by {trace.sensor} on {counted}, all that ran there included"
    return modelled(run, forward, place, why)


def _sees(domains: tuple[Domain, ...], sensor: str, place: torch.device) -> bool:
    """Whether the counted domains hold what trained; a board's rails hold all of it."""
    kind = "gpu" if place.type == "cuda" else place.type
    return sensor == "jetson" or any(one.counted and one.device.split(":")[0] == kind for one in domains)


def modelled(
    run: TrainingRun | None, forward: Workload, place: torch.device, why: str
) -> tuple[Estimate | None, str]:
    """Joules of a training from the model of the machine, and a sentence on where they come from.

    Args:
        run: its steps and batch, as far as known.
        forward: one forward pass.
        place: where it trained.
        why: why they are not measured, without a full stop.
    """
    reason = f"not measured: {why}" if why else "not measured"
    if place.type != "cpu":
        return None, f"{reason}; and there is no model of the {place.type} that trained"
    if run is None or run.batch is None or not run.steps:
        return None, f"{reason}; and not modelled: the loop does not say its steps and their batch"
    try:
        host = find_device("auto")
        energy = training_energy(forward, host, steps=run.steps, batch=run.batch)
    except UsageError as error:
        return None, f"{reason}; and not modelled: {error.message.rstrip('.')}"
    steps = f"{run.steps} steps of {run.batch} samples at {STEP_OVER_FORWARD:g} forward passes each"
    return energy, f"modelled on {host.name}, {steps} ({reason})"
