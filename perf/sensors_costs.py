"""What one window costs each tool, and how long the import of its sensors takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from perf.sensors_cases import CPU_TOOLS, GPU_TOOLS, Case
from perf.sensors_machine import Machine
from perf.sensors_table import Verdict

WINDOWS = (300, 50)
IMPORTS = {
    "joulecut": "joulecut.profiler.sensors.choose, joulecut.profiler.measure",
    "zeus": "zeus.monitor",
    "pyrapl": "pyRAPL",
    "pyjoules": "pyJoules.energy_meter",
    "codecarbon": "codecarbon",
}
CLOCK = "import time, warnings; warnings.simplefilter('ignore'); began = time.process_time(); "
"""Seconds of the CPU, which a busy machine hardly changes."""
ZONES = Case(
    "window on 2 RAPL zones (package and DRAM)",
    "cpu",
    CPU_TOOLS,
    [(0.01, None)],
    (1, 1),
    tree=[
        ("intel-rapl:0", "package-0", {"watts": 20.0}),
        ("intel-rapl:0:0", "dram", {"watts": 3.0}),
    ],
    watts=23.0,
)
GPU = Case(
    "window on 1 GPU of the NVML stand-in",
    "gpu",
    GPU_TOOLS,
    [(0.01, None)],
    (1, 1),
    schedule=("gpu", "name Stub", "tick 0.1", "watts 100"),
)
BARS_S = {ZONES.name: (2, 10e-6, "RAPL zone"), GPU.name: (1, 25e-6, "GPU")}
IMPORT_BAR_S = 0.15


def print_costs(on: Machine, no_peers: dict[str, str], *, sample: bool) -> list[Verdict]:
    """Print the costs; the bars that they are about."""
    verdicts = [_windows(case, on, no_peers[case.on], WINDOWS[sample]) for case in (ZONES, GPU)]
    return [*verdicts, _imports(on.peers, no_peers["gpu"], 3 if sample else 9)]


def _windows(case: Case, on: Machine, no_peers: str, count: int) -> Verdict:
    answers: dict[str, dict[str, Any]] = {}
    for tool in case.tools:
        slow = tool in ("zeus", "codecarbon")
        skipped = {"refused": no_peers} if no_peers and tool != "joulecut" else None
        answers[tool] = skipped or on.run(replace(case), tool, 1, max(count // 10, 5) if slow else count)
    ours_s = answers["joulecut"].get("cost_s")
    print(f"\n{case.name}: begin and end with nothing between, medians of {count}")
    for tool, answer in answers.items():
        cost_s = answer.get("cost_s")
        if cost_s is None:
            print(f"  {tool:<12} not run: {answer.get('refused', '')}")
        else:
            ratio = f"{cost_s / ours_s:8.1f} x joulecut" if ours_s else ""
            print(f"  {tool:<12} {1e6 * cost_s:9.1f} us {ratio}")
    parts, bar_s, what = BARS_S[case.name]
    if ours_s is None:
        return Verdict(f"{case.name}: joulecut gave no answer", False)
    each_s = ours_s / parts
    return Verdict(f"a window costs {1e6 * each_s:.1f} us a {what}, bar {1e6 * bar_s:.0f} us", each_s < bar_s)


def _imports(peers: Path, no_peers: str, runs: int) -> Verdict:
    print(f"\nimport of the sensors' module, in a fresh interpreter: CPU seconds, medians of {runs}")
    medians: dict[str, float] = {}
    for tool, modules in IMPORTS.items():
        if tool != "joulecut" and no_peers:
            print(f"  {tool:<12} {no_peers}")
            continue
        python = sys.executable if tool == "joulecut" else str(peers)
        program = f"{CLOCK}import {modules}; print('took', time.process_time() - began)"
        took = [_took([python, "-c", program]) for _ in range(runs + 1)][1:]
        medians[tool] = statistics.median(took)
        ratio = medians[tool] / medians["joulecut"]
        print(f"  {tool:<12} {medians[tool]:6.3f} s {ratio:8.1f} x joulecut")
    import_s = medians["joulecut"]
    return Verdict(
        f"the import of the sensors takes {import_s:.3f} s of CPU, bar {IMPORT_BAR_S} s",
        import_s < IMPORT_BAR_S,
    )


def _took(command: list[str]) -> float:
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(next(line for line in shown.splitlines() if line.startswith("took")).split()[1])
