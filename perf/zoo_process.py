"""One network in a process of its own, with a limit on CPU time; results as lines of JSON."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf.zoo_networks import Network

__all__ = ["Result", "limit_cpu", "peak_rss_bytes", "read_results", "run_alone", "store"]

Result = dict[str, Any]
"""What one side did with one network; JSON types only."""

WALL_PER_CPU = 6
"""A process may take this much longer than its CPU time on a busy machine before it counts as stuck."""
OUT_OF_TIME = (-24, -9)
"""Exit codes of a process that passed its limit of CPU time: SIGXCPU, then SIGKILL."""


def run_alone(module: str, arguments: Sequence[str], limit_s: float) -> Result:
    """Run ``python -m module arguments`` and return the JSON object on its last line of output.

    A process that ends in another way returns ``{"verdict": "no end" | "crash", "reason": ...}``.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments, "--limit", f"{limit_s:g}"]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s * WALL_PER_CPU,
            env=os.environ | one_thread,
        )
    except subprocess.TimeoutExpired:
        return {"verdict": "no end", "reason": f"no end within {limit_s * WALL_PER_CPU:g} s"}
    if done.returncode in OUT_OF_TIME:
        return {"verdict": "no end", "reason": f"no end within {limit_s:g} s of CPU time"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"verdict": "crash", "reason": said[:300]}
    found: Result = json.loads(lines[-1])
    return found


def limit_cpu(seconds: float) -> None:
    """End this process when it has used so much CPU time."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))


def peak_rss_bytes() -> int:
    """The most memory that this process has held (Linux counts it in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def read_results(file: Path) -> dict[Network, Result]:
    """The last result of each network; empty where there is no file yet."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {Network(result["name"], result["side"]): result for result in map(json.loads, lines)}


def store(file: Path, result: Result) -> None:
    """Add a result to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(result) + "\n")
