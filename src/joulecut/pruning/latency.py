"""Modelled seconds of one inference at any widths."""

from __future__ import annotations

from dataclasses import replace

from joulecut.errors import UsageError
from joulecut.estimate import Estimate
from joulecut.hw_models.spec import Coefficients, DeviceSpec
from joulecut.hw_models.widths import Widths
from joulecut.pruning.pricing import Pricer

__all__ = ["SecondsPricer", "has_time"]

_NONE: frozenset[str] = frozenset()


def has_time(device: DeviceSpec) -> bool:
    """Whether a device's data says how long a layer takes.

    >>> from joulecut.hw_models.catalogue import device
    >>> has_time(device("reference/edge/float32")), has_time(device("nucleo-l4r5zi/x-cube-ai/int8"))
    (False, True)
    """
    c = device.coefficients
    return bool(c.active_w or c.s_per_mac or c.s_per_layer)


class SecondsPricer(Pricer):
    """Seconds of one network on one device: a ``Pricer`` whose unit is the second.

    A layer's time is its energy / active power, or s_per_mac x MACs + s_per_layer x calls
    (``hw_models.energy``): the form of a layer's energy with other coefficients, so that it is priced by the
    same code. ``total_j``, ``saving_j`` and the others return seconds.

    Args:
        pricer: of the joules.

    Raises:
        UsageError: the device's data says nothing of time.
    """

    def __init__(self, pricer: Pricer) -> None:
        device = pricer.device
        if not has_time(device):
            raise UsageError(
                f"nothing is known of the time that a layer takes on {device.name}.",
                hint="Measure the latency, choose a device with times, or leave the latency limit out.",
            )
        clock = replace(device, coefficients=_seconds(device.coefficients))
        super().__init__(clock, pricer.layers, pricer.sizes)

    def total(self, widths: Widths, gone: frozenset[str] = _NONE) -> Estimate:
        """Seconds of one inference with the interval of the device's data."""
        return replace(super().total(widths, gone), unit="s")


def _seconds(c: Coefficients) -> Coefficients:
    """Coefficients by which energy becomes time."""
    if not c.active_w:
        return Coefficients(
            j_per_mac_dense=c.s_per_mac,
            j_per_mac_depthwise=c.s_per_mac,
            mac_bound=c.mac_bound,
            j_per_layer=c.s_per_layer,
        )
    return Coefficients(
        j_per_mac_dense=c.j_per_mac_dense / c.active_w,
        j_per_mac_depthwise=c.j_per_mac_depthwise / c.active_w,
        mac_bound=c.mac_bound,
        j_per_weight_byte=c.j_per_weight_byte / c.active_w,
        j_per_activation_byte=c.j_per_activation_byte / c.active_w,
        j_per_elementwise_byte=c.j_per_elementwise_byte / c.active_w,
        j_per_layer=c.j_per_layer / c.active_w,
        j_per_inference=c.j_per_inference / c.active_w,
        j_per_offchip_byte=c.j_per_offchip_byte / c.active_w,
        onchip_bytes=c.onchip_bytes,
    )
