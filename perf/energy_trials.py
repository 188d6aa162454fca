"""Trials of the energy models: rows left out, predicted from the rest, and held against what was published.

Everything goes through the public calls ``calibrate`` and ``estimate``; what is fitted beforehand is the
prior, the shape that the other boards share. The control is the same procedure with a price per MAC only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from joulecut.hw_models import calibrate, estimate
from joulecut.hw_models.spec import Category, DeviceSpec, Source
from joulecut.workload.layer import Workload
from perf.energy_rows import ROUNDS, PublishedRow, Series, family
from perf.populations import described, figure, population, priced

__all__ = ["Trial", "left_out_boards", "left_out_families", "left_out_networks", "microcontroller_boards"]

DRAWS: Final = 2
_SOURCE: Final = Source("fit", "fit of the rows that are not left out", "measured")
_STEP: Final = Source("step", "of no account here", "assumed")


@dataclass(frozen=True, slots=True)
class Trial:
    """One prediction of a row that the model had not seen.

    Attributes:
        board: the device that it belongs to.
        series: the submission.
        mode: what was known of the device.
        network: the network.
        actual_j: published joules.
        model_j: predicted joules.
        half: 50 % bounds.
        most: 90 % bounds.
        control_j: what a price per MAC alone predicts.
    """

    board: str
    series: str
    mode: str
    network: str
    actual_j: float
    model_j: float
    half: tuple[float, float]
    most: tuple[float, float]
    control_j: float

    @property
    def error(self) -> float:
        return abs(self.model_j / self.actual_j - 1)

    @property
    def control_error(self) -> float:
        return abs(self.control_j / self.actual_j - 1)


def board_prior(series: Sequence[Series]) -> DeviceSpec:
    """The device in the middle of some Linux boards."""
    first = series[0].first
    return _device(population(series, by_cycles=False), first, "linux-board", 0.0)


def core_prior(series: Sequence[Series], like: PublishedRow, j_per_cycle: float = 100e-12) -> DeviceSpec:
    """The cycle profile that some cores share."""
    return _device(population(series, by_cycles=True), like, "microcontroller", j_per_cycle)


def _device(
    coefficients: NDArray[np.float64], first: PublishedRow, kind: Category, j_per_cycle: float
) -> DeviceSpec:
    by_cycles = j_per_cycle > 0
    figures = priced(coefficients, _SOURCE, by_cycles=by_cycles) | {
        "channel_step": figure("channel_step", 1, _STEP)
    }
    if by_cycles:
        figures |= {
            "clock_mhz": figure("clock_mhz", first.clock_hz, _SOURCE),
            "pj_per_cycle": figure("pj_per_cycle", j_per_cycle, _SOURCE),
        }
    return described(
        "prior",
        first.runtime,
        first.dtype,
        figures,
        core=first.core or "any",
        category=kind,
        boundary="soc_rail" if by_cycles else "wall_ac",
        mode="datasheet",
    )


def control_of(device: DeviceSpec) -> DeviceSpec:
    """The same device with a price per MAC only."""
    key = "cycles_per_mac_dense" if device.coefficients.mac_bound == "cycles" else "pj_per_mac_dense"
    kept = {key, "channel_step", "clock_mhz", "pj_per_cycle"}
    from joulecut.hw_models.resolve import respecified

    figures = {name: figure for name, figure in device.figures.items() if name in kept}
    return respecified(device, figures, mode="datasheet", prior_only=True)


Predict = Callable[[PublishedRow], tuple[DeviceSpec, DeviceSpec]]


def _trial(
    series: Series,
    row: PublishedRow,
    mode: str,
    device: DeviceSpec,
    control: DeviceSpec,
    latency_s: float | None = None,
) -> Trial:
    assert row.energy_j is not None
    found = estimate(row.workload, device, latency_s=latency_s).total
    plain = estimate(row.workload, control).total
    return Trial(
        row.chip, series.name, mode, row.workload.name, row.energy_j,
        found.value, found.bounds(0.5), found.bounds(0.9), plain.value,
    )  # fmt: skip


def _measured(rows: Sequence[PublishedRow]) -> list[tuple[Workload, float | None, float | None]]:
    return [(row.workload, row.energy_j, row.latency_s) for row in rows]


def left_out_boards(series: Sequence[Series], counts: Sequence[int] = (0, 1, 3, 8)) -> Iterator[Trial]:
    """Linux boards: each chip in turn is unknown but for some networks; its other networks are predicted."""
    for each in series:
        first = each.first
        others = [
            other for other in series
            if other.first.chip != first.chip
            and (other.first.runtime, other.first.dtype) == (first.runtime, first.dtype)
        ]  # fmt: skip
        prior = board_prior(others)
        control = control_of(prior)
        for count in counts:
            for draw in range(DRAWS if count else 1):
                order = list(each.rows)
                random.Random(draw).shuffle(order)
                known, unknown = order[:count], order[count:]
                device = calibrate(prior, _measured(known)) if count else prior
                plain = calibrate(control, _measured(known)) if count else control
                mode = f"{count} networks"
                for row in unknown:
                    yield _trial(each, row, mode, device, plain)
                    if count == 1:
                        yield _trial(each, row, "latency", device, plain, row.latency_s)


def left_out_families(series: Sequence[Series]) -> Iterator[Trial]:
    """Linux boards: each family in turn is unknown on every board; a board's other networks are known."""
    for each in series:
        first = each.first
        for name in sorted({family(row) for row in each.rows}):
            known = [row for row in each.rows if family(row) != name]
            others = [
                Series(tuple(row for row in other.rows if family(row) != name))
                for other in series
                if other.first.chip != first.chip
                and (other.first.runtime, other.first.dtype) == (first.runtime, first.dtype)
            ]
            prior = board_prior(others)
            for draw in range(DRAWS):
                chosen = random.Random(draw).sample(known, min(16, len(known)))
                device = calibrate(prior, _measured(chosen))
                plain = calibrate(control_of(prior), _measured(chosen))
                for row in each.rows:
                    if family(row) == name:
                        yield _trial(each, row, f"family {name}", device, plain)


