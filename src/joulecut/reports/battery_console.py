"""The life of a battery on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.reports.terminal import print_facts, print_heading, print_note
from joulecut.reports.text import BOUNDARIES, interval, printable, quantity
from joulecut.reports.view import Fact

if TYPE_CHECKING:
    from rich.console import Console

    from joulecut.estimate import Estimate
    from joulecut.hw_models.battery import BatteryLife

__all__ = ["print_battery"]

_DAY_S = 86_400.0
_SPANS = ((365.25 * _DAY_S, "years"), (_DAY_S, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def print_battery(life: BatteryLife, console: Console) -> None:
    """Print inferences and time on one charge, and what they rest on."""
    print_heading(
        f"{printable(life.model)}, on a battery of {quantity(life.capacity_j, 'J')}",
        f"On {printable(life.device)}, {BOUNDARIES[life.boundary]}",
        console,
    )
    runs = life.inferences
    low, high = runs.bounds(0.9)
    samples = f" of {life.batch} samples" if life.batch > 1 else ""
    share = quantity(life.self_discharge, "1")
    facts = (
        Fact(
            "Inferences",
            quantity(runs.value, ""),
            f"[{quantity(low, '')} to {quantity(high, '')}], {runs.origin}{samples}",
        ),
        Fact("Time", *_time(life.life)),
        Fact("Mean power", quantity(life.power.value, "W"), f"[{interval(life.power)}]"),
        Fact("One inference", quantity(life.inference.value, "J"), f"[{interval(life.inference)}]"),
        Fact("Every", quantity(life.period_s, "s")),
        Fact("Asleep", quantity(life.sleep_w, "W")),
        Fact("Self-discharge", f"{share} a month"),
    )
    print_facts(facts, console)
    for note in life.notes:
        print_note(f"\nNote: {printable(note)}.", console)


def _time(life: Estimate) -> tuple[str, str]:
    """A time in the unit that people count it in, with its bounds."""
    seconds, unit = next(((s, unit) for s, unit in _SPANS if life.value >= 2 * s), _SPANS[-1])
    shown, low, high = (f"{bound / seconds:#.3g}".rstrip(".") for bound in (life.value, *life.bounds(0.9)))
    return f"{shown} {unit}", f"[{low} to {high} {unit}], {life.origin}"
