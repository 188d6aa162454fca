"""Power rails of NVIDIA Jetson boards: the INA3221 meters that the board carries, through hwmon.

A meter has three channels with a label, a voltage in millivolts and a current in milliamperes; their product
is the power in microwatts, as the chip last converted it, so it is integrated over time and not counted.
Older systems (Linux for Tegra up to release 32) offer milliwatts in ``in_power*_input`` instead.
Sources: Documentation/hwmon/ina3221.rst of Linux; for the rails, NVIDIA's Jetson Linux Developer Guide
(32.6.1 and 34.1, power and performance) as collected in energymon's JetsonPowerRails.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.clock import Clock
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.cpu_state import cpu_state
from joulecut.profiler.sensors.files import IntegerFiles, read_integer, read_text

__all__ = ["JetsonSensor", "Rail", "open_jetson", "read_rails"]

_INPUTS: Final = frozenset({"VDD_IN", "5V_IN", "POM_5V_IN", "VDD_MUX"})
"""Rails that feed the module and, beside it, the carrier board (VDD_MUX); every other rail is behind them."""
_BEHIND: Final = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails behind another one on boards without an input rail."""
_UNUSED: Final = frozenset({"", "NC"})
_CHANNELS: Final = (1, 2, 3)
"""Channels 4 to 7 of the driver are shunt voltages and a sum."""
_GAIN: Final = 0.05
"""Systematic error, assumed: the chip is good to 0.25 % (data sheet SBOS576), NVIDIA does not state the
shunts and their wiring."""


@dataclass(frozen=True, slots=True)
class Rail:
    """One channel of a meter.

    Attributes:
        label: the name of the rail, ``VDD_IN``.
        files: voltage (mV) and current (mA), or power (mW) alone.
    """

    label: str
    files: tuple[Path, ...]


class JetsonSensor:
    """The rails by kept descriptors; see ``open_jetson``."""

    name = "jetson"

    def __init__(self, clock: Clock, rails: Sequence[Rail], files: IntegerFiles, machine: Path) -> None:
        self.domains = tuple(_domain(rail, {each.label for each in rails}) for rail in rails)
        self._now_s = clock.now_s
        self._widths = [len(rail.files) for rail in rails]
        self._files = files
        self._machine = machine

    def read(self) -> Read:
        """The power of all rails now; the meter converts anew every few milliseconds."""
        begin_s = self._now_s()
        values, faults = self._files.read()
        end_s = self._now_s()
        counts: list[int | None] = []
        why: list[str] = []
        start = 0
        for width in self._widths:
            part = values[start : start + width]
            counts.append(_product(part))
            why.append(next(filter(None, faults[start : start + width]), ""))
            start += width
        return Read(begin_s, end_s, tuple(counts), tuple(why) if faults else ())

    def states(self) -> tuple[DeviceState, ...]:
        """The processor: see ``cpu_state.cpu_facts``."""
        return (cpu_state(self._now_s(), self._machine),)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def open_jetson(
    clock: Clock,
    *,
    root: Path = Path("/sys/class/hwmon"),
    old_root: Path = Path("/sys/bus/i2c/drivers/ina3221x"),
    machine: Path = Path("/"),
) -> JetsonSensor:
    """The power rails of a Jetson board.

    Args:
        clock: what the reads are stamped with.
        root: folder of the hwmon devices.
        old_root: folder of the driver of older systems, searched where ``root`` holds no meter.
        machine: root of the file system that holds ``proc`` and ``sys`` of the machine.

    Raises:
        SensorMissing: there is no INA3221 with a rail that it measures.
        SensorDenied: its files may not be read.
    """
    rails = tuple(read_rails(root)) or tuple(_old_rails(old_root))
    if not rails:
        raise SensorMissing(
            f"no INA3221 power meter in {root}.",
            hint="It takes a Jetson board with such a meter (the Nano 2GB has none) and JetPack's kernel.",
        )
    try:
        files = IntegerFiles([path for rail in rails for path in rail.files])
    except PermissionError as error:
        raise SensorDenied(
            f"the power meter {error.filename} may not be read.", hint=f"Try: sudo chmod a+r {error.filename}"
        ) from error
    except OSError as error:
        raise SensorMissing(
            f"the power meter {error.filename} cannot be opened: {error.strerror}."
        ) from error
    return JetsonSensor(clock, rails, files, machine)


def read_rails(root: Path) -> Iterator[Rail]:
    """The rails of all INA3221 below a folder of hwmon devices, in the order of its meters and channels."""
    for meter in sorted(root.glob("hwmon*")):
        if read_text(meter / "name").startswith("ina3221"):
            for channel in _CHANNELS:
                label = read_text(meter / f"in{channel}_label")
                files = (meter / f"in{channel}_input", meter / f"curr{channel}_input")
                is_on = read_integer(meter / f"in{channel}_enable") != 0
                if label not in _UNUSED and is_on and all(path.exists() for path in files):
                    yield Rail(label, files)


def _old_rails(root: Path) -> Iterator[Rail]:
    for path in sorted(root.glob("*/iio:device*/in_power*_input")):
        channel = path.name.removeprefix("in_power").removesuffix("_input")
        label = read_text(path.with_name(f"rail_name_{channel}"))
        if label not in _UNUSED:
            yield Rail(label, (path,))


def _product(values: Sequence[int | None]) -> int | None:
    power = 1
    for value in values:
        if value is None:
            return None
        power *= value
    return power


def _domain(rail: Rail, labels: set[str]) -> Domain:
    inputs = labels & _INPUTS
    above = "the input rail" if inputs else _BEHIND.get(rail.label, "")
    counted = rail.label in inputs or (not inputs and above not in labels)
    note = (
        ""
        if rail.label in inputs
        else "the board has no meter at its input: the total is the sum of its rails"
    )
    return Domain(
        name=f"rail:{rail.label}",
        kind="gauge",
        quantum=1e-3 if len(rail.files) == 1 else 1e-6,
        counts=0,
        counted=counted,
        boundary="board_dc" if rail.label in inputs else "soc_rail",
        peak_w=0.0,
        gain=_GAIN,
        device="cpu",
        source=f"hwmon {rail.files[0].parent.name}/{rail.files[0].name}",
        note=note if counted else f"behind {above}, which is counted",
    )
