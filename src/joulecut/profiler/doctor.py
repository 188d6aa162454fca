"""What can be measured on this machine: every sensor tried, and what to do about those that do not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from joulecut.errors import MissingExtra, SensorDenied, SensorError
from joulecut.profiler.clock import Clock
from joulecut.profiler.provenance import concerns
from joulecut.profiler.records import Domain, Fact, Read
from joulecut.profiler.sensors.cpu_state import cpu_facts
from joulecut.profiler.sensors.remedies import Access, Remedy, remedies, remedy
from joulecut.profiler.sensors.sensor import Sensor
from joulecut.profiler.ticks import staircase
from joulecut.profiler.wraps import unwrap

__all__ = ["Diagnosis", "DomainCheck", "SensorCheck", "Status", "diagnose", "examine", "watch"]

Status = Literal["usable", "failing", "denied", "missing"]
Openers = Mapping[str, Callable[[], Sensor]]

_STEPS: Final = 40
"""Steps of a counter after which its tick, the median of their distances, is known well enough."""
_LEAST_S: Final = 0.3
"""Shorter looks at the power are off by more than a tenth where another program delays the reading."""
_ACCESS: Final[dict[str, Access]] = {"powercap": "powercap", "perf": "perf"}


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """What was seen of one domain of a sensor.

    Attributes:
        name, kind, counted, source, note: of the domain.
        tick_s: period in which its counter steps, in seconds; None where it was not found (gauges have none).
        power_w: mean power while it was watched, in watts, a first look without an interval; None unknown.
        problem: why it cannot be used; "" where it can.
    """

    name: str
    kind: Literal["counter", "gauge"]
    counted: bool
    source: str
    note: str
    tick_s: float | None
    power_w: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SensorCheck:
    """One sensor.

    Attributes:
        sensor: its name; ``perf`` and ``powercap`` are two ways to the sensor ``rapl``.
        status: ``usable``; ``failing`` (it opens, but what counts does not move or cannot be read);
            ``denied``; ``missing``.
        reason: one sentence, "" where it is usable.
        hint: what to do, "" for nothing.
        domains: what it reads.
        concerns: what would degrade a window now: throttling, other programs on the device, ...
        facts: what its devices say of themselves, by device.
        remedies: commands that grant access for good, that of this machine's distribution first.
    """

    sensor: str
    status: Status
    reason: str = ""
    hint: str = ""
    domains: tuple[DomainCheck, ...] = ()
    concerns: tuple[str, ...] = ()
    facts: dict[str, dict[str, Fact]] = field(default_factory=dict)
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every sensor, and the machine that they are on.

    Attributes:
        usable: the sensors that can be used, in the order in which they are tried; () for none.
        sensors: all of them, in the order in which they are tried.
        machine: whether it is a virtual machine or a container, and what Linux says of its processor.
    """

    usable: tuple[str, ...]
    sensors: tuple[SensorCheck, ...]
    machine: dict[str, Fact]


