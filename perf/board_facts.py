"""What data sheets tell of Linux boards, and the board in the middle of some by these facts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from joulecut.hw_models.new_board import BoardFacts
from joulecut.hw_models.spec import Figure, Source
from perf.energy_rows import Series
from perf.populations import figure, group_fit, priced

__all__ = ["board_figures", "facts_of", "middle_board"]

_CHIPS: Final = Path(__file__).parent / "data" / "chips.toml"
_VECTOR: Final = Source(
    "vector",
    "MACs of one vector instruction: FMLA 4 of float32, SMLAL 8 of int8, SDOT 16 where /proc/cpuinfo says "
    "asimddp (Arm Architecture Reference Manual; cpuinfo of the cores: github.com/hrw/arm-socs-table, issues "
    "18, 38, 52, 63, 121)",
    "read",
)
_MIDDLE: Final = Source(
    "middle", "a board in the middle: four cores at 2 GHz without dot products, 2.5 W idle", "assumed"
)


@cache
def _chips() -> Mapping[str, Any]:
    chips: Mapping[str, Any] = tomllib.loads(_CHIPS.read_text(encoding="utf-8"))["chip"]
    return chips


def facts_of(series: Series) -> BoardFacts:
    """Facts of the board of a series on its CPU."""
    known = _chips()[series.first.chip]
    return BoardFacts(
        known["cores"],
        1e6 * known["clock_mhz"],
        known["idle_w"],
        _macs_per_instruction(series.first.dtype, dot_product=known["dot_product"]),
    )


def _macs_per_instruction(dtype: str, *, dot_product: bool) -> int:
    return 4 if dtype == "float32" else 16 if dot_product else 8


def board_figures(each: Series, system: Source) -> dict[str, Figure]:
    """The figures of a board's facts that its clock and idle power do not hold."""
    facts = facts_of(each)
    return {
        "cores": figure("cores", facts.cores, system),
        "macs_per_instruction": figure("macs_per_instruction", facts.macs_per_instruction, _VECTOR),
    }


def middle_board(series: Sequence[Series], source: Source) -> dict[str, Figure]:
    """Figures of a common board with the runtime and number type of some: their shape, and medians of what a
    vector instruction costs and of how long it takes beyond the ideal (see ``hw_models.new_board``).

    Args:
        series: boards with one runtime and number type.
        source: where the prices come from.
    """
    found = group_fit(series, by_cycles=False)
    switched, seconds = [], []
    for each, scale in zip(series, found.scales, strict=True):
        facts = facts_of(each)
        powers = [row.energy_j / row.latency_s for row in each.rows if row.energy_j is not None]
        idle_share = facts.idle_w / float(np.exp(np.mean(np.log(powers))))
        switched.append(scale * (1 - idle_share) * facts.macs_per_instruction)
        seconds.append(scale * idle_share / facts.idle_w * facts.macs_per_s)
    common = BoardFacts(4, 2e9, 2.5, _macs_per_instruction(series[0].first.dtype, dot_product=False))
    switched_j, time_s = _median(switched) / common.macs_per_instruction, _median(seconds) / common.macs_per_s
    scale = switched_j + common.idle_w * time_s
    return priced(found.shape * scale, source, by_cycles=False) | {
        "clock_mhz": figure("clock_mhz", common.clock_hz, _MIDDLE),
        "cores": figure("cores", common.cores, _MIDDLE),
        "macs_per_instruction": figure("macs_per_instruction", common.macs_per_instruction, _MIDDLE),
        "idle_w": figure("idle_w", common.idle_w, _MIDDLE),
        "active_w": figure("active_w", scale / time_s, source),
    }


def _median(values: Sequence[float]) -> float:
    return float(np.exp(np.median(np.log(values))))
