"""Published energies of single inferences, as rows that can be fitted to and predicted.

``perf/data/published_energy.csv`` holds results of MLPerf Tiny (github.com/mlcommons/tiny_results_v*, energy
mode: the supply rail of the microcontroller) and of MLPerf Inference with power (github.com/mlcommons/
inference_results_v*, SPEC PTD: the wall socket), each with the round that published it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from joulecut.workload.layer import Workload
from perf.published_networks import network

__all__ = [
    "ACCELERATED",
    "ROUNDS",
    "PublishedRow",
    "Series",
    "all_microcontroller_series",
    "family",
    "linux_series",
    "microcontroller_series",
    "newest",
    "rows",
]

_FILE: Final = Path(__file__).parent / "data" / "published_energy.csv"
ROUNDS: Final = ("tiny-0.5", "tiny-0.7", "tiny-1.0", "tiny-1.1", "tiny-1.2", "tiny-1.3")
ACCELERATED: Final = frozenset({"gap9", "syntiant-ndp9120", "kai-jiang-k1", "nucleo-u3c5zi-q"})
"""Microcontrollers with a neural accelerator: a cycle does something else there."""
BOARDS: Final = (
    "raspberry-pi-4b",
    "raspberry-pi-4b-1500",
    "odroid-n2plus",
    "firefly-rk3588s",
    "jetson-agx-xavier-cpu",
)


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One published result; ``energy_j`` is None where only the latency was published."""

    board: str
    core: str
    runtime: str
    version: str
    dtype: str
    clock_hz: float
    supply: str
    workload: Workload
    batch: str
    latency_s: float
    energy_j: float | None
    round: str
    scenario: str

    @property
    def chip(self) -> str:
        """The board without its clock: rows of one board are left out together."""
        return self.board.removesuffix("-1500")


@dataclass(frozen=True, slots=True)
class Series:
    """Results of one submission: one board at one operating point, one runtime, one number type."""

    rows: tuple[PublishedRow, ...]

    @property
    def first(self) -> PublishedRow:
        return self.rows[0]

    @property
    def name(self) -> str:
        first = self.first
        return " ".join(filter(None, (first.board, first.runtime, first.version, first.dtype, first.supply)))


@cache
def rows() -> tuple[PublishedRow, ...]:
    """Every row of the file whose network is typed in."""
    found = []
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            workload = network(row["network"], int(row["size"] or 224), row["dtype"])
            if workload is None:
                continue
            found.append(
                PublishedRow(
                    board=row["board"],
                    core=row["core"],
                    runtime=row["runtime"],
                    version=row["version"],
                    dtype=row["dtype"],
                    clock_hz=1e6 * float(row["clock_mhz"] or 0),
                    supply=row["supply"],
                    workload=workload,
                    batch=row["batch"],
                    latency_s=1e-3 * float(row["latency_ms"]),
                    energy_j=1e-6 * float(row["energy_uj"]) if row["energy_uj"] else None,
                    round=row["round"],
                    scenario=row["scenario"],
                )
            )
    return tuple(found)


def _grouped(chosen: Iterable[PublishedRow]) -> list[Series]:
    """One series a submission; of repeated results of one network the first."""
    groups: dict[tuple[object, ...], dict[str, PublishedRow]] = {}
    for row in chosen:
        round_ = "" if row.board in BOARDS else row.round
        key = (row.board, row.runtime, row.version, row.dtype, row.clock_hz, row.supply, round_)
        groups.setdefault(key, {}).setdefault(row.workload.name, row)
    return [Series(tuple(group.values())) for group in groups.values()]


def linux_series(least: int = 20) -> list[Series]:
    """Linux boards, CPU and GPU, at the wall; submissions with enough networks to say something."""
    return [each for each in _grouped(r for r in rows() if r.board in BOARDS) if len(each.rows) >= least]


def newest(series: Iterable[Series]) -> list[Series]:
    """Of each chip, runtime and number type the newest version of the runtime only.

    Some superseded submissions were measured while the scheduler moved the work to other cores: on one board
    a network takes five times the joules of a larger one in one version, and less than it in the next.
    """
    best: dict[tuple[str, str, str], Series] = {}
    for each in series:
        key = (each.first.chip, each.first.runtime, each.first.dtype)
        if key not in best or _version(best[key]) < _version(each):
            best[key] = each
    return list(best.values())


def _version(series: Series) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", series.first.version)))


def microcontroller_series(least: int = 2) -> list[Series]:
    """Microcontrollers without an accelerator, at the supply rail, with or without published joules."""
    return [
        each
        for each in all_microcontroller_series()
        if len(each.rows) >= least and each.first.board not in ACCELERATED
    ]


def all_microcontroller_series() -> list[Series]:
    """Every submission of MLPerf Tiny in the file, accelerators included."""
    return _grouped(r for r in rows() if r.round in ROUNDS)


def family(row: PublishedRow) -> str:
    """The family of a network."""
    name = row.workload.name
    return next(
        (each for each in ("mobilenet_v1", "mobilenet_v3", "efficientnet") if name.startswith(each)), name
    )