def diagnose(
    openers: Openers,
    clock: Clock,
    *,
    machine: Path = Path("/"),
    seconds: float = 2.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Diagnosis:
    """Try every sensor.

    Args:
        openers: how each is opened, by name (``joulecut.profiler.sensors.choose.openers``).
        clock: the one that the sensors use.
        machine: root of the file system that holds ``proc``, ``sys`` and ``etc``.
        seconds: longest time to watch each sensor.
        progress: ``progress(stage, done, total)``.
    """
    checks = []
    for done, (name, opener) in enumerate(openers.items()):
        if progress is not None:
            progress("trying sensors", done, len(openers))
        checks.append(examine(name, opener, clock, machine=machine, seconds=seconds))
    usable = tuple(check.sensor for check in checks if check.status == "usable")
    return Diagnosis(usable, tuple(checks), cpu_facts(machine))


def examine(
    name: str,
    opener: Callable[[], Sensor],
    clock: Clock,
    *,
    machine: Path = Path("/"),
    seconds: float = 2.0,
) -> SensorCheck:
    """Open one sensor and watch it for a moment.

    >>> from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter
    >>> world = World(Load("cpu", idle_w=20.0))
    >>> meters = [energy_counter("package:0", "cpu", tick_s=0.001)]
    >>> check = examine("rapl", lambda: SimulatedSensor(world, meters), world)
    >>> check.status, round(check.domains[0].tick_s, 4), round(check.domains[0].power_w)
    ('usable', 0.001, 20)
    """
    try:
        sensor = opener()
    except SensorDenied as error:
        return SensorCheck(name, "denied", error.message, error.hint, remedies=_remedies(name, machine))
    except (SensorError, MissingExtra) as error:
        return SensorCheck(name, "missing", error.message, error.hint)
    try:
        before = sensor.states()
        domains = tuple(watch(sensor, clock, seconds))
        after = sensor.states()
    finally:
        sensor.close()
    counted = [domain for domain in domains if domain.counted]
    broken = [f"{domain.name} {domain.problem}" for domain in counted if domain.problem]
    check = SensorCheck(
        name,
        "failing" if broken or not counted else "usable",
        f"{'; '.join(broken)}." if broken else "",
        domains=domains,
        concerns=tuple(concern.reason for concern in concerns(before, after)),
        facts={state.device: dict(state.facts) for state in after},
    )
    return check if counted else replace(check, reason="nothing that it reads is part of a total.")


def watch(sensor: Sensor, clock: Clock, seconds: float) -> list[DomainCheck]:
    """Read as fast as possible until every counter has stepped often enough, or the time is over.

    The reading itself keeps one core busy, which is the load that is seen on a processor.
    """
    reads = _changes(sensor, clock, seconds)
    return [_checked(domain, column, reads) for column, domain in enumerate(sensor.domains)]


def _changes(sensor: Sensor, clock: Clock, seconds: float) -> list[Read]:
    """The reads on both sides of each change, which is all that a staircase is made of."""
    first = last = sensor.read()
    kept = [first]
    steps = [0] * len(sensor.domains)
    begin_s, watched_s = first.end_s, 0.0
    while watched_s < seconds and (watched_s < _LEAST_S or min(steps) < _STEPS):
        read = sensor.read()
        if read.counts != last.counts:
            if kept[-1] is not last:
                kept.append(last)
            kept.append(read)
            pairs = zip(steps, last.counts, read.counts, strict=True)
            steps = [count + (a != b) for count, a, b in pairs]
        last = read
        watched_s = clock.now_s() - begin_s
    return kept if kept[-1] is last else [*kept, last]


def _checked(domain: Domain, column: int, reads: list[Read]) -> DomainCheck:
    tick_s, power_w, problem = _seen(domain, column, reads)
    return DomainCheck(
        name=domain.name,
        kind=domain.kind,
        counted=domain.counted,
        source=domain.source,
        note=domain.note,
        tick_s=tick_s,
        power_w=power_w,
        problem=problem,
    )


def _seen(domain: Domain, column: int, reads: list[Read]) -> tuple[float | None, float | None, str]:
    """Tick, power and problem of one column."""
    faults = [read.faults[column] for read in reads if read.counts[column] is None and read.faults]
    if any(read.counts[column] is None for read in reads):
        return None, None, f"cannot be read: {faults[-1] if faults else 'no value'}"
    series = unwrap(domain, column, reads)
    if series.breaks:
        return None, None, f"cannot be trusted: {series.breaks[0].reason}"
    watched_s = reads[-1].end_s - reads[0].begin_s
    if domain.kind == "gauge":
        return None, sum(series.values) / len(series.values), ""
    stairs = staircase(series)
    if not stairs.edges:
        return None, None, f"stood still for {watched_s:.2g} s"
    first, last = stairs.edges[0], stairs.edges[-1]
    span_s = last.at_s - first.at_s
    power_w = (last.value_j - first.value_j) / span_s if span_s > 0 else None
    return stairs.tick_s, power_w, ""


def _remedies(sensor: str, machine: Path) -> tuple[Remedy, ...]:
    if sensor not in _ACCESS:
        return ()
    own = remedy(_ACCESS[sensor], machine)
    return (own, *(each for each in remedies(_ACCESS[sensor]) if each != own))
