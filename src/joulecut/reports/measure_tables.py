"""Facts and tables of a ``Measurement``."""

from __future__ import annotations

from joulecut.estimate import Estimate
from joulecut.profiler.records import DomainEnergy, Measurement
from joulecut.reports.text import printable, quantity, spread
from joulecut.reports.view import Cell, Column, Fact, Table, Tone, name, prose

__all__ = ["domain_table", "measurement_facts"]

_TONES: dict[str, Tone] = {
    "good": "good",
    "degraded": "unsure",
    "below resolution": "unsure",
    "invalid": "bad",
}


def measurement_facts(measured: Measurement) -> tuple[Fact, ...]:
    """The headline: doubts first, then joules gross, idle and net."""
    facts = [] if measured.quality == "good" else [_quality(measured)]
    facts.append(_energy("Energy", measured.total, "gross"))
    if measured.per_iteration:
        facts.append(_energy("Per iteration", measured.per_iteration, f"of {measured.iterations}"))
    if measured.idle:
        facts.append(_energy("Idle", measured.idle, "in the same time, doing nothing"))
    if measured.net:
        facts.append(_net(measured.net))
    facts.append(Fact("Time", quantity(measured.duration_s, "s")))
    if measured.total and measured.duration_s > 0:
        facts.append(Fact("Mean power", quantity(measured.total.value / measured.duration_s, "W")))
    if measured.emissions_g:
        facts.append(Fact("CO2 equivalent", spread(measured.emissions_g), measured.emissions_g.method))
    if measured.exit_code:
        facts.append(Fact("Exit code", str(measured.exit_code), tone="bad"))
    facts += [Fact("Note" if at else "Notes", "", printable(why)) for at, why in enumerate(_others(measured))]
    return tuple(facts)


def _quality(measured: Measurement) -> Fact:
    first = measured.reasons[0] if measured.reasons else ""
    return Fact("Quality", measured.quality, printable(first), _TONES[measured.quality])


def _others(measured: Measurement) -> tuple[str, ...]:
    """The doubts that the headline does not hold yet."""
    return measured.reasons if measured.quality == "good" else measured.reasons[1:]


def _energy(label: str, estimate: Estimate | None, detail: str) -> Fact:
    if estimate is None:
        return Fact(label, "not known", "", "bad")
    return Fact(label, spread(estimate), detail)


def _net(net: Estimate) -> Fact:
    """Gross minus idle, unless its interval holds 0."""
    low, high = net.bounds(0.9)
    if low <= 0 <= high:
        return Fact("Net", spread(net), "not distinguishable from idle", "unsure")
    return Fact("Net", spread(net), "gross minus idle")


def domain_table(domains: tuple[DomainEnergy, ...]) -> Table:
    """One row a domain: joules, whether they are in the total, how much to believe and why."""
    columns = (
        Column("Domain", whole=True),
        Column("Energy", numeric=True),
        Column("In the total", keep=5),
        Column("Quality"),
        Column("Tick", numeric=True, keep=3),
        Column("Source", keep=2),
        Column("Why", keep=4),
    )
    rows = tuple(
        (
            name(domain.name),
            Cell(spread(domain.energy) if domain.energy else "not known"),
            Cell("yes" if domain.counted else "no"),
            Cell(domain.quality),
            Cell(quantity(domain.tick_s, "s") if domain.tick_s else ""),
            prose(domain.source),
            prose(domain.reason),
        )
        for domain in domains
    )
    return Table("domains", "What the sensor reads", columns, rows)
