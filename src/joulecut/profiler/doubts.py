"""What the devices said before and after a window, and the doubts about it that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulecut.profiler.provenance import Concern, concerns
from joulecut.profiler.reckoned import Span
from joulecut.profiler.records import DeviceState, Trace
from joulecut.units import format_quantity

__all__ = ["MACHINE", "doubts_about", "states_around"]

MACHINE: Final = "machine"
"""The device whose fact ``suspended_s`` is the time that the machine has slept since it was started."""
_SLEPT_S: Final = 0.05

States = tuple[tuple[DeviceState, ...], tuple[DeviceState, ...]]


def doubts_about(before: Sequence[DeviceState], after: Sequence[DeviceState]) -> tuple[Concern, ...]:
    """What two looks at the devices leave to doubt, and whether the machine slept between them."""
    return (*concerns(before, after), *_slept(before, after))


def states_around(trace: Trace, span: Span) -> States:
    """The last look at each device before a window and the first one after it; none where either lacks."""
    before = {state.device: state for state in trace.states if state.at_s <= span.begin_s}
    after = {state.device: state for state in reversed(trace.states) if state.at_s >= span.end_s}
    both = [device for device in before if device in after]
    return tuple(before[device] for device in both), tuple(after[device] for device in both)


def _slept(before: Sequence[DeviceState], after: Sequence[DeviceState]) -> tuple[Concern, ...]:
    """A suspended machine stops the clock that windows are timed by, and RAPL's counters start again."""
    first, last = (
        next((state.facts.get("suspended_s", 0.0) for state in states if state.device == MACHINE), 0.0)
        for states in (before, after)
    )
    slept_s = last - first if isinstance(first, float) and isinstance(last, float) else 0.0
    if slept_s <= _SLEPT_S:
        return ()
    return (Concern("", "invalid", f"the machine was suspended for {format_quantity(slept_s, 's')}"),)
