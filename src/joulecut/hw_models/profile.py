"""Records of joules per layer and per filter: ``LayerEnergy``, ``FilterEnergy``, ``EnergyProfile``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joulecut.estimate import Estimate
from joulecut.workload.layer import Uncounted

__all__ = ["Boundary", "EnergyProfile", "FilterEnergy", "LayerEnergy"]

Boundary = Literal["soc_rail", "cpu_package", "board_dc", "wall_ac", "definition"]
"""Where the meter sits; energies of different boundaries cannot be added or compared. ``definition``
is the boundary of a reference device that exists on paper only."""


@dataclass(frozen=True, slots=True)
class LayerEnergy:
    """What one layer costs on one device.

    ``energy`` is the dynamic energy; the layer's share of the static energy is ``static_j`` and belongs
    to the slice ``EnergyProfile.idle``. ``share`` is the layer's part of the total with its static part.
    MACs, bytes and channels are the network's own, before any padding or conversion by the device; with
    the shapes, ``dtype`` and the two flags (see ``LayerWork``) a saved row can be explained again.
    """

    path: str
    op: str
    kind: str
    macs: int
    weight_bytes: int
    in_bytes: int
    out_bytes: int
    energy: Estimate
    time: Estimate
    share: float
    static_j: float
    bound_by: str
    calls: int = 1
    in_channels: int = 0
    out_channels: int = 0
    weight_shape: tuple[int, ...] = ()
    bias_bytes: int = 0
    dtype: str = "float32"
    reads_input: bool = False
    writes_output: bool = False
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True, slots=True)
class FilterEnergy:
    """Joules freed in the whole network by removing filters of one group of channels: a staircase.

    Attributes:
        path: the layer that writes the channels.
        layers: every layer that shrinks with them.
        filters: how many there are.
        step: the device's channel step.
        removed: numbers of filters removed, from 0 up.
        freed: joules freed by removing that many.
    """

    path: str
    layers: tuple[str, ...]
    filters: int
    step: int
    removed: tuple[int, ...]
    freed: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class EnergyProfile:
    """Joules of one inference, by layer.

    ``total`` = sum of ``layers[].energy`` + ``idle`` + ``unattributed``.

    Attributes:
        model: name of the network.
        device: name of the device, as ``chip/runtime/dtype``.
        boundary: where the energy is counted.
        mode: datasheet, scaled, calibrated-N, latency-measured, measured or definition.
        batch: samples in one inference; ``total`` is for all of them.
        total: joules of one inference.
        idle: static energy, a slice of its own.
        unattributed: joules that no layer accounts for.
        duration: time of one inference.
        layers: in the order of execution.
        uncounted: operations without a counting rule.
        filters: staircases per group, when asked for.
        provenance: versions, sources, warnings; text by key.
    """

    model: str
    device: str
    boundary: Boundary
    mode: str
    batch: int
    total: Estimate
    idle: Estimate
    unattributed: Estimate
    duration: Estimate
    layers: tuple[LayerEnergy, ...]
    uncounted: tuple[Uncounted, ...] = ()
    filters: tuple[FilterEnergy, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        """What runs the network: the middle part of ``device``; "" for one that is not named so."""
        parts = self.device.split("/")
        return parts[1] if len(parts) == 3 else ""

    @property
    def dtype(self) -> str:
        """Type of weights and activations: the last part of ``device``; "" for one that is not named so."""
        parts = self.device.split("/")
        return parts[2] if len(parts) == 3 else ""
