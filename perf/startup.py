"""How fast the command line answers, beside a bare interpreter: medians, and the ratio in one run.

python -m perf.startup [--runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import joulecut": ["-c", "import joulecut"],
    "joulecut --help": ["-m", "joulecut", "--help"],
    "joulecut devices": ["-m", "joulecut", "devices"],
}


def once(arguments: list[str]) -> float:
    """Wall-clock seconds of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):  # in turns, so that a busy minute hits all alike; the first round warms up
        for name, arguments in COMMANDS.items():
            seconds[name].append(once(arguments))
    floor = statistics.median(seconds["python -c pass"][1:])
    for name, measured in seconds.items():
        middle = statistics.median(measured[1:])
        print(f"{name:18} {1000 * middle:6.0f} ms  {middle / floor:5.2f} x a bare interpreter")


if __name__ == "__main__":
    main()
