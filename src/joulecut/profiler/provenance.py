"""Judging a window by what the devices said of themselves at its ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from joulecut.profiler.records import DeviceState, Fact
from joulecut.units import format_percent, format_quantity

__all__ = ["Concern", "concerns"]

_Facts = Mapping[str, Fact]

HARMLESS: Final = frozenset({"idle", "application clocks"})
"""Reasons for a low clock that are no disturbance: nothing to do, or clocks that the user chose."""
CLOCK_FELL: Final = 0.05
"""Share by which a busy clock may fall before it is a doubt: boost clocks move by a few steps with the
temperature (a step is 15 MHz of about 1.5 GHz)."""


@dataclass(frozen=True, slots=True)
class Concern:
    """A doubt about a window.

    Attributes:
        device: whose (``gpu:0``, ``cpu``).
        quality: what it makes of the window: ``degraded`` (a figure with a doubt) or ``invalid`` (no figure).
        reason: a sentence without its full stop, that names the device.
    """

    device: str
    quality: Literal["degraded", "invalid"]
    reason: str


def concerns(before: Iterable[DeviceState], after: Iterable[DeviceState]) -> tuple[Concern, ...]:
    """What two looks at the devices, before and after a window, leave to doubt.

    Invalid: a device that is gone, was exchanged, or whose driver was loaded anew, and MIG. Degraded:
    anything that slowed it down (but not the clocks that the user chose), other programs on it, changed
    settings. Changes are judged where both ends know the fact.

    >>> calm = DeviceState("gpu:0", 0.0, {"throttle_reasons": "idle"})
    >>> hot = DeviceState("gpu:0", 5.0, {"throttle_reasons": "hardware thermal slowdown"})
    >>> concerns([calm], [hot])[0].reason
    'gpu:0 was slowed down (hardware thermal slowdown)'
    """
    later = {state.device: state for state in after}
    return tuple(
        Concern(first.device, quality, f"{first.device} {sentence}")
        for first in before
        for quality, sentence in _judged(first.facts, _facts(later.get(first.device)))
    )


def _facts(state: DeviceState | None) -> _Facts:
    return {"fault": "it does not answer"} if state is None else state.facts


def _judged(before: _Facts, after: _Facts) -> list[tuple[Literal["degraded", "invalid"], str]]:
    fatal = [sentence for rule in _INVALID if (sentence := rule(before, after))]
    if fatal:
        return [("invalid", sentence) for sentence in fatal]
    return [("degraded", sentence) for rule in _DEGRADED if (sentence := rule(before, after))]


def _gone(before: _Facts, after: _Facts) -> str:
    fault = after.get("fault", before.get("fault"))
    return f"was lost in the window ({fault})" if fault else ""


def _split(before: _Facts, after: _Facts) -> str:
    split = before.get("mig") or after.get("mig")
    return "is split by MIG, and its energy is that of all instances" if split else ""


def _slowed(before: _Facts, after: _Facts) -> str:
    reasons = _listed(before, "throttle_reasons") + _listed(after, "throttle_reasons")
    disturbing = [reason for reason in dict.fromkeys(reasons) if reason not in HARMLESS]
    return f"was slowed down ({', '.join(disturbing)})" if disturbing else ""


def _shared(before: _Facts, after: _Facts) -> str:
    pids = dict.fromkeys(_listed(before, "other_processes") + _listed(after, "other_processes"))
    plural = "es" if len(pids) > 1 else ""
    return f"was shared with other programs (process{plural} {', '.join(pids)})" if pids else ""


def _clock_fell(before: _Facts, after: _Facts) -> str:
    """Compared only where it was busy at both ends: an idle clock says nothing."""
    idle = "idle" in _listed(before, "throttle_reasons") + _listed(after, "throttle_reasons")
    first, last = _number(before, "sm_clock_hz"), _number(after, "sm_clock_hz")
    if idle or first <= 0 or last <= 0 or before.get("pstate") != after.get("pstate"):
        return ""
    share = 1 - last / first
    if share <= CLOCK_FELL:
        return ""
    return f"lowered its clock by {format_percent(share, 0)}, to {format_quantity(last, 'Hz')}"


def _exchanged(fact: str, sentence: str) -> Callable[[_Facts, _Facts], str]:
    """A rule: the fact is not the same at both ends."""

    def rule(before: _Facts, after: _Facts) -> str:
        first, last = before.get(fact), after.get(fact)
        return f"{sentence} ({first} → {last})" if None not in (first, last) and first != last else ""

    return rule


def _grown(fact: str, sentence: str, unit: str = "") -> Callable[[_Facts, _Facts], str]:
    """A rule: a running sum went up between the ends."""

    def rule(before: _Facts, after: _Facts) -> str:
        growth = _number(after, fact) - _number(before, fact)
        if fact not in before or fact not in after or growth <= 0:
            return ""
        return sentence.format(format_quantity(growth, unit) if unit else f"{growth:.0f}")

    return rule


def _listed(facts: _Facts, name: str) -> list[str]:
    return [part for part in str(facts.get(name, "")).split(", ") if part]


def _number(facts: _Facts, name: str) -> float:
    value = facts.get(name, 0.0)
    return 0.0 if isinstance(value, str) else float(value)


_Rules = tuple[Callable[[_Facts, _Facts], str], ...]
_INVALID: Final[_Rules] = (
    _gone,
    _exchanged("uuid", "was exchanged for another"),
    _exchanged("driver", "had its driver loaded anew"),
    _split,
)
_DEGRADED: Final[_Rules] = (
    _slowed,
    _grown("violation_power_s", "was held back by its power limit for {}", "s"),
    _grown("violation_thermal_s", "was held back by its temperature for {}", "s"),
    _grown("core_throttle_count", "slowed a core down {} times for its temperature"),
    _grown("package_throttle_count", "slowed down {} times for its temperature"),
    _shared,
    _clock_fell,
    _exchanged("power_limit_w", "had its power limit changed, in watts"),
    _exchanged("ecc", "had its error correction switched"),
    _exchanged("governor", "had its frequency governor changed"),
)
