"""Fits of microcontrollers: a cycle profile of (core, runtime), and joules per cycle of a supply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from joulecut.hw_models.fitting import fit
from joulecut.hw_models.spec import DeviceSpec, Figure, Source
from perf.energy_rows import ACCELERATED, Series
from perf.energy_trials import same_runtime
from perf.populations import CORE_CYCLES, described, figure, population, priced, quantities, target, widened

__all__ = ["core_device", "joules_per_cycle"]

FITTED: Final = Source("fitted", "MACs of the networks behind the figures", "read")
_FREE: Final = 2.0
"""Spread of the shape of an accelerator's cycles, which the profile of a core says little about."""


def joules_per_cycle(series: Sequence[Series]) -> list[float]:
    """Joules over cycles of each row with both."""
    return [
        row.energy_j / target(row, by_cycles=True)
        for each in series
        for row in each.rows
        if row.energy_j is not None
    ]


def core_device(
    chip: str,
    runtime: str,
    each: Series,
    series: Sequence[Series],
    facts: Mapping[str, Any],
    *,
    energy: Figure,
    mode: str,
    note: str = "",
) -> DeviceSpec:
    """One microcontroller with one runtime.

    Args:
        chip: its name.
        runtime: name of the runtime in the catalogue.
        each: the rows that its cycles are fitted to.
        series: every series, for the prior.
        facts: what is known of the chip.
        energy: joules per cycle.
        mode: what the joules are worth.
        note: what a user should know.
    """
    first = each.first
    counts = np.array([quantities(row) for row in each.rows])
    cycles = np.array([target(row, by_cycles=True) for row in each.rows])
    if first.board in ACCELERATED:
        found = fit(counts, cycles, CORE_CYCLES, shape_sd=_FREE)
    else:
        others = same_runtime(series, each) or [s for s in series if s.first.board != first.board]
        found = fit(counts, cycles, population(others, by_cycles=True))
    rounds = first.round.replace("tiny-", "v")
    source = Source(
        f"cycles-{runtime}",
        f"latency x clock of {', '.join(row.workload.name for row in each.rows)}, fitted with the profile of "
        f"the same runtime (else of all) on other cores as prior; MLPerf Tiny {rounds}, "
        f"github.com/mlcommons/tiny_results_{rounds}{'' if first.board == chip else f', on {first.board}'}",
        "measured" if first.board.startswith(chip[:8]) else "assumed",
    )
    macs = [float(row.workload.macs) for row in each.rows]
    system = Source("system", facts["system"], "read")
    figures = priced(found.shape * found.scales[0], source, by_cycles=True) | {
        "clock_mhz": figure("clock_mhz", 1e6 * facts["clock_mhz"], system),
        "pj_per_cycle": energy,
        "channel_step": _step(facts),
        "fit_error_percent": figure(
            "fit_error_percent", 100 * float(np.abs(np.expm1(found.residuals)).mean()), source
        ),
        "fitted_mmac": figure("fitted_mmac", max(macs), FITTED, min(macs), max(macs)),
    }
    figures |= _memory(facts, system) | widened(found.residuals, mode, source)
    if first.supply:
        volts = float(first.supply.split()[0])
        figures["voltage_v"] = figure("voltage_v", volts, energy.source)
    return described(
        chip, runtime, first.dtype, figures,
        core=facts["core"], category="microcontroller", boundary="soc_rail",
        mode=mode, runtime_version=first.version, note=note,
    )  # fmt: skip


def _step(facts: Mapping[str, Any]) -> Figure:
    if "step" not in facts:
        return figure(
            "channel_step", 1, Source("step", "no step is known: every width is proposed", "assumed")
        )
    return figure("channel_step", facts["step"], Source("step", facts["step_source"], facts["step_evidence"]))


def _memory(facts: Mapping[str, Any], system: Source) -> dict[str, Figure]:
    found = {}
    if "sram_kib" in facts:
        found["sram_kib"] = figure("sram_kib", 1024 * facts["sram_kib"], system)
    if "flash_kib" in facts:
        source = Source("memory", "flash size, not confirmed", "remembered")
        found["flash_kib"] = figure("flash_kib", 1024 * facts["flash_kib"], source)
    return found


def mean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))
