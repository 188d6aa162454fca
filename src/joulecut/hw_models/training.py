"""Joules of training, modelled: a step costs three times the forward pass of its batch.

The backward pass computes a gradient for the inputs and one for the weights of each layer, each of them as
many MACs as the forward pass. Source: M. Hobbhahn and J. Sevilla, "What's the backward-forward FLOP ratio for
neural networks?" (Epoch AI, 2021): 2:1 for deep networks at large batches, between 1:1 (a first layer needs
no gradient of its inputs) and 3:1 (the weights' update at small batches). So the factor 3 lies between 2 and
4.5 at 90 %. Bytes are taken to grow as MACs do.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.workload.layer import Workload

__all__ = ["STEP_OVER_FORWARD", "step_of", "training_energy", "training_step"]

STEP_OVER_FORWARD: Final = 3.0
"""Joules of a training step over those of the forward pass in it."""

_FACTOR_90: Final = 1.5
_FACTOR_50: Final = _FACTOR_90**0.41
"""The same, were its logarithm normally distributed (0.674 / 1.645 of the way)."""


def training_step(workload: Workload, device: DeviceSpec | str, *, batch: int) -> Estimate:
    """Joules of one training step: forward, backward and update of one batch.

    Args:
        workload: the forward pass.
        device: what trains.
        batch: samples in a step.

    Raises:
        UsageError: no layers, or a batch below 1.
        UnknownDevice: no device of that name.

    >>> from joulecut.workload.layer import LayerWork
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> str(training_step(Workload("tiny", (fc,)), "reference/edge/float32", batch=1))
    '10.9 nJ [7.30 nJ to 16.4 nJ] (assumed)'
    """
    return step_of(estimate(workload, device, batch=batch).total)


def step_of(forward: Estimate) -> Estimate:
    """Joules of a training step whose forward pass takes so many.

    How far the factor is off is common to all networks on a device, and cancels in a ratio of two of them.
    """
    step = forward.scaled(STEP_OVER_FORWARD)
    factor = Spread.factors(step.value, _FACTOR_50, _FACTOR_90)
    low_50, high_50, low_90, high_90 = step.common.quadrature(factor).parts()
    low_50, low_90 = (
        min(low, math.sqrt(step.value**2 - own**2))
        for low, own in ((low_50, step.own.below_50), (low_90, step.own.below_90))
    )
    return replace(
        step,
        common=Spread(low_50, high_50, low_90, high_90),
        common_with=step.common_with or "training steps",
        method=f"{STEP_OVER_FORWARD:g} x forward, {forward.method}",
    )


def training_energy(workload: Workload, device: DeviceSpec | str, *, steps: int, batch: int) -> Estimate:
    """Joules of a training: ``steps`` times ``training_step``, whose error is the same in every step.

    Raises:
        UsageError: fewer than 1 step, or as ``training_step``.
        UnknownDevice: no device of that name.
    """
    if steps < 1:
        raise UsageError(f"a training has at least 1 step, not {steps}.")
    return training_step(workload, device, batch=batch).scaled(float(steps))
