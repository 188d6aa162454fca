"""What the doctor found, on the terminal: sensors, what they read, and the commands that help."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from joulecut.reports.terminal import print_facts, print_heading, print_note, print_table
from joulecut.reports.text import printable, quantity
from joulecut.reports.view import Cell, Column, Fact, Table, Tone, name, prose, size

if TYPE_CHECKING:
    from rich.console import Console

    from joulecut.profiler.doctor import Diagnosis, SensorCheck
    from joulecut.profiler.sensors.remedies import Remedy
    from joulecut.profiler.simulate.tree import SimulatedRun

__all__ = ["print_diagnosis", "print_simulated"]

_TONES: Final[dict[str, Tone]] = {"usable": "good", "failing": "bad", "denied": "bad", "missing": "unsure"}
_DASH: Final = "-"


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Print every sensor, what it reads, and what to do about those that do not answer."""
    found = f"Usable: {', '.join(diagnosis.usable)}." if diagnosis.usable else "No sensor can be used."
    print_heading("Energy sensors of this machine", found, console)
    print_facts(tuple(_sensor(check) for check in diagnosis.sensors), console)
    print_table(_domains(diagnosis), console)
    print_facts(_machine(diagnosis), console)
    for check in diagnosis.sensors:
        for concern in check.concerns:
            print_note(f"\nNote: {printable(concern)}.", console)
    for check in diagnosis.sensors:
        _print_remedies(check, console)


def print_simulated(run: SimulatedRun, console: Console) -> None:
    """Print what simulated zones truly spent, to compare a measurement with."""
    columns = (
        Column("Zone", whole=True),
        Column("Name"),
        Column("Power", numeric=True),
        Column("True joules", numeric=True),
    )
    rows = tuple(
        (name(zone.identity), name(zone.name), size(zone.power_w, "W"), size(zone.energy.value, "J"))
        for zone in run.zones
    )
    caption = f"In {quantity(run.duration_s, 's')}, below {printable(run.root)}"
    print_table(Table("zones", caption, columns, rows), console)


def _sensor(check: SensorCheck) -> Fact:
    return Fact(
        check.sensor, check.status, printable(f"{check.reason} {_hint(check)}".strip()), _TONES[check.status]
    )


def _hint(check: SensorCheck) -> str:
    """The hint, unless the commands below say it better."""
    return "The commands below grant access." if check.remedies else check.hint


def _domains(diagnosis: Diagnosis) -> Table:
    columns = (
        Column("Domain", whole=True),
        Column("Sensor", keep=6),
        Column("Tick", numeric=True),
        Column("Power", numeric=True),
        Column("Counted", keep=7),
        Column("Note", keep=3),
    )
    rows = tuple(
        (
            name(domain.name),
            name(check.sensor),
            _figure(domain.tick_s, "s"),
            _figure(domain.power_w, "W"),
            Cell("yes" if domain.counted else "no"),
            prose(f"{domain.problem or domain.note}" or domain.source),
        )
        for check in diagnosis.sensors
        for domain in check.domains
    )
    return Table("domains", "What they read; power is a first look, not a measurement", columns, rows)


def _figure(amount: float | None, unit: str) -> Cell:
    return Cell(_DASH, -1.0) if amount is None else Cell(quantity(amount, unit), amount)


def _machine(diagnosis: Diagnosis) -> tuple[Fact, ...]:
    facts = diagnosis.machine
    virtual = "yes" if facts.get("virtual_machine") else "no"
    about = "its host decides which counters it sees" if virtual == "yes" else ""
    shown = [Fact("Virtual machine", virtual, about), Fact("Container", str(facts.get("container", "no")))]
    if "governor" in facts:
        shown.append(Fact("Frequency governor", str(facts["governor"])))
    return tuple(shown)


def _print_remedies(check: SensorCheck, console: Console) -> None:
    """Each command on a line of its own that is never broken, so that it can be copied."""
    from rich.text import Text

    if not check.remedies:
        return
    print_heading(f"\nAccess to {check.sensor} for good", check.reason, console)
    for families, remedy in _grouped(check.remedies):
        console.print(Text(f"\n{families}", style="bold"))
        console.print(Text(f"  {remedy.effect}.", style="dim"))
        console.print(Text(remedy.command), soft_wrap=True)


def _grouped(remedies: tuple[Remedy, ...]) -> list[tuple[str, Remedy]]:
    """Neighbours with one command in common are shown once."""
    groups = [list(group) for _, group in groupby(remedies, key=lambda remedy: remedy.command)]
    return [(", ".join(remedy.family for remedy in group), group[0]) for group in groups]
