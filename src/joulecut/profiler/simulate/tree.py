"""A powercap tree of files whose counters advance at stated watts, to try a measurement dry."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulecut.errors import OutputError
from joulecut.estimate import Estimate, exact
from joulecut.profiler.clock import Clock

__all__ = ["LiveTree", "SimulatedRun", "SimulatedZone", "TrueEnergy", "live_tree"]

_RANGE_UJ: Final = 262143328850
"""2**32 counts of 61.035 uJ, as most Intel packages say."""
_DIGITS: Final = 18
"""Counters have a fixed width, so that a reader never meets a file that is half written."""


@dataclass(frozen=True, slots=True)
class SimulatedZone:
    """One zone of the tree.

    Attributes:
        identity: name of its folder, ``intel-rapl:0:0`` for a zone inside ``intel-rapl:0``.
        name: what its file ``name`` says: ``package-0``, ``dram``, ``psys``.
        power_w: how fast its counter advances.
    """

    identity: str
    name: str
    power_w: float

    def folder(self, root: Path) -> Path:
        """Where its files lie: zones lie inside their parents."""
        kind, first, *more = self.identity.split(":")
        steps = [
            f"{kind}:{first}",
            *(f"{kind}:{':'.join([first, *more[: n + 1]])}" for n in range(len(more))),
        ]
        return root.joinpath(*steps)


@dataclass(frozen=True, slots=True)
class TrueEnergy:
    """What one zone truly spent: its watts times the time."""

    identity: str
    name: str
    power_w: float
    energy: Estimate


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """How long a tree was live, and the joules that a measurement of all that time would find."""

    root: str
    duration_s: float
    zones: tuple[TrueEnergy, ...]


class LiveTree:
    """The open counters of a tree; made by ``live_tree``."""

    def __init__(self, root: Path, zones: Sequence[SimulatedZone], clock: Clock) -> None:
        self._root = root
        self._zones = tuple(zones)
        self._clock = clock
        self._files = [os.open(zone.folder(root) / "energy_uj", os.O_WRONLY) for zone in zones]
        self._begin_s = clock.now_s()

    def run(self, seconds: float = math.inf, *, tick_s: float = 0.001) -> None:
        """Advance the counters every ``tick_s`` until the time is over."""
        while (left_s := self._begin_s + seconds - self._clock.now_s()) > 0:
            self._clock.sleep_s(min(tick_s, left_s))
            self._advance(self._clock.now_s() - self._begin_s)

    def truth(self) -> SimulatedRun:
        """The joules up to now."""
        duration_s = self._clock.now_s() - self._begin_s
        zones = tuple(
            TrueEnergy(
                zone.identity,
                zone.name,
                zone.power_w,
                exact(zone.power_w * duration_s, "J", "assumed", "stated watts x time"),
            )
            for zone in self._zones
        )
        return SimulatedRun(str(self._root), duration_s, zones)

    def close(self) -> None:
        """Close the counters."""
        for file in self._files:
            os.close(file)
        self._files = []

    def _advance(self, elapsed_s: float) -> None:
        for file, zone in zip(self._files, self._zones, strict=True):
            count = round(1e6 * zone.power_w * elapsed_s) % (_RANGE_UJ + 1)
            os.pwrite(file, f"{count:0{_DIGITS}d}\n".encode(), 0)


@contextmanager
def live_tree(root: Path, zones: Sequence[SimulatedZone], clock: Clock) -> Iterator[LiveTree]:
    """Write a tree, and take it away again at the end: a counter that stands still would mislead.

    Args:
        root: a folder that is empty, or does not exist yet; what ``--powercap-root`` is given.
        zones: parents before their children.
        clock: whose time passes.

    Raises:
        OutputError: the folder cannot be written.
    """
    files = {"name": "", "enabled": "1", "max_energy_range_uj": str(_RANGE_UJ), "energy_uj": "0" * _DIGITS}
    try:
        for zone in zones:
            zone.folder(root).mkdir(parents=True)
            for file, content in (files | {"name": zone.name}).items():
                (zone.folder(root) / file).write_text(f"{content}\n", encoding="ascii")
    except OSError as error:
        raise OutputError(f"cannot write {root}: {error.strerror}.", hint="Name an empty folder.") from error
    tree = LiveTree(root, zones, clock)
    try:
        yield tree
    finally:
        tree.close()
        with contextlib.suppress(OSError):  # what another program put there stays
            for zone in reversed(zones):
                for file in files:
                    (zone.folder(root) / file).unlink(missing_ok=True)
                zone.folder(root).rmdir()
