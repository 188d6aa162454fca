"""Records of measuring: what a sensor can read, what was read, and what that says about joules.

    Sensor -> Trace (raw reads, marks and states, as they came) -> Measurement (joules with intervals)

Taking a trace touches the machine; evaluating one is a pure function of it. So a saved trace gives the
same measurement again, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from joulecut.estimate import Estimate
from joulecut.hw_models.profile import Boundary

__all__ = [
    "NOT_READ",
    "DeviceState",
    "Domain",
    "DomainEnergy",
    "Fact",
    "Mark",
    "Measurement",
    "Quality",
    "Read",
    "Trace",
]

NOT_READ: Final = "not read"
"""The fault of a domain that a reading left out on purpose: nothing is known, and nothing went wrong."""

Fact = str | int | float | bool
Quality = Literal["good", "degraded", "below resolution", "invalid"]
"""``good``: within the stated interval. ``degraded``: a figure, with a doubt that the reason names.
``below resolution``: shorter than two ticks of the counter, bounds only. ``invalid``: no figure."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One thing that a sensor reads: a counter of energy, or a gauge of power to be integrated.

    Attributes:
        name: ``gpu:0``, ``package:0``, ``dram:0``, ``psys``, ``rail:VDD_IN`` ...
        kind: ``counter`` (raw counts of energy, ever rising) or ``gauge`` (raw counts of power).
        quantum: joules (counter) or watts (gauge) that one raw count stands for.
        counts: the counter starts again from 0 after this many counts; 0 if it never wraps.
        counted: whether the domain is part of the total. Domains that repeat or contain others
            (``psys``, ``core``, rails behind the input rail) are shown and not added.
        boundary: where the meter sits.
        peak_w: power that is surely never exceeded, for the time in which a counter could wrap; 0 unknown.
        gain: declared systematic error of the sensor, relative, as the half width of a 90 % interval.
        device: what it belongs to, for the states that a window is judged by (``gpu:0``, ``cpu``).
        source: how it is read, in words (``NVML total energy``, ``powercap intel-rapl:0``).
        note: why it is not counted, or what else a reader should know; "" for nothing.
        average_s: a gauge that shows the mean of this time before the reading, in seconds; 0 if it does not.
    """

    name: str
    kind: Literal["counter", "gauge"]
    quantum: float
    counts: int
    counted: bool
    boundary: Boundary
    peak_w: float
    gain: float
    device: str
    source: str
    note: str = ""
    average_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of all domains of a sensor, as near together as the machine allows.

    Attributes:
        begin_s: clock before the first domain was read.
        end_s: clock after the last one.
        counts: raw counts in the order of the sensor's domains; None where a domain could not be read.
        faults: why, in the order of the domains ("" where nothing failed); () if all were read. A poll of the
            slow counters alone leaves the others out: their fault is ``NOT_READ``.
        stamps_s: the sensor's own time of each value where it gives one, else (); any origin.
    """

    begin_s: float
    end_s: float
    counts: tuple[int | None, ...]
    faults: tuple[str, ...] = ()
    stamps_s: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device said of itself at one moment: clocks, temperature, throttling, who else uses it.

    Facts have plain names with units (``temperature_c``, ``sm_clock_hz``, ``throttle_reasons``); what the
    device does not answer is absent.
    """

    device: str
    at_s: float
    facts: dict[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the run: ``begin`` and ``end`` of the work, of ``idle`` before and after, an ``iteration``.

    ``name`` tells windows of one run apart (an epoch, a step, ``forward``); idle time called ``pause``
    lies between iterations. ``count`` is how many iterations ended here, too short to be marked one by one.
    """

    at_s: float
    kind: Literal["begin", "end", "idle_begin", "idle_end", "iteration"]
    name: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that was read in one run of a sensor, raw and in the order of time.

    Attributes:
        sensor: its name (``nvml``, ``rapl``, ...).
        domains: what each column of the reads is.
        reads: the readings.
        marks: what happened when.
        states: what the devices said of themselves.
        chosen: why this sensor: what was tried before it and what that answered.
        unread: devices that are there and whose joules are not in the trace, with the reason: a GPU whose
            driver refuses this user, beside a processor that could be read.
        environment: machine, versions, operating system, as provenance.
        delays_s: pauses that were put between iterations on purpose, against sampling in step.
        exit_code: of a measured command, else None.
    """

    sensor: str
    domains: tuple[Domain, ...]
    reads: tuple[Read, ...]
    marks: tuple[Mark, ...]
    states: tuple[DeviceState, ...] = ()
    chosen: tuple[str, ...] = ()
    environment: dict[str, Fact] = field(default_factory=dict)
    delays_s: tuple[float, ...] = ()
    exit_code: int | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainEnergy:
    """Joules of one domain in one window.

    Attributes:
        name, source, counted, boundary: of the domain.
        energy: joules with bounds; None where the window is invalid.
        quality, reason: how much to believe, and why not more ("" when good).
        tick_s: period in which the counter was seen to change; None if not found.
        ticks: whole ticks in the window.
        resolution_j: joules of one tick in this window, the step below which nothing can be told.
        begin_count, end_count: raw counts at the ends of the window.
    """

    name: str
    source: str
    counted: bool
    boundary: Boundary
    energy: Estimate | None
    quality: Quality
    reason: str
    tick_s: float | None
    ticks: int
    resolution_j: float
    begin_count: int | None
    end_count: int | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Joules of one window.

    Attributes:
        label: what was measured.
        sensor: which sensor answered.
        total: gross joules of the window, the sum of the counted domains; None where one is invalid.
        per_iteration: joules of one iteration, for work that was repeated.
        idle: joules that the machine would have spent idle in the same time; None if not measured.
        net: gross minus idle; may be negative within its interval.
        domains: each domain by itself.
        duration_s: from begin to end, in seconds.
        iterations: how often the work ran in it.
        quality, reasons: the worst of the counted domains, and every doubt.
        emissions_g: grams of CO2 equivalent, where a country was named.
        exit_code: of a measured command.
        states: the devices at the begin and end of the window.
        provenance: how it was measured: sensor and why, machine, versions.
    """

    label: str
    sensor: str
    total: Estimate | None
    per_iteration: Estimate | None
    idle: Estimate | None
    net: Estimate | None
    domains: tuple[DomainEnergy, ...]
    duration_s: float
    iterations: int
    quality: Quality
    reasons: tuple[str, ...] = ()
    emissions_g: Estimate | None = None
    exit_code: int | None = None
    states: tuple[DeviceState, ...] = ()
    provenance: dict[str, Fact] = field(default_factory=dict)
