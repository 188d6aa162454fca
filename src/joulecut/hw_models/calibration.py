"""Records of a calibration: what a device's coefficients were fitted to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Calibration", "CalibrationRow"]


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """One measured network.

    Attributes:
        network: its name.
        macs: multiply-accumulate operations of one inference.
        energy_j: joules of one inference; latency x power where only the latency was measured.
        latency_s: seconds of one inference, or None.
        residual: measured over modelled energy, minus 1.
    """

    network: str
    macs: int
    energy_j: float
    latency_s: float | None
    residual: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where fitted coefficients come from.

    Attributes:
        prior: the device whose shape the fit was held to.
        rows: what was measured, with what is left of it.
        digest: SHA-256 of the prior's figures and the rows: two files with the same digest hold the same fit.
        power_w: the power reading that turned latencies into joules, or None.
    """

    prior: str
    rows: tuple[CalibrationRow, ...]
    digest: str
    power_w: float | None = None
