"""Settings of simulated sensors: how a meter shows the joules of its loads, and what goes wrong when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from joulecut.hw_models.profile import Boundary
from joulecut.profiler.records import Domain, Fact

__all__ = ["Fault", "FaultKind", "Meter", "energy_counter", "power_gauge"]

FaultKind = Literal["missing", "denied", "lost", "stuck", "reset", "throttle", "mig", "shared", "state"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with a simulated sensor.

    Attributes:
        kind: ``missing`` and ``denied`` (from the start: opening fails; later: reads fail), ``lost`` (reads
            fail), ``stuck`` (the counter stands still), ``reset`` (it starts again from 0 at ``at_s``);
            ``throttle``, ``mig``, ``shared`` and ``state`` change what the device says of itself.
        at_s: from when on.
        until_s: until when; a ``reset`` is a moment and needs none.
        domain: the domain that it hits; "" for all.
        facts: with ``state``, what the device says.
    """

    kind: FaultKind
    at_s: float = 0.0
    until_s: float = math.inf
    domain: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(get_args(FaultKind))}")

    def active(self, at_s: float, domain: str = "") -> bool:
        """Whether it acts at that time on that domain ("" asks for the whole sensor)."""
        return self.at_s <= at_s < self.until_s and (not domain or self.domain in ("", domain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How one domain of a simulated sensor shows the joules of its loads.

    Attributes:
        domain: what it is.
        loads: the loads that it sees together.
        tick_s: period in which the shown value changes; 0: always current.
        jitter_s: how far a tick may be early or late, at most; under half a tick.
        phase_s: time of the first tick; None: drawn from the seed.
        duty: share of each tick, at its end, in which power is looked at; the rest is taken to be alike.
        noise: standard deviation of each tick's joules, relative.
        gain_error: how much too high it reads, relative.
        window_s: a gauge shows the mean power of this time before its tick; 0: of the tick itself.
        first_count: what a counter shows at time 0.
    """

    domain: Domain
    loads: tuple[str, ...]
    tick_s: float = 0.0
    jitter_s: float = 0.0
    phase_s: float | None = None
    duty: float = 1.0
    noise: float = 0.0
    gain_error: float = 0.0
    window_s: float = 0.0
    first_count: int = 0

    def __post_init__(self) -> None:
        if not (self.tick_s >= 0 and 0 <= 2 * self.jitter_s <= self.tick_s):
            raise ValueError("a meter needs tick_s >= 0 and a jitter_s of at most half a tick")
        if not (0 < self.duty <= 1 and self.noise >= 0 and self.window_s >= 0 and self.domain.quantum > 0):
            raise ValueError("a meter needs 0 < duty <= 1, noise >= 0, window_s >= 0 and a positive quantum")
        if self.tick_s == 0 and (self.duty < 1 or self.noise > 0):
            raise ValueError("duty and noise are per tick: a meter with them needs a tick_s")
        if self.domain.kind == "gauge" and self.tick_s == 0 and self.window_s == 0:
            raise ValueError("a gauge needs a tick_s or a window_s to take the mean over")


def energy_counter(
    name: str,
    *loads: str,
    tick_s: float,
    quantum_j: float = 61.03515625e-6,
    counts: int = 2**32,
    counted: bool = True,
    boundary: Boundary = "cpu_package",
    jitter_s: float = 0.0,
    phase_s: float | None = None,
    duty: float = 1.0,
    noise: float = 0.0,
    gain_error: float = 0.0,
    first_count: int = 0,
    peak_w: float = 1000.0,
) -> Meter:
    """A counter of energy.

    By default it counts as RAPL does, in 2**-14 J and 32 bits; NVML's total energy is ``quantum_j=1e-3``,
    ``counts=0``, ``boundary="board_dc"`` with a tick of 20 to 100 ms.

    >>> energy_counter("gpu:0", "gpu:0", tick_s=0.1, quantum_j=1e-3, counts=0).domain.source
    'simulated counter'
    """
    domain = Domain(
        name=name,
        kind="counter",
        quantum=quantum_j,
        counts=counts,
        counted=counted,
        boundary=boundary,
        peak_w=peak_w,
        gain=abs(gain_error),
        device=loads[0],
        source="simulated counter",
    )
    return Meter(
        domain=domain,
        loads=loads,
        tick_s=tick_s,
        jitter_s=jitter_s,
        phase_s=phase_s,
        duty=duty,
        noise=noise,
        gain_error=gain_error,
        first_count=first_count,
    )


def power_gauge(
    name: str,
    *loads: str,
    tick_s: float,
    window_s: float = 0.0,
    quantum_w: float = 1e-3,
    counted: bool = True,
    boundary: Boundary = "board_dc",
    noise: float = 0.0,
    gain_error: float = 0.0,
) -> Meter:
    """A gauge of power: the mean of each tick, or of ``window_s`` before it (1 s on newer GPUs)."""
    domain = Domain(
        name=name,
        kind="gauge",
        quantum=quantum_w,
        counts=0,
        counted=counted,
        boundary=boundary,
        peak_w=0.0,
        gain=abs(gain_error),
        device=loads[0],
        source="simulated gauge",
        average_s=window_s,
    )
    return Meter(
        domain=domain,
        loads=loads,
        tick_s=tick_s,
        window_s=window_s,
        noise=noise,
        gain_error=gain_error,
    )
