"""The keys of a device file: every key ends in its unit, every figure names its source."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

__all__ = [
    "CYCLE_KEYS",
    "FIGURES",
    "INSTEAD",
    "PRIOR_KEYS",
    "REQUIRED_CYCLES",
    "TERMS",
    "at_least",
    "close_key",
]

FIGURES: Final[dict[str, tuple[str, float]]] = {
    "clock_mhz": ("MHz", 1e6),
    "voltage_v": ("V", 1.0),
    "cores": ("cores", 1.0),
    "macs_per_instruction": ("MACs/instruction", 1.0),
    "idle_w": ("W", 1.0),
    "active_w": ("W", 1.0),
    "sram_kib": ("KiB", 1024.0),
    "flash_kib": ("KiB", 1024.0),
    "channel_step": ("channels", 1.0),
    "pj_per_mac_dense": ("pJ/MAC", 1e-12),
    "pj_per_mac_depthwise": ("pJ/MAC", 1e-12),
    "pj_per_weight_byte": ("pJ/B", 1e-12),
    "pj_per_activation_byte": ("pJ/B", 1e-12),
    "pj_per_elementwise_byte": ("pJ/B", 1e-12),
    "uj_per_layer": ("µJ/layer", 1e-6),
    "uj_per_inference": ("µJ/inference", 1e-6),
    "ps_per_mac": ("ps/MAC", 1e-12),
    "us_per_layer": ("µs/layer", 1e-6),
    "pj_per_offchip_byte": ("pJ/B", 1e-12),
    "onchip_kib": ("KiB", 1024.0),
    "pj_per_cycle": ("pJ/cycle", 1e-12),
    "cycles_per_mac_dense": ("cycles/MAC", 1.0),
    "cycles_per_mac_depthwise": ("cycles/MAC", 1.0),
    "cycles_per_weight_byte": ("cycles/B", 1.0),
    "cycles_per_activation_byte": ("cycles/B", 1.0),
    "cycles_per_elementwise_byte": ("cycles/B", 1.0),
    "cycles_per_layer": ("cycles/layer", 1.0),
    "cycles_per_inference": ("cycles/inference", 1.0),
    "factor_90": ("x", 1.0),
    "own_factor_90": ("x", 1.0),
    "fit_error_percent": ("%", 1.0),
    "fitted_mmac": ("MMAC", 1e6),
}
"""Key -> (its unit, that unit in SI units). ``pj_per_cycle`` is the same number as uW/MHz;
``fitted_mmac`` is the size of the networks behind a fit: smallest and largest as range; ``factor_90`` widens
the interval of a device beyond what its mode is worth, ``own_factor_90`` what stays of it in a ratio."""

TERMS: Final[dict[str, tuple[str, str]]] = {
    "dense MACs": ("pj_per_mac_dense", "cycles_per_mac_dense"),
    "depthwise MACs": ("pj_per_mac_depthwise", "cycles_per_mac_depthwise"),
    "weight bytes": ("pj_per_weight_byte", "cycles_per_weight_byte"),
    "activation bytes": ("pj_per_activation_byte", "cycles_per_activation_byte"),
    "elementwise bytes": ("pj_per_elementwise_byte", "cycles_per_elementwise_byte"),
    "layer calls": ("uj_per_layer", "cycles_per_layer"),
    "inferences": ("uj_per_inference", "cycles_per_inference"),
}
"""What a device prices, each with its key by joules and by cycles (x ``pj_per_cycle``)."""

INSTEAD: Final = {"depthwise MACs": "dense MACs", "elementwise bytes": "activation bytes"}
"""What prices a term on a device that has no figure of its own for it."""

CYCLE_KEYS: Final = tuple(by_cycles for _, by_cycles in TERMS.values())
REQUIRED_CYCLES: Final = ("clock_mhz", "pj_per_cycle", "cycles_per_mac_dense")

PRIOR_KEYS: Final = frozenset({"channel_step", "sram_kib", "flash_kib"})
"""Keys that price nothing and may therefore be remembered figures: they guide or warn."""


def at_least(key: str) -> float:
    """The least value that a key may hold.

    >>> at_least("channel_step"), at_least("idle_w")
    (1.0, 0.0)
    """
    return 1.0 if key in ("channel_step", "factor_90", "own_factor_90") else 0.0


def close_key(key: str, allowed: tuple[str, ...]) -> str:
    """The allowed key nearest to an unknown one, unit included; "" when none is near.

    >>> close_key("idle", ("idle_w", "active_w")), close_key("active_power_w", ("idle_w", "active_w"))
    ('idle_w', 'active_w')
    """
    with_unit = [name for name in allowed if name.startswith(f"{key}_")]
    close = with_unit or get_close_matches(key, allowed, n=1, cutoff=0.6)
    return close[0] if close else ""
