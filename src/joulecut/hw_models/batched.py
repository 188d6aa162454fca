"""Joules of many layers at many widths at once: the same sum as ``energy.layer_cost``, over arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulecut.errors import UsageError
from joulecut.hw_models.energy import overhead_cost
from joulecut.hw_models.forms import energy_form
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.traffic_tables import TrafficTable
from joulecut.workload.layer import LayerWork

__all__ = ["LayerTable"]

Joules = NDArray[np.float64]
Counts = NDArray[np.int64]


class LayerTable:
    """Layers of one or more networks on one device, as arrays.

    Joules are a few array operations, whatever the number of layers and widths; a few dozen on a device that
    prices traffic off the chip.

    Args:
        device: what they run on.
        layers: their work.

    >>> from joulecut.hw_models.catalogue import device
    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> table = LayerTable(device("reference/edge/float32"), [fc])
    >>> (table.layer_j(out_channels=[[8], [4]]) * 1e12).round().tolist()  # one layer, two widths
    [[3648.0], [1984.0]]
    """

    def __init__(self, device: DeviceSpec, layers: Sequence[LayerWork]) -> None:
        self.device = device
        forms = [energy_form(device, layer) for layer in layers]
        self._fixed_j: Joules = np.array([form.fixed_j + form.read_j * form.fixed_read for form in forms])
        self._in_j: Joules = np.array([form.read_j * form.channel_read for form in forms])
        self._out_j: Joules = np.array([form.out_j for form in forms])
        self._pair_j: Joules = np.array([form.pair_j for form in forms])
        self._in = np.array([layer.in_channels for layer in layers], dtype=np.int64)
        self._out = np.array([layer.out_channels for layer in layers], dtype=np.int64)
        self._step_in = np.array([form.step_in for form in forms], dtype=np.int64)
        self._step_out = np.array([form.step_out for form in forms], dtype=np.int64)
        self._no_channels = (self._in == 0) | (self._out == 0)
        self._traffic = TrafficTable(forms) if any(form.shape for form in forms) else None
        self._overhead_j = overhead_cost(device).total_j

    def layer_j(self, in_channels: ArrayLike | None = None, out_channels: ArrayLike | None = None) -> Joules:
        """Joules of each layer, static part included.

        Args:
            in_channels: [..., layers] channels in; those of the layers by default. They change nothing in
                layers without channels.
            out_channels: [..., layers] channels out.

        Returns:
            [..., layers] joules.

        Raises:
            UsageError: a count below 1, or counts that are not whole or not as many as there are layers.
        """
        n_in, n_out = self._counts(in_channels, self._in), self._counts(out_channels, self._out)
        if self.device.pads:
            n_in = -(-n_in // self._step_in) * self._step_in
            n_out = -(-n_out // self._step_out) * self._step_out
        energy_j: Joules = (self._pair_j * n_in + self._out_j) * n_out + self._in_j * n_in + self._fixed_j
        return energy_j if self._traffic is None else energy_j + self._traffic.joules(n_in, n_out)

    def total_j(self, in_channels: ArrayLike | None = None, out_channels: ArrayLike | None = None) -> Joules:
        """Joules of one inference [...]: the layers (arguments as of ``layer_j``) and its constant."""
        return np.asarray(self.layer_j(in_channels, out_channels).sum(axis=-1) + self._overhead_j)

    def _counts(self, given: ArrayLike | None, own: Counts) -> Counts:
        if given is None:
            return own
        counts = np.asarray(given)
        if not np.issubdtype(counts.dtype, np.integer) or counts.shape[-1:] != own.shape:
            raise UsageError(f"channel counts are whole numbers, one for each of the {len(own)} layers.")
        if np.any((counts < 1) & ~self._no_channels):
            raise UsageError("a layer cannot have less than 1 channel.")
        return counts.astype(np.int64)
