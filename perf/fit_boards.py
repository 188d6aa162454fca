"""Fits of Linux boards: each with all its networks, and with the shape of the other boards as prior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from joulecut.hw_models.fitting import fit
from joulecut.hw_models.spec import DeviceSpec, Figure, Source
from perf.board_facts import board_figures, middle_board
from perf.energy_rows import Series
from perf.populations import described, figure, population, priced, quantities, target, widened

__all__ = ["board", "generic", "like_another"]

_STEPS: Final = {"float32": 4, "int8": 8, "uint8": 8}
STEP: Final = Source("step", "NEON: 128-bit lanes; tile width 8 of XNNPACK and ruy for int8", "remembered")
GPU_STEP: Final = Source("gpu-step", "4 values at a time in OpenCL image formats (RGBA)", "remembered")
IDLE: Final = Source(
    "idle",
    "lowest 1 Hz sample of the power meter over each run, median of runs; MLPerf Inference, "
    "github.com/mlcommons/inference_results_v2.0 to v3.0, Krai",
    "measured",
    "2023-04",
)
FITTED: Final = Source("fitted", "MACs of the networks behind the fit", "read")
_OF_THE_BOARD: Final = frozenset({
    "clock_mhz", "cores", "idle_w", "macs_per_instruction", "channel_step",
    "fit_error_percent", "fitted_mmac",
})  # fmt: skip
_ROUNDS: Final = {"2.7.1": "v2.0", "21.11": "v2.0", "2.11.0": "v3.0", "22.11": "v3.0"}


def _step(dtype: str, runtime: str) -> Figure:
    if "opencl" in runtime:
        return figure("channel_step", 4, GPU_STEP)
    return figure("channel_step", _STEPS[dtype], STEP)


def _others(series: Sequence[Series], each: Series) -> list[Series]:
    first = each.first
    return [
        other for other in series
        if other.first.chip != first.chip
        and (other.first.runtime, other.first.dtype) == (first.runtime, first.dtype)
    ]  # fmt: skip


def board(each: Series, series: Sequence[Series], facts: Mapping[str, Any]) -> DeviceSpec:
    """One board with one runtime and number type."""
    first = each.first
    counts = np.array([quantities(row) for row in each.rows])
    joules = np.array([target(row, by_cycles=False) for row in each.rows])
    found = fit(counts, joules, population(_others(series, each), by_cycles=False))
    round_ = _ROUNDS.get(first.version, "v2.0")
    source = Source(
        f"fit-{first.runtime}-{first.dtype}",
        f"fit in log space of {len(each.rows)} networks (MobileNet V1 and V3, EfficientNet-Lite"
        f"{', ResNet-50' if first.dtype == 'float32' else ''}), SingleStream, energy at the wall, with the "
        f"shape of the other boards of the same runtime as prior; MLPerf Inference {round_}, "
        f"github.com/mlcommons/inference_results_{round_}, Krai. Totals do not tell how activation bytes and "
        "depthwise MACs share: trust their sum more than the split",
        "measured",
        "2022-04" if round_ == "v2.0" else "2023-04",
    )
    powers = [row.energy_j / row.latency_s for row in each.rows if row.energy_j is not None]
    macs = [float(row.workload.macs) for row in each.rows]
    system = Source("system", facts["system"], "read", "2022-04")
    figures = priced(found.shape * found.scales[0], source, by_cycles=False) | {
        "clock_mhz": figure("clock_mhz", 1e6 * facts["clock_mhz"], system),
        "idle_w": figure("idle_w", facts["idle_w"], IDLE),
        "active_w": figure("active_w", _mean(powers), source, min(powers), max(powers)),
        "channel_step": _step(first.dtype, first.runtime),
        "fit_error_percent": figure(
            "fit_error_percent", 100 * float(np.abs(np.expm1(found.residuals)).mean()), source
        ),
        "fitted_mmac": figure("fitted_mmac", max(macs), FITTED, min(macs), max(macs)),
    }
    figures |= widened(found.residuals, f"calibrated-{len(each.rows)}", source)
    if "opencl" in first.runtime:
        del figures["clock_mhz"]
    else:
        figures |= board_figures(each, system)
    return described(
        first.chip, first.runtime, first.dtype, figures,
        core=facts["core"], category="linux-board", boundary="wall_ac",
        mode=f"calibrated-{len(each.rows)}", runtime_version=first.version,
    )  # fmt: skip


def generic(
    chip: str, runtime: str, dtype: str, core: str, series: Sequence[Series], name: str = ""
) -> DeviceSpec:
    """The device in the middle of all boards of a runtime and number type: a prior."""
    chosen = [each for each in series if (each.first.runtime, each.first.dtype) == (runtime, dtype)]
    boards = ", ".join(sorted(each.first.chip for each in chosen))
    source = Source(
        f"middle-{runtime}-{dtype}",
        f"the shape that {boards} share with {runtime} in {dtype}, at the median of "
        + ("their scales" if "opencl" in runtime else "what an instruction costs and takes on them"),
        "assumed",
        "2023-04",
    )
    if "opencl" in runtime:
        powers = [
            _mean([row.energy_j / row.latency_s for row in each.rows if row.energy_j is not None])
            for each in chosen
        ]
        figures = priced(population(chosen, by_cycles=False), source, by_cycles=False)
        figures["active_w"] = figure("active_w", _mean(powers), source, min(powers), max(powers))
    else:
        figures = middle_board(chosen, source)
    figures["channel_step"] = _step(dtype, runtime)
    return described(
        chip, name or runtime, dtype, figures,
        core=core, category="host", boundary="wall_ac", mode="datasheet",
        note="A guess for an unknown board, at the wall socket. Measure some networks and calibrate it.",
    )  # fmt: skip


def like_another(
    donor: DeviceSpec, chip: str, core: str, extra: Mapping[str, Figure], note: str, **texts: Any
) -> DeviceSpec:
    """A board without a published joule, with the coefficients of one that has the same cores: a prior."""
    source = Source(
        f"carried-{donor.dtype}",
        f"carried over whole from {donor.name}, which was measured",
        "assumed",
        "2023-04",
    )
    kept = {
        key: Figure(key, each.value, each.unit, source, each.low, each.high)
        for key, each in donor.figures.items()
        if key not in _OF_THE_BOARD
    }
    kept["channel_step"] = donor.figures["channel_step"]
    return described(
        chip, donor.runtime, donor.dtype, kept | dict(extra),
        core=core, category=texts.get("category", donor.category),
        boundary=texts.get("boundary", donor.boundary), mode="datasheet", note=note,
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))
