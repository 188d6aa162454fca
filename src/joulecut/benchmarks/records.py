"""Records of benchmarks: ``Quantile``, ``LatencyReport``, ``PairRatio``, ``Comparison``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joulecut.estimate import Estimate

__all__ = ["Comparison", "LatencyReport", "PairRatio", "Verdict"]

Verdict = Literal["faster", "slower", "same", "inconclusive"]


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """Latency of one .onnx file in onnxruntime, per call.

    ``p90_s`` and ``p99_s`` are None where there are too few calls to know them (64 and 662).
    """

    file: str
    calls: int
    p50_s: Estimate
    p90_s: Estimate | None
    p99_s: Estimate | None
    cpu_s: Estimate
    energy: Estimate | None
    contended: bool
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairRatio:
    """The paired ratio b / a of two networks measured call by call, with the verdict on b.

    ``ratio`` is by wall time, ``cpu_ratio`` by CPU time of the calling thread; both with their interval.
    ``contended``: the machine was busy, so the wall time decides nothing and the CPU time does.
    """

    a: str
    b: str
    ratio: Estimate
    cpu_ratio: Estimate
    verdict: Verdict
    margin: float
    contended: bool
    sessions: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A benchmark of one or more networks and the ratios of each one to the first."""

    models: tuple[LatencyReport, ...]
    pairs: tuple[PairRatio, ...]
    provenance: dict[str, str] = field(default_factory=dict)
