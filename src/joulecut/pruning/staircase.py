"""Joules freed by removing filters of each group of channels: a staircase, never an average."""

from __future__ import annotations

from joulecut.hw_models.fitness import network_interval
from joulecut.hw_models.modelling import total_estimate
from joulecut.hw_models.profile import FilterEnergy
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.pricing import Pricer

__all__ = ["staircases"]

_EVERY = 128
"""Up to this width every number of removed filters is priced; above, those at the device's steps."""


def staircases(coupling: Coupling, pricer: Pricer) -> tuple[FilterEnergy, ...]:
    """For every group, the joules freed in the network by removing n of its filters, neighbours included."""
    return tuple(_staircase(group, pricer) for group in coupling.all_groups())


def _staircase(group: Group, pricer: Pricer) -> FilterEnergy:
    step = pricer.device.channel_step
    stride = 1 if group.size <= _EVERY else max(step, group.size // _EVERY // step * step)
    removed = tuple(range(0, group.size, stride))
    width, _ = network_interval(pricer.device, tuple(layer.work for layer in pricer.layers))
    freed = (pricer.saving_j(pricer.sizes, group.name, n) for n in removed)
    layers = dict.fromkeys(part.parameter.rpartition(".")[0] for part in group.slices)
    return FilterEnergy(
        path=group.name,
        layers=tuple(layers),
        filters=group.size,
        step=step,
        removed=removed,
        freed=tuple(total_estimate(pricer.device, joules, width) for joules in freed),
    )
