"""Modelled joules of one training step at any widths, so that they can be a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from joulecut.estimate import Estimate
from joulecut.hw_models.fitness import network_interval
from joulecut.hw_models.modelling import total_estimate
from joulecut.hw_models.spec import Coefficients, DeviceSpec
from joulecut.hw_models.training import STEP_OVER_FORWARD, step_of
from joulecut.hw_models.widths import Widths
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.pruning.records import Budget
from joulecut.workload.from_torch import layer_works
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import Traced, rebatched

__all__ = ["StepPricer", "budget_pricer"]

_NONE: frozenset[str] = frozenset()


class StepPricer(Pricer):
    """Joules of one training step: a ``Pricer`` of the forward pass of its batch, times the step's factor.

    Prices and their interval are those of ``hw_models.training``: forward, backward and update as a multiple
    of the forward pass. That multiple is taken to be the same for all widths, so that it cancels in a share.

    Args:
        forward: of the forward pass of a batch.
        inference: of one inference, for limits on its time and memory.
        samples: samples in a batch.
    """

    def __init__(self, forward: Pricer, inference: Pricer, samples: int) -> None:
        device = forward.device
        super().__init__(_training(device), forward.layers, forward.sizes)
        self.inference = inference
        self._forward = forward
        self._samples = samples

    def total(self, widths: Widths, gone: frozenset[str] = _NONE) -> Estimate:
        """Joules of one step with their interval."""
        forward = self._forward
        works = tuple(forward.works(widths, gone).values())
        interval, _ = network_interval(forward.device, works, batch=self._samples)
        return step_of(total_estimate(forward.device, forward.total_j(widths, gone), interval))


def _training(device: DeviceSpec) -> DeviceSpec:
    """A device on which everything costs as much as it does in a training step."""
    c = device.coefficients
    energies = {f.name: getattr(c, f.name) for f in fields(Coefficients) if f.name.startswith("j_per_")}
    scaled = {name: STEP_OVER_FORWARD * value for name, value in energies.items()}
    return replace(device, coefficients=replace(c, **scaled))


def budget_pricer(
    traced: Traced, coupling: Coupling, works: Mapping[str, LayerWork], device: DeviceSpec, budget: Budget
) -> Pricer:
    """What prices the joules that a budget limits: of one inference, or of one training step.

    Args:
        traced: the network, captured for one sample.
        coupling: its groups.
        works: its counted work by node.
        device: the device that prices.
        budget: says what its joules are counted over.

    Raises:
        TraceError: training steps of several samples, and the network runs for one only.
    """
    inference = pricer(coupling, works, device)
    if budget.per == "inference":
        return inference
    batch = rebatched(traced, budget.step_samples)
    forward = pricer(Coupling(batch.module), layer_works(batch), device)
    return StepPricer(forward, inference, budget.step_samples)
