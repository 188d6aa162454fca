"""How a battery and what it feeds are written: capacity, how often a network runs, self-discharge."""

from __future__ import annotations

import math
import re
from typing import Final

from joulecut.errors import UsageError
from joulecut.units import parse_quantity

__all__ = ["parse_capacity", "parse_period", "parse_self_discharge"]

_TIMES: Final = re.compile(r"\s*(?:[x×@*]|\bat\b)\s*")
_RATE: Final = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*/\s*(s|min|h|d|day)\s*")
_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "day": 86_400.0}
_PERCENT: Final = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*(?:(?:/|a |per )\s*month)?\s*")


def parse_capacity(text: str) -> float:
    """The energy in a full battery, in joules.

    Args:
        text: an energy, as ``"2400 mWh"``, or a charge and its mean voltage, as ``"1200 mAh x 3.7 V"``.

    Raises:
        UsageError: neither, a charge without a voltage, or not positive.

    >>> parse_capacity("2000 mWh"), round(parse_capacity("1200mAh x 3.7V"))
    (7200.0, 15984)
    """
    charge, *volts = _TIMES.split(text, maxsplit=1)
    if volts:
        energy_j = parse_quantity(charge, "C") * parse_quantity(volts[0], "V")
    elif charge.rstrip().endswith("Ah"):
        raise UsageError(
            f"a capacity of {text[:40]!r} is a charge:",
            hint="add the battery's voltage, as '1200 mAh x 3.7 V'.",
        )
    else:
        energy_j = parse_quantity(charge, "J")
    if energy_j <= 0:
        raise UsageError(f"a capacity of {text[:40]!r} is not positive.")
    return energy_j


def parse_period(text: str) -> float:
    """Seconds from the beginning of one inference to that of the next.

    Args:
        text: a time, as ``"10 s"``, or a rate, as ``"360/h"`` (of s, min, h, d).

    Raises:
        UsageError: neither, or not positive.

    >>> parse_period("10 s"), parse_period("360/h")
    (10.0, 10.0)
    """
    rate = _RATE.fullmatch(text)
    if rate is None:
        seconds = parse_quantity(text, "s")
    else:
        seconds = _SECONDS[rate[2]] / float(rate[1]) if float(rate[1]) else math.inf
    if not 0 < seconds < math.inf:
        raise UsageError(f"one inference every {text[:40]!r} makes no period.")
    return seconds


def parse_self_discharge(text: str) -> float:
    """Share of its charge that a battery loses by itself in a month.

    Raises:
        UsageError: no share, or not from 0 to below 1.

    >>> parse_self_discharge("2 %"), parse_self_discharge("0.02 per month")
    (0.02, 0.02)
    """
    found = _PERCENT.fullmatch(text)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share < 1:
        raise UsageError(
            f"a self-discharge of {text[:40]!r} is no share:", hint="write '2 %' for 2 % a month."
        )
    return share
