"""Trials of the energy models: rows left out, predicted from the rest, and held against what was published.

Everything goes through the public calls ``calibrate`` and ``estimate``; what is fitted beforehand is the
prior, the shape that the other boards share. The control is the same procedure with a price per MAC only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from joulecut.estimate import Estimate
from joulecut.hw_models import calibrate, estimate, layer_cost, on_board
from joulecut.hw_models.fitting import fit
from joulecut.hw_models.resolve import respecified
from joulecut.hw_models.spec import Category, DeviceSpec, Figure, Source
from joulecut.workload.layer import Workload
from perf.board_facts import facts_of, middle_board
from perf.energy_rows import ROUNDS, PublishedRow, Series, family
from perf.populations import described, figure, group_fit, population, priced, quantities, widened

__all__ = ["Trial", "left_out_boards", "left_out_families", "left_out_networks", "microcontroller_boards"]

DRAWS: Final = 6
_SOURCE: Final = Source("fit", "fit of the rows that are not left out", "measured")
_STEP: Final = Source("step", "of no account here", "assumed")


@dataclass(frozen=True, slots=True)
class Trial:
    """One prediction of a row that the model had not seen.

    Attributes:
        row: what was published.
        series: the submission that it belongs to.
        mode: what was known of the device.
        estimate: predicted joules.
        control_j: what a price per MAC alone predicts.
        draw: number of the draw of known networks.
    """

    row: PublishedRow
    series: str
    mode: str
    estimate: Estimate
    control_j: float
    draw: int = 0

    @property
    def actual_j(self) -> float:
        """Published joules."""
        assert self.row.energy_j is not None
        return self.row.energy_j

    @property
    def error(self) -> float:
        return abs(self.estimate.value / self.actual_j - 1)

    @property
    def control_error(self) -> float:
        return abs(self.control_j / self.actual_j - 1)

    def covered(self, confidence: float) -> bool:
        """Whether the published joules lie within the bounds."""
        low, high = self.estimate.bounds(confidence)
        return low <= self.actual_j <= high


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
    return _described(figures, first, kind)


def _described(figures: Mapping[str, Figure], first: PublishedRow, kind: Category) -> DeviceSpec:
    return described(
        "prior",
        first.runtime,
        first.dtype,
        figures,
        core=first.core or "any",
        category=kind,
        boundary="soc_rail" if kind == "microcontroller" else "wall_ac",
        mode="datasheet",
    )


def control_of(device: DeviceSpec) -> DeviceSpec:
    """The same device with a price per MAC only."""
    key = "cycles_per_mac_dense" if device.coefficients.mac_bound == "cycles" else "pj_per_mac_dense"
    kept = {key, "channel_step", "clock_mhz", "pj_per_cycle"}
    figures = {name: figure for name, figure in device.figures.items() if name in kept}
    return respecified(device, figures, mode="datasheet", prior_only=True)


def _trial(
    series: Series,
    row: PublishedRow,
    mode: str,
    device: DeviceSpec,
    control: DeviceSpec,
    latency_s: float | None = None,
) -> Trial:
    found = estimate(row.workload, device, latency_s=latency_s).total
    return Trial(row, series.name, mode, found, _plain_j(control, row))


def _plain_j(device: DeviceSpec, row: PublishedRow) -> float:
    """Modelled joules without any interval."""
    return math.fsum(layer_cost(device, layer).total_j for layer in row.workload.layers)


def _measured(rows: Sequence[PublishedRow]) -> list[tuple[Workload, float | None, float | None]]:
    return [(row.workload, row.energy_j, row.latency_s) for row in rows]


def left_out_boards(
    series: Sequence[Series], counts: Sequence[int] = (0, 1, 3, 8), draws: int = DRAWS
) -> Iterator[Trial]:
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
            for draw in range(draws if count else 1):
                order = list(each.rows)
                random.Random(draw).shuffle(order)
                known, unknown = order[:count], order[count:]
                device = calibrate(prior, _measured(known)) if count else prior
                plain = calibrate(control, _measured(known)) if count else control
                mode = f"{count} networks"
                for row in unknown:
                    yield replace(_trial(each, row, mode, device, plain), draw=draw)
                    if count:
                        yield _trial(each, row, f"{mode}, latency", device, plain, row.latency_s)
        if "opencl" not in first.runtime:
            yield from _by_facts(each, others, control)


def _by_facts(each: Series, others: Sequence[Series], control: DeviceSpec) -> Iterator[Trial]:
    """A board of which only the data sheet is known, without and with latencies."""
    figures = middle_board(others, _SOURCE) | {"channel_step": figure("channel_step", 1, _STEP)}
    middle = _described(figures, each.first, "linux-board")
    device = on_board(middle, facts_of(each), chip="left-out")
    for row in each.rows:
        yield _trial(each, row, "facts", device, control)
        yield _trial(each, row, "facts, latency", device, control, row.latency_s)


def left_out_families(series: Sequence[Series]) -> Iterator[Trial]:
    """Linux boards: each family in turn is unknown on every board; a board's other networks are known."""
    for each in series:
        first = each.first
        for name in sorted({family(row) for row in each.rows}):
            known = _without(each, name)
            others = [
                _without(other, name) for other in series
                if other.first.chip != first.chip
                and (other.first.runtime, other.first.dtype) == (first.runtime, first.dtype)
            ]  # fmt: skip
            device = known_board(known, population(others, by_cycles=False))
            plain = control_of(device)
            scale = np.median([(row.energy_j or 0) / _plain_j(plain, row) for row in known.rows])
            for row in each.rows:
                if family(row) == name:
                    found = _trial(each, row, f"family {name}", device, plain)
                    yield replace(found, control_j=found.control_j * float(scale))


