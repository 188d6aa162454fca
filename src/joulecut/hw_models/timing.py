"""What a measured latency says about the energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from joulecut.errors import UsageError
from joulecut.hw_models.energy import LayerCost
from joulecut.hw_models.intervals import Interval, total_factor_90
from joulecut.hw_models.spec import DeviceSpec

__all__ = ["at_latency"]


def at_latency(
    device: DeviceSpec, costs: Sequence[LayerCost], latency_s: float, modelled: Interval
) -> list[LayerCost]:
    """The costs of a network whose latency was measured.

    Two predictions are joined: active power x latency, which misses that networks differ in power, and the
    modelled energy, which misses what the model does not know of the network. Their errors have little to do
    with each other, so each counts by the inverse square of its own (in the log domain). On boards left out
    of the published rows the mean error falls from 8.5 and 9.2 % to 5.5 % with eight networks known, and from
    11 and 22 % to 9 % with one.

    Where the active power itself was never measured and an idle power is known, the joules that are switched
    stay as modelled, since they hardly depend on the time, and idle power x latency takes the place of idle
    power x modelled time. On boards of which only the data sheet is known the mean error is 18 % so, of 25 %
    by active power.

    Args:
        device: gives the active and the idle power.
        costs: modelled costs of the layers and the constant.
        latency_s: measured seconds of one inference.
        modelled: the interval of the modelled energy.

    Raises:
        UsageError: no layer takes time on this device.
    """
    modelled_s = math.fsum(cost.duration_s for cost in costs)
    if not modelled_s:
        raise UsageError(f"no layer of this network takes time on {device.name}, so no latency fits it.")
    c = device.coefficients
    slower = latency_s / modelled_s
    modelled_j = math.fsum(cost.total_j for cost in costs)
    if device.prior_only and c.idle_w:
        scale = (math.fsum(cost.dynamic_j for cost in costs) + c.idle_w * latency_s) / modelled_j
    else:
        by_power = math.log(c.active_w * latency_s / modelled_j)
        scale = math.exp(by_power * _weight(by_power, modelled))
    found = []
    for cost in costs:
        energy_j, duration_s = cost.total_j * scale, cost.duration_s * slower
        static_j = min(c.idle_w * duration_s, energy_j)
        found.append(LayerCost(energy_j - static_j, static_j, duration_s, cost.bound_by))
    return found


def _weight(apart: float, modelled: Interval) -> float:
    """How much active power x latency counts beside the modelled energy, 0 to 1.

    Where the two are further apart (as a logarithm) than the model's own interval, the model does not know
    this network, and counts by that distance.
    """
    model = max(math.log(modelled.total_90), abs(apart))
    power = math.log(total_factor_90("latency-measured"))
    return model**2 / (model**2 + power**2)
