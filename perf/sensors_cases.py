"""The machines that perf.sensors measures on: powercap trees and NVML schedules whose joules are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Step = tuple[float, float | None]
"""A stretch of work: seconds, and the watts of the GPU in it (None: as they are)."""
CPU_TOOLS = ("joulecut", "zeus", "pyrapl", "pyjoules", "codecarbon")
GPU_TOOLS = ("joulecut", "zeus", "pyjoules", "codecarbon")


@dataclass(frozen=True)
class Case:
    """One machine, one load, and how it is measured.

    Attributes:
        name: a title.
        on: what is measured.
        tools: who measures.
        steps: one iteration of the load.
        calls: iterations in a window of a block.
        windows: how many windows, and in a first look (``--sample``).
        tree: on a CPU, the zones: identity, name, and what ``PowercapTree.add`` takes besides.
        watts: on a CPU, the true power of packages and DRAM together.
        sockets: of each CPU, where it matters; () leaves the machine's own.
        schedule: on a GPU, lines for the NVML stand-in.
        nvidia_smi: whether the program ``nvidia-smi`` is there.
        repeat_s: joulecut repeats the iteration for this long instead of measuring a block; 0: a block.
        bar: the largest relative error allowed for 95 % of joulecut's windows; 0: no bar on the error.
    """

    name: str
    on: Literal["cpu", "gpu"]
    tools: Sequence[str]
    steps: Sequence[Step]
    windows: tuple[int, int]
    calls: int = 1
    tree: Sequence[tuple[str, str, dict[str, Any]]] = ()
    watts: float = 0.0
    sockets: Sequence[int] = ()
    schedule: Sequence[str] = ()
    nvidia_smi: bool = True
    repeat_s: float = 0.0
    bar: float = 0.0


def _cpu(name: str, watts: float, tree: Sequence[tuple[str, str, dict[str, Any]]], **more: Any) -> Case:
    return Case(name, "cpu", CPU_TOOLS, [(0.5, None)], (20, 4), tree=tree, watts=watts, **more)


def _gpu(name: str, steps: Sequence[Step], windows: tuple[int, int], *lines: str, **more: Any) -> Case:
    tools = more.pop("tools", GPU_TOOLS)
    return Case(name, "gpu", tools, steps, windows, schedule=("gpu", "name Stub", "tick 0.1", *lines), **more)


def cases() -> tuple[Case, ...]:
    """All of them."""
    return (
        _cpu(
            "psys beside the package",
            23.0,
            [
                ("intel-rapl:0", "package-0", {"watts": 20.0}),
                ("intel-rapl:0:0", "core", {"watts": 12.0}),
                ("intel-rapl:0:1", "dram", {"watts": 3.0}),
                ("intel-rapl:1", "psys", {"watts": 40.0}),
            ],
        ),
        Case(
            "wraps once a second",
            "cpu",
            CPU_TOOLS,
            [(0.25, None)],
            (80, 10),
            tree=[
                ("intel-rapl:0", "package-0", {"watts": 20.0, "range_uj": 20_000_000, "max_power_w": 25.0})
            ],
            watts=20.0,
        ),
        _cpu(
            "dies that mirror one counter",
            68.0,
            [
                ("intel-rapl:0", "package-0-die-0", {"watts": 68.0}),
                ("intel-rapl:1", "package-0-die-1", {"mirrors": "intel-rapl:0"}),
            ],
        ),
        _cpu(
            "DRAM under the second package",
            38.0,
            [
                ("intel-rapl:0", "package-0", {"watts": 20.0}),
                ("intel-rapl:1", "package-1", {"watts": 15.0}),
                ("intel-rapl:1:0", "dram", {"watts": 3.0}),
            ],
            sockets=(0, 1),
        ),
        _gpu(
            "30 ms blocks on ticks of 100 ms",
            [(0.03, None)],
            (60, 10),
            "watts 100",
            tools=("joulecut", "zeus", "zeus approx", "pyjoules", "codecarbon"),
        ),
        *(
            _gpu(
                f"{1e3 * sum(step[0] for step in steps):g} ms calls, repeated for {seconds} s",
                steps,
                (50, 6),
                "watts 40",
                tools=("joulecut",),
                repeat_s=seconds,
                bar=bar,
            )
            for seconds, bar in ((2.0, 0.005), (0.6, 0.04))
            for steps in ([(0.02, 130.0), (0.01, 40.0)], [(0.001, 130.0), (0.0005, 40.0)])
        ),
        _gpu("no program nvidia-smi", [(2.0, None)], (5, 2), "watts 100", nvidia_smi=False),
        _gpu("a counter that stands still", [(1.0, None)], (5, 2), "watts 100", "at 0.05 stuck 1"),
        _gpu(
            "a counter that is reset every 2.5 s",
            [(1.0, None)],
            (20, 6),
            "watts 100",
            *(f"at {2.5 * k} reset 1" for k in range(1, 40)),
        ),
        _gpu(
            "part-time sampling, a load in step with it",
            [(0.05, 300.0), (0.05, 100.0)],
            (5, 1),
            "watts 100",
            "duty 0.25",
            calls=100,
            repeat_s=10.0,
            bar=0.02,
        ),
    )


def find(words: Sequence[str], among: Callable[[], tuple[Case, ...]] = cases) -> tuple[Case, ...]:
    """The cases whose names hold one of the words; all of them without words."""
    return tuple(case for case in among() if not words or any(word in case.name for word in words))
