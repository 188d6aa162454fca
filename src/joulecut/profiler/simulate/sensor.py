"""``SimulatedSensor``: meters over the loads of a world, behind the protocol that real sensors follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.records import DeviceState, Domain, Fact, Read
from joulecut.profiler.simulate.meters import Fault, FaultKind, Meter
from joulecut.profiler.simulate.shown import Shown
from joulecut.profiler.simulate.world import World

__all__ = ["SimulatedSensor"]

_FAILING: Final[dict[FaultKind, str]] = {
    "missing": "no such counter",
    "denied": "permission denied",
    "lost": "the device is lost",
}
_STATES: Final[dict[FaultKind, dict[str, Fact]]] = {
    "throttle": {"throttle_reasons": "software thermal slowdown"},
    "mig": {"mig": True},
    "shared": {"other_processes": "4242"},
}


class SimulatedSensor:
    """A sensor whose truth is known: ``world.energy_j`` of the loads that its meters see.

    A read takes ``read_s`` of simulated time for each meter, and shows each as it was in the middle of that.

    Args:
        world: the machine that it belongs to.
        meters: its domains, in order.
        faults: what goes wrong, and when.
        read_s: how long the reading of one meter takes.
        name: what it calls itself.

    Raises:
        SensorMissing, SensorDenied: a fault of that kind that hits the whole sensor is active at once.
    """

    def __init__(
        self,
        world: World,
        meters: Sequence[Meter],
        *,
        faults: Sequence[Fault] = (),
        read_s: float = 5e-6,
        name: str = "simulated",
    ) -> None:
        for fault in faults:
            if fault.active(world.now_s()) and not fault.domain:
                _refuse(fault)
        self._world = world
        self._meters = tuple(meters)
        self._faults = tuple(faults)
        self._read_s = read_s
        self._name = name
        self._domains = tuple(meter.domain for meter in meters)
        self._shown = tuple(Shown(meter, world, faults) for meter in meters)

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self._name

    @property
    def domains(self) -> tuple[Domain, ...]:
        """What each column of a read is."""
        return self._domains

    def read(self) -> Read:
        """All meters now, one after the other."""
        begin_s = self._world.now_s()
        counts: list[int | None] = []
        faults: list[str] = []
        for domain, shown in zip(self._domains, self._shown, strict=True):
            self._world.sleep_s(self._read_s / 2)
            at_s = self._world.now_s()
            failing = [f for f in self._faults if f.kind in _FAILING and f.active(at_s, domain.name)]
            faults.append(_FAILING[failing[0].kind] if failing else "")
            counts.append(None if failing else shown.count(at_s))
            self._world.sleep_s(self._read_s / 2)
        return Read(begin_s, self._world.now_s(), tuple(counts), tuple(faults) if any(faults) else ())

    def states(self) -> tuple[DeviceState, ...]:
        """What each device says of itself now: its temperature, and what the faults add."""
        now_s = self._world.now_s()
        said: dict[str, dict[str, Fact]] = {}
        for meter in self._meters:
            facts = said.setdefault(meter.domain.device, _temperature(self._world, meter))
            for fault in self._faults:
                if fault.active(now_s, meter.domain.name):
                    facts.update(_STATES.get(fault.kind, {}) | dict(fault.facts))
        return tuple(DeviceState(device, now_s, facts) for device, facts in said.items())

    def close(self) -> None:
        """Nothing is held."""


def _refuse(fault: Fault) -> None:
    if fault.kind == "denied":
        raise SensorDenied("the simulated sensor may not be read.", hint="Take the fault `denied` away.")
    if fault.kind == "missing":
        raise SensorMissing("the simulated machine has no sensor.", hint="Take the fault `missing` away.")


def _temperature(world: World, meter: Meter) -> dict[str, Fact]:
    """From 35 to 75 degrees, an assumption: it only shows that a device warms."""
    return {"temperature_c": round(35 + 40 * world.warmth(meter.loads[0]), 1)}