def _without(series: Series, name: str) -> Series:
    """A series without the networks of a family."""
    return Series(tuple(row for row in series.rows if family(row) != name))


def known_board(series: Series, prior: NDArray[np.float64]) -> DeviceSpec:
    """A board fitted to all rows of a series, as the bundled ones are."""
    first = series.first
    joules = [row.energy_j or 0.0 for row in series.rows]
    found = fit(np.array([quantities(row) for row in series.rows]), np.array(joules), prior)
    mode = f"calibrated-{len(series.rows)}"
    figures = priced(found.shape * found.scales[0], _SOURCE, by_cycles=False)
    figures |= {"channel_step": figure("channel_step", 1, _STEP)} | widened(found.residuals, mode, _SOURCE)
    return described(
        "known", first.runtime, first.dtype, figures,
        core="any", category="linux-board", boundary="wall_ac", mode=mode,
    )  # fmt: skip


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
                yield _trial(each, row, "1 network, latency", device, plain, row.latency_s)


def left_out_networks(series: Sequence[Series]) -> Iterator[Trial]:
    """Microcontrollers: each network in turn is unknown on a board whose others are known."""
    for each in series:
        if len(each.rows) < 3:
            continue
        same = same_runtime(series, each)
        prior = core_prior(same or [s for s in series if s.first.board != each.first.board], each.first)
        label = "same runtime" if same else "other runtimes"
        for row in each.rows:
            known = [
                (other.workload, other.energy_j, other.latency_s) for other in each.rows if other is not row
            ]
            if any(energy is None for _, energy, _ in known) or row.energy_j is None:
                continue
            device = calibrate(prior, known)
            control = calibrate(control_of(prior), known)
            yield _trial(each, row, f"2 networks, {label}", device, control)
            yield _trial(each, row, "2 networks, latency", device, control, row.latency_s)


REMEMBERED_PJ_PER_CYCLE: Final = {"efr32xg24-dk2601b": 97.7, "nucleo-u385rg-q": 33.05, "nucleo-l4r5zi": 189.8}
"""Headline supply current per MHz of three datasheets x supply voltage, remembered and not confirmed. All
three are low, by 1.2 to 1.9, and so a datasheet is taken times 1.6."""
_REAL_OVER_DATASHEET: Final = 1.6


def datasheet_boards(series: Sequence[Series]) -> Iterator[Trial]:
    """Microcontrollers of which only the datasheet is known, with cycles of the same runtime elsewhere."""
    for each in series:
        listed = REMEMBERED_PJ_PER_CYCLE.get(each.first.board)
        if listed is None or any(row.energy_j is None for row in each.rows) or "3.0" in each.first.supply:
            continue
        others = [s for s in series if s.first.board != each.first.board]
        same = same_runtime(series, each)
        profile = population(same or others, by_cycles=True)
        level = _cycles_level(others, each) / float(np.array(quantities(each.first)) @ profile)
        label = f"datasheet, {'same' if same else 'other'} runtime{'' if same else 's'}"
        j_per_cycle = listed * _REAL_OVER_DATASHEET * 1e-12
        device = _device(profile * level, each.first, "microcontroller", j_per_cycle)
        for row in each.rows:
            yield _trial(each, row, label, device, control_of(device))


def _cycles_level(others: Sequence[Series], each: Series) -> float:
    """Cycles that a series' first network should take, by its core and by its runtime.

    The logarithm of a series' level is taken as the sum of an effect of the core and one of the runtime's
    major version, found by least squares (of least norm) from other boards.
    """
    found = group_fit(others, by_cycles=True)
    names = sorted({name for s in (*others, each) for name in _effects(s)})
    design = np.array([[1.0, *(float(name in _effects(s)) for name in names)] for s in others])
    effects = np.linalg.lstsq(design, np.log(found.scales), rcond=None)[0]
    level = effects @ np.array([1.0, *(float(name in _effects(each)) for name in names)])
    return float(np.exp(level)) * float(np.array(quantities(each.first)) @ found.shape)


def _effects(series: Series) -> tuple[str, str]:
    first = series.first
    return f"core {first.core}", f"runtime {first.runtime} {first.version.partition('.')[0]}"
