"""The powercap tree: which zones there are, what they are called and how far their counters go.

The kernel lists control types (``intel-rapl``, ``intel-rapl-mmio``), zones (``intel-rapl:0``, called
``package-0``) and the zones inside them (``intel-rapl:0:1``, called ``dram``). The order differs between
machines, so the ``name`` file says what a zone is: ``intel-rapl:1`` is the second socket on one machine and
the whole platform (``psys``) on another. AMD processors appear under ``intel-rapl`` too.
Source: Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_common.c of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulecut.profiler.sensors.files import read_integer, read_text

__all__ = ["Zone", "read_zones"]

_KINDS: Final = ("intel-rapl", "intel-rapl-mmio")
_IDENTITY: Final = re.compile(r"(?P<kind>intel-rapl(?:-mmio)?)(?P<numbers>(?::\d+)+)")
_PLACE: Final = re.compile(r"package-(?P<place>\d+(?:-die-\d+)?)")
_PLATFORM: Final = re.compile(r"psys(?:-(?P<place>\d+))?")


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of the tree.

    Attributes:
        identity: name of its folder, ``intel-rapl:0:1``.
        folder: where its files lie.
        kind: ``intel-rapl`` (registers of the processor) or ``intel-rapl-mmio`` (the same by another path).
        part: ``package``, ``psys``, ``core``, ``uncore``, ``dram``, or another name that the kernel
            gives; "" where it gives none.
        place: number of the socket, with its die where the kernel names one: ``0``, ``0-die-1``; "" unknown.
        range_uj: the highest count before the counter starts again from 0; None where it is not told.
        limit_w: the highest power limit that the zone states; 0 where it states none.
    """

    identity: str
    folder: Path
    kind: str
    part: str
    place: str
    range_uj: int | None
    limit_w: float

    @property
    def domain(self) -> str:
        """How the zone is called in a measurement: ``package:0``, ``dram:0-die-1``, ``psys``."""
        name = f"{self.part}:{self.place}" if self.place else self.part
        return f"mmio/{name}" if self.kind == "intel-rapl-mmio" else name


def read_zones(root: Path) -> tuple[Zone, ...]:
    """The zones below a folder, each once, parents before their children.

    Args:
        root: ``/sys/class/powercap``, which links to all zones, or ``/sys/devices/virtual/powercap``, where
            they lie inside each other (a container can be given either under any other path).
    """
    folders: dict[str, Path] = {}
    for folder in _folders(root, ""):
        folders.setdefault(folder.name, folder)
    zones: dict[str, Zone] = {}
    for identity in sorted(folders, key=_order):
        above = zones.get(identity.rpartition(":")[0])
        zones[identity] = _zone(identity, folders[identity], above)
    return tuple(zones.values())


def _folders(folder: Path, above: str) -> Iterator[Path]:
    """Every folder of a zone below this one; a zone holds only its own children."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        is_zone = bool(_IDENTITY.fullmatch(entry.name)) and entry.name.startswith(above)
        if is_zone and entry.is_dir():
            yield entry
        if is_zone or (not above and entry.name in _KINDS):
            yield from _folders(entry, f"{entry.name}:")


def _order(identity: str) -> tuple[str, tuple[int, ...]]:
    kind, *numbers = identity.split(":")
    return kind, tuple(map(int, numbers))


def _zone(identity: str, folder: Path, above: Zone | None) -> Zone:
    name = read_text(folder / "name")
    part, place = name, above.place if above else ""
    if package := _PLACE.fullmatch(name):
        part, place = "package", package["place"]
    elif platform := _PLATFORM.fullmatch(name):
        part, place = "psys", platform["place"] or ""
    limits_uw = [read_integer(path) or 0 for path in folder.glob("constraint_*_uw")]
    return Zone(
        identity=identity,
        folder=folder,
        kind=identity.partition(":")[0],
        part=part,
        place=place,
        range_uj=read_integer(folder / "max_energy_range_uj"),
        limit_w=max(limits_uw, default=0) / 1e6,
    )