def same_runtime(series: Sequence[Series], like: Series) -> list[Series]:
    """Series of other boards with the same runtime, of the nearest version."""
    others = [each for each in series if each.first.board != like.first.board]
    same = [each for each in others if each.first.runtime == like.first.runtime]
    if not same:
        return []
    distance = {id(each): _distance(each.first, like.first) for each in same}
    nearest = min(distance.values())
    return [each for each in same if distance[id(each)] == nearest]


def _distance(a: PublishedRow, b: PublishedRow) -> tuple[float, int]:
    versions = [float(".".join(row.version.split(".")[:2])) if row.version else 0.0 for row in (a, b)]
    return abs(versions[0] - versions[1]), abs(ROUNDS.index(a.round) - ROUNDS.index(b.round))


def microcontroller_boards(series: Sequence[Series]) -> Iterator[Trial]:
    """Microcontrollers: each board in turn is unknown but for one network, then for a latency and a power."""
    for each in series:
        if any(row.energy_j is None for row in each.rows):
            continue
        same = same_runtime(series, each)
        prior = core_prior(same or [s for s in series if s.first.board != each.first.board], each.first)
        label = "same runtime" if same else "other runtimes"
        for known in each.rows:
            device = calibrate(prior, _measured([known]))
            plain = calibrate(control_of(prior), _measured([known]))
            for row in each.rows:
                if row is known:
                    continue
                yield _trial(each, row, f"1 network, {label}", device, plain)
                yield _trial(each, row, "latency", device, plain, row.latency_s)


def left_out_networks(series: Sequence[Series]) -> Iterator[Trial]:
    """Microcontrollers: each network in turn is unknown on a board whose others are known."""
    for each in series:
        if len(each.rows) < 3:
            continue
        prior = core_prior(
            same_runtime(series, each) or [s for s in series if s.first.board != each.first.board], each.first
        )
        for row in each.rows:
            known = [
                (other.workload, other.energy_j, other.latency_s) for other in each.rows if other is not row
            ]
            if any(energy is None for _, energy, _ in known) or row.energy_j is None:
                continue
            device = calibrate(prior, known)
            yield _trial(each, row, "2 networks", device, calibrate(control_of(prior), known))
