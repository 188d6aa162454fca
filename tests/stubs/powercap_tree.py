"""A powercap tree in a temporary folder, as the kernel lays it out, whose counters advance at stated watts.

    tree = PowercapTree(tmp_path)
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "dram", watts=3.0)
    with tree.live():                       # a thread that writes every 2 ms, on the machine's clock
        ...
    clock = TreeClock(tree)                 # or: time that passes only in sleep_s, for tests without waiting

Run as a program, the module is the same writer in a process of its own (``live_process``), for work that
keeps the interpreter busy. The files hold numbers of fixed width, so that no read is ever empty.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RANGE_UJ = 262143328850
"""2^32 - 1 counts of 61.035 uJ, what most Intel packages state."""
PERIOD_S = 0.002

Watts = float | Sequence[tuple[float, float]]
"""Constant, or steps of (seconds from the start of the clock, watts from then on), the first at 0."""


@dataclass(frozen=True)
class Counter:
    """One file ``energy_uj`` and what it should say."""

    path: Path
    steps: tuple[tuple[float, float], ...]
    start_uj: int
    range_uj: int

    def energy_j(self, at_s: float) -> float:
        """Joules since time 0, without any wrap: the truth to compare with."""
        ends = [start for start, _ in self.steps[1:]] + [float("inf")]
        spans = (
            (max(0.0, min(at_s, end) - start), watts)
            for (start, watts), end in zip(self.steps, ends, strict=True)
        )
        return sum(span * watts for span, watts in spans)

    def count(self, at_s: float) -> int:
        """What the file says at that time, in uJ, wrapped."""
        return (self.start_uj + round(1e6 * self.energy_j(at_s))) % (self.range_uj + 1)


def digits(count: int) -> bytes:
    """The bytes of a counter: fixed width, so that a reader never meets a truncated file."""
    return b"%018d\n" % count


class PowercapTree:
    """``root`` is what ``/sys/class/powercap`` is on a machine: links to zones that lie inside each other.

    ``clock_s`` is the time that the files show now, ``counters`` the truth by zone, and ``energy_j`` the
    joules of one zone between two times.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "class" / "powercap"
        self.root.mkdir(parents=True)
        self.devices = folder / "devices" / "virtual" / "powercap"
        self.counters: dict[str, Counter] = {}
        self.spoilt: set[str] = set()
        self.clock_s = 0.0

    def add(
        self,
        zone: str,
        name: str,
        *,
        watts: Watts = 0.0,
        range_uj: int = RANGE_UJ,
        start_uj: int | None = None,
        max_power_w: float | None = None,
        mirrors: str = "",
    ) -> Path:
        """A zone such as ``intel-rapl:0:1``; its parents come first. Returns its folder.

        Every zone starts at a count of its own, unless one is given. ``mirrors`` names a zone whose register
        it shows once more. ``max_power_w`` writes a long-term constraint.
        """
        kind, *numbers = zone.split(":")
        parts = [kind, *(":".join([kind, *numbers[: depth + 1]]) for depth in range(len(numbers)))]
        folder = self.devices.joinpath(*parts)
        folder.mkdir(parents=True)
        for link, target in ((self.root / kind, self.devices / kind), (self.root / zone, folder)):
            if not link.exists():
                link.symlink_to(target)
        if not (folder.parents[len(numbers) - 1] / "subsystem").exists():
            (folder.parents[len(numbers) - 1] / "subsystem").symlink_to(self.root)
        (folder / "name").write_text(f"{name}\n")
        (folder / "enabled").write_text("1\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        if max_power_w is not None:
            (folder / "constraint_0_name").write_text("long_term\n")
            (folder / "constraint_0_max_power_uw").write_text(f"{round(1e6 * max_power_w)}\n")
        if mirrors:
            other = self.counters[mirrors]
            counter = Counter(folder / "energy_uj", other.steps, other.start_uj, other.range_uj)
        else:
            steps = ((0.0, float(watts)),) if isinstance(watts, int | float) else tuple(watts)
            own_uj = (len(self.counters) + 1) * 7919 * 1013 if start_uj is None else start_uj
            counter = Counter(folder / "energy_uj", steps, own_uj % (range_uj + 1), range_uj)
        self.counters[zone] = counter
        counter.path.write_bytes(digits(counter.count(self.clock_s)))
        return folder

    def folder(self, zone: str) -> Path:
        """Where the files of a zone lie."""
        return self.counters[zone].path.parent

    def energy_j(self, zone: str, begin_s: float, end_s: float) -> float:
        """True joules of one zone between two times of the tree's clock."""
        return self.counters[zone].energy_j(end_s) - self.counters[zone].energy_j(begin_s)

    def set_time(self, at_s: float) -> None:
        """Let every counter that is not spoilt say what it says at that time."""
        self.clock_s = at_s
        with _writer(self._advancing()) as write:
            write(at_s)

    def spoil(self, zone: str, content: bytes) -> None:
        """From now on the file of a zone holds this, whatever the time: b"" or nonsense."""
        self.spoilt.add(zone)
        self.counters[zone].path.write_bytes(content)

    def break_reads(self, zone: str) -> None:
        """Reading the zone's file fails with EIO from now on, for whoever opens it after this.

        ``/proc/self/mem`` has nothing mapped at address 0 and says so with that error.
        """
        self.spoilt.add(zone)
        self.counters[zone].path.unlink()
        self.counters[zone].path.symlink_to("/proc/self/mem")

    def _advancing(self) -> list[Counter]:
        return [counter for zone, counter in self.counters.items() if zone not in self.spoilt]

    @contextmanager
    def live(self, period_s: float = PERIOD_S) -> Iterator[float]:
        """A thread advances the counters; gives the ``time.perf_counter()`` at which the tree's time is 0."""
        stop = threading.Event()
        zero_s = time.perf_counter() - self.clock_s

        def advance() -> None:
            with _writer(self._advancing()) as write:
                while not stop.wait(period_s):
                    write(time.perf_counter() - zero_s)

        thread = threading.Thread(target=advance, daemon=True)
        thread.start()
        try:
            yield zero_s
        finally:
            stop.set()
            thread.join()
            self.clock_s = time.perf_counter() - zero_s

    @contextmanager
    def live_process(self, period_s: float = PERIOD_S) -> Iterator[float]:
        """As ``live``, by a process of its own, which shares the machine's monotonic clock."""
        zero_s = time.perf_counter() - self.clock_s
        counters = [[str(c.path), c.steps, c.start_uj, c.range_uj] for c in self._advancing()]
        command = [sys.executable, __file__, json.dumps([zero_s, period_s, counters])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            try:
                yield zero_s
            finally:
                writer.terminate()
                self.clock_s = time.perf_counter() - zero_s


class TreeClock:
    """A clock whose time passes in ``sleep_s`` and by ``step_s`` for each look at it; the tree follows it.

    With ``tick_s`` the counters move in steps of that length, as a register does, and also between sleeps.
    """

    def __init__(self, tree: PowercapTree, step_s: float = 1e-6, tick_s: float = 0.0) -> None:
        self.tree = tree
        self.step_s = step_s
        self.tick_s = tick_s
        self.time_s = tree.clock_s
        self.calls: list[tuple[float, float, Callable[[], None]]] = []

    def now_s(self) -> float:
        """The time; looking at it takes ``step_s``."""
        self.time_s += self.step_s
        if self.tick_s and self.time_s >= self.tree.clock_s + self.tick_s:
            self._go(self.time_s)
        return self.time_s

    def sleep_s(self, duration_s: float) -> None:
        """Let time pass, calling on the way what is due."""
        end_s = self.time_s + duration_s
        while self.calls and min(self.calls, key=lambda call: call[0])[0] <= end_s:
            due_s, period_s, call = self.calls.pop(
                self.calls.index(min(self.calls, key=lambda each: each[0]))
            )
            self._go(due_s)
            self.calls.append((due_s + period_s, period_s, call))
            call()
        self._go(end_s)

    @contextmanager
    def every(self, period_s: float, call: Callable[[], None]) -> Iterator[None]:
        """Call something once a period of this clock while the context is open."""
        self.calls.append((self.time_s + period_s, period_s, call))
        yield
        self.calls = [each for each in self.calls if each[2] is not call]

    def _go(self, at_s: float) -> None:
        self.time_s = max(self.time_s, at_s)
        shown_s = self.time_s // self.tick_s * self.tick_s if self.tick_s else self.time_s
        if shown_s != self.tree.clock_s:
            self.tree.set_time(shown_s)


@contextmanager
def _writer(counters: Iterable[Counter]) -> Iterator[Callable[[float], None]]:
    """Keeps the files open and writes them for one time after the other."""
    open_files = [(os.open(counter.path, os.O_WRONLY), counter) for counter in counters]

    def write(at_s: float) -> None:
        for file, counter in open_files:
            os.pwrite(file, digits(counter.count(at_s)), 0)

    try:
        yield write
    finally:
        for file, _ in open_files:
            os.close(file)


def main(specification: str) -> None:
    """The writer as a process; it ends when it is terminated or its parent is gone."""
    zero_s, period_s, rows = json.loads(specification)
    counters = [
        Counter(Path(path), tuple(map(tuple, steps)), start, span) for path, steps, start, span in rows
    ]
    parent = os.getppid()
    with _writer(counters) as write:
        write(time.perf_counter() - zero_s)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while os.getppid() == parent:
            time.sleep(period_s)
            write(time.perf_counter() - zero_s)


if __name__ == "__main__":
    main(sys.argv[1])
