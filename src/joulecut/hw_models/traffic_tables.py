"""Joules of traffic off the chip, of many layers at many widths: ``traffic.tiled_bytes`` over arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from joulecut.hw_models.forms import EnergyForm
from joulecut.hw_models.traffic import ROUNDING, LayerShape

__all__ = ["TrafficTable"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class TrafficTable:
    """What layers move over the edge of the chip, as arrays of a column for each layer.

    Each product is taken in the order of the scalar formulas, so that both find the same tiling also where a
    layer fits to the byte. Only layers that do not fit are tiled.

    Args:
        forms: forms of the layers on one device that prices such traffic.

    >>> from joulecut.hw_models.catalogue import device
    >>> from joulecut.hw_models.forms import energy_form
    >>> from joulecut.workload.layer import LayerWork
    >>> fc = LayerWork("fc", "linear", "dense", 32, 32, 4, 8, (1, 4), (1, 8), (8, 4), 4, 8, dtype="int8")
    >>> table = TrafficTable([energy_form(device("edge-tpu-like/tiled/int8"), fc)])
    >>> (table.joules(np.array([4]), np.array([[8], [4]])) * 1e12).round().tolist()  # 44 and 24 bytes
    [[3850.0], [2100.0]]
    """

    def __init__(self, forms: Sequence[EnergyForm]) -> None:
        shapes = [form.shape for form in forms if form.shape is not None]
        self._weights = _columns([form.weights for form in forms])
        self._writes = _columns([form.writes for form in forms])
        self._reads = _columns([(form.fixed_read, form.channel_read) for form in forms])
        self._price_j, self._size, self._onchip = _columns(
            [(form.offchip_j, form.size, form.onchip_bytes) for form in forms]
        )
        self._calls, self._covered = _columns([(shape.calls, shape.covered) for shape in shapes])
        self._rows = _columns([_rows(shape) for shape in shapes])
        self._splits = np.array([shape.splits for shape in shapes], dtype=np.int64).T

    def joules(self, n_in: Counts, n_out: Counts) -> Floats:
        """Joules of what crosses the edge of the chip, in all calls.

        Args:
            n_in: [..., layers] channels in, padded.
            n_out: [..., layers] channels out, padded.

        Returns:
            [..., layers] joules.
        """
        size, calls = self._size, self._calls
        fixed, pair, per_out = self._weights
        weights = (fixed + pair * n_in * n_out + per_out * n_out) * size
        fixed, per_in = self._reads
        reads = (fixed + per_in * n_in) * size * self._covered / calls
        fixed, _, per_out = self._writes
        writes = (fixed + per_out * n_out) * size / calls
        moved: Floats = weights + reads + writes
        tiled = np.nonzero(moved > self._onchip)
        if len(tiled[0]):
            (least_in, least_out), (channels_in, channels_out) = self._splits
            parts_in = np.maximum(n_in // channels_in, least_in)
            parts_out = np.maximum(n_out // channels_out, least_out)
            sizes = (
                np.broadcast_to(each, moved.shape)[tiled]
                for each in (weights, reads, writes, parts_in, parts_out)
            )
            moved[tiled] = np.maximum(self._tiled(tiled[-1], *sizes), moved[tiled])
        return np.asarray(self._price_j * (moved * calls))

    def _tiled(
        self,
        layers: Counts,
        weights: Floats,
        reads: Floats,
        writes: Floats,
        channels_in: Counts,
        channels_out: Counts,
    ) -> Floats:
        """Bytes [n] of the best tiling of each of these, of the layers [n]; one call."""
        rows_in, rows_out, kernel_rows, shared_rows = self._rows[:, layers]
        onchip = self._onchip[layers]
        row_out, under_kernel = writes / rows_out, kernel_rows * reads
        window, halo = under_kernel / rows_in, shared_rows * reads / rows_in
        found: Floats = rows_out * weights + under_kernel + writes
        with np.errstate(divide="ignore", invalid="ignore"):
            n, fits = _parts(weights, onchip - window - row_out, channels_out)
            found = np.minimum(found, np.where(fits, weights + n * reads + writes, np.inf))
            n, fits = _parts(reads + writes, onchip - weights / channels_out - halo, rows_out)
            found = np.minimum(found, np.where(fits, n * weights + reads + (n - 1) * halo + writes, np.inf))
            n, fits = _parts(weights + window, onchip - row_out, channels_in)
            return np.minimum(found, np.where(fits, weights + reads + (2 * n - 1) * writes, np.inf))


def _columns(rows: Sequence[tuple[float, ...]]) -> Floats:
    """One row for each figure, one column for each layer."""
    return np.ascontiguousarray(np.array(rows, dtype=np.float64).T)


def _rows(shape: LayerShape) -> tuple[float, float, float, float]:
    (rows_in, rows_out), kernel_rows = shape.rows, shape.kernel_rows
    shared_rows = max(kernel_rows - max(rows_in / rows_out, 1.0), 0.0)
    return rows_in, rows_out, kernel_rows, shared_rows


def _parts(size: Floats, room: Floats, most: Floats | Counts) -> tuple[Floats, NDArray[np.bool_]]:
    """Into how many parts something must be split to fit, and where that many can be had."""
    n = np.ceil(size / room * ROUNDING)
    return n, (room > 0) & (n <= most)
