"""``DeviceSpec``: what is known of one device, with a source for every figure.

A device is (chip, runtime, dtype, clock, voltage): on one chip the runtime alone moves the energy of the
same network by a factor of six. Figures are kept in the unit that their key ends in, as a reader finds
them in the file; ``Coefficients`` holds what follows from them in SI units, for arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from joulecut.hw_models.calibration import Calibration
from joulecut.hw_models.intervals import Interval
from joulecut.hw_models.profile import Boundary

__all__ = [
    "CATEGORIES",
    "EVIDENCE",
    "Axis",
    "Category",
    "Coefficients",
    "DeviceSpec",
    "Evidence",
    "Figure",
    "MemoryLevel",
    "Source",
    "SparsityKind",
    "SparsitySupport",
]

Evidence = Literal["measured", "read", "remembered", "assumed"]
EVIDENCE: Final[dict[str, str]] = {
    "measured": "measured, or fitted to measured rows",
    "read": "read in the named document",
    "remembered": "remembered, not confirmed",
    "assumed": "a definition, or carried over from another device",
}
Category = Literal[
    "microcontroller", "linux-board", "phone", "accelerator", "server-cpu", "host", "reference"
]
CATEGORIES: Final[tuple[Category, ...]] = (
    "microcontroller", "linux-board", "phone", "accelerator", "server-cpu", "host", "reference",
)  # fmt: skip
Axis = Literal["in", "out"]
SparsityKind = Literal["nm", "block", "gate", "compressed"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from.

    Attributes:
        id: its name in the device file.
        text: the document, rows or reasoning.
        evidence: measured, read, remembered or assumed.
        date: year or year-month of the source, or "".
    """

    id: str
    text: str
    evidence: Evidence
    date: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a device file: ``value`` in ``unit``, its source, and its range where one is known."""

    key: str
    value: float
    unit: str
    source: Source
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """A memory: ``flash`` holds the weights, ``sram`` the activations."""

    name: Literal["flash", "sram"]
    capacity_bytes: float
    source: Source


@dataclass(frozen=True, slots=True)
class SparsitySupport:
    """Zero weights that a device turns into joules: an entry ``[[sparsity]]`` of its file.

    Attributes:
        kind: ``nm`` computes n of every m inputs; ``block`` skips whole blocks of zeros; ``gate`` switches
            the multiplier of a zero operand off; ``compressed`` stores and moves only what is not zero.
        ops: operations that it holds for.
        dtypes: number types of the device that it holds for.
        source: where its numbers come from.
        min_dims: least outputs, inputs of each output, and positions of one call.
        n, m: ``nm``: at most n of m consecutive inputs are not zero.
        rows, columns: ``block``: outputs and inputs of a block.
        operand: ``gate``: whose zeros count.
        mac_scale: ``nm``: energy and time of the MACs, relative to dense ones.
        weight_bytes_scale: ``nm``: bytes of the weights and their positions, relative to dense ones.
        mac_energy_saved: ``block``, ``gate``: share of a MAC's switched energy that a zero saves.
        time_saved: ``block``, ``gate``: share of a MAC's time, and with it of its static energy.
        bits_per_nonzero: ``block``, ``compressed``: bits of one kept weight, its share of the positions
            included; None where weights are stored as if dense.
    """

    kind: SparsityKind
    ops: tuple[str, ...]
    dtypes: tuple[str, ...]
    source: Source
    min_dims: tuple[int, int, int] = (1, 1, 1)
    n: int = 0
    m: int = 0
    rows: int = 0
    columns: int = 0
    operand: Literal["weight", "activation"] = "weight"
    mac_scale: float = 1.0
    weight_bytes_scale: float = 1.0
    mac_energy_saved: float = 0.0
    time_saved: float = 0.0
    bits_per_nonzero: float | None = None

    @property
    def zeros(self) -> str:
        """The zeros that it is about, in words."""
        if self.kind == "nm":
            return f"{self.n}:{self.m} zeros"
        if self.kind == "block":
            return f"{self.rows}x{self.columns} blocks of zeros"
        return f"zero {self.operand}s"


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What follows from the figures, in SI units.

    Energy of a layer = ``j_per_mac_dense`` or ``j_per_mac_depthwise`` x MACs
    + ``j_per_weight_byte`` x weight bytes x calls + ``j_per_activation_byte`` x bytes read and written (of
    a layer without MACs ``j_per_elementwise_byte``) + ``j_per_offchip_byte`` x bytes that cross the edge of
    the chip + ``j_per_layer`` x calls; ``j_per_inference`` once. Time = energy / ``active_w`` where an active
    power is known, else ``s_per_mac`` x MACs + ``s_per_layer`` x calls. The static part is ``idle_w`` x time
    and lies inside the energy above.

    Attributes:
        mac_bound: what MACs cost: "cycles" on a core that is modelled by cycles, else "compute".
        onchip_bytes: memory that layers are tiled to fit; 0 where traffic off the chip has no price.
    """

    j_per_mac_dense: float
    j_per_mac_depthwise: float
    mac_bound: str
    j_per_weight_byte: float = 0.0
    j_per_activation_byte: float = 0.0
    j_per_elementwise_byte: float = 0.0
    j_per_layer: float = 0.0
    j_per_inference: float = 0.0
    j_per_offchip_byte: float = 0.0
    onchip_bytes: float = 0.0
    active_w: float = 0.0
    idle_w: float = 0.0
    s_per_mac: float = 0.0
    s_per_layer: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device: a chip with a runtime, a number type, a clock and a voltage.

    Attributes:
        chip: the chip or board.
        runtime: what runs the network on it.
        dtype: type of weights and activations, a key of ``workload.layer.DTYPE_BITS``.
        core: the processor.
        category: microcontroller, linux-board, phone, accelerator, server-cpu, host or reference.
        boundary: where its energy is counted.
        mode: datasheet, scaled, calibrated-N or definition.
        interval: what that mode is worth.
        coefficients: the model, in SI units.
        figures: every number of the file by its key.
        memories: capacities that a network must fit.
        channel_step: widths that the runtime computes without waste are multiples of it.
        pads: axes whose channels the device really pads to the step, in energy.
        runtime_version: version of the runtime, or "".
        prior_only: no joule of this device was measured; the figures make a prior.
        clock_hz: clock, where it is known.
        voltage_v: supply, where it is known.
        note: what a user should know, or "".
        calibration: what the coefficients were fitted to, where `calibrate` fitted them.
        sparsity: zero weights that save joules, in the order of the file; none unless it says so.
    """

    chip: str
    runtime: str
    dtype: str
    core: str
    category: Category
    boundary: Boundary
    mode: str
    interval: Interval
    coefficients: Coefficients
    figures: Mapping[str, Figure]
    memories: tuple[MemoryLevel, ...] = ()
    channel_step: int = 1
    pads: tuple[Axis, ...] = ()
    runtime_version: str = ""
    prior_only: bool = False
    clock_hz: float | None = None
    voltage_v: float | None = None
    note: str = ""
    calibration: Calibration | None = None
    sparsity: tuple[SparsitySupport, ...] = ()

    @property
    def name(self) -> str:
        """``chip/runtime/dtype``."""
        return f"{self.chip}/{self.runtime}/{self.dtype}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources behind the figures, each once, in the order of the file."""
        used = (
            *(figure.source for figure in self.figures.values()),
            *(entry.source for entry in self.sparsity),
        )
        return tuple({source.id: source for source in used}.values())
