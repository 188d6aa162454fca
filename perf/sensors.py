"""joulecut beside Zeus, pyRAPL, pyJoules and codecarbon on counters whose true joules are known.

python -m perf.sensors [--sample] [--peers PYTHON] [CASE ...]

The peers run unmodified, in an environment of their own (`make perf-env`), on the same stand-in for NVIDIA's
library and the same powercap trees as joulecut, one tool after the other. They know no other place than
/sys/class/powercap, so that their trees are mounted there in a mount namespace, which needs root; joulecut
takes the folder as a parameter. CASE is a part of a case's name.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from perf.sensors_cases import Case, find
from perf.sensors_costs import print_costs
from perf.sensors_machine import Machine, machine, why_no_namespace
from perf.sensors_simulated import print_simulated
from perf.sensors_table import Verdict, print_case

PRIORITY = -15
PEERS = Path(__file__).parents[1] / ".venv-perf" / "bin" / "python"


def answers(case: Case, on: Machine, *, sample: bool, no_peers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What every tool says of a case."""
    found: dict[str, dict[str, Any]] = {}
    for tool in case.tools:
        repeated = bool(case.repeat_s) and tool != "joulecut"
        windows = case.windows[sample]
        why = no_peers.get(case.on, "")
        if tool != "joulecut" and why:
            found[tool] = {"refused": why}
        else:
            found[tool] = on.run(case, tool, max(windows // 2, 1) if repeated else windows)
    return found


def hurry() -> str:
    """Ask for a high priority, which every tool and every stand-in inherits; what came of it."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        return "at the usual priority (a higher one needs root): other programs may delay readings and loads"
    return f"at priority {PRIORITY}, all tools alike"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", metavar="CASE", nargs="*")
    parser.add_argument("--sample", action="store_true", help="few windows, for a first look")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has the peers")
    args = parser.parse_args()
    print(f"{hurry()}; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    absent = "" if args.peers.exists() else f"not run: no {args.peers} (`make perf-env` makes it)"
    rooted = why_no_namespace()
    no_peers = {"gpu": absent, "cpu": absent or (rooted and f"not run: needs root ({rooted})")}
    verdicts: list[Verdict] = []
    with machine(args.peers) as on:
        for case in find(args.cases):
            found = answers(case, on, sample=args.sample, no_peers=no_peers)
            verdicts += print_case(case, found)
        if not args.cases:
            verdicts += print_simulated()
            verdicts += print_costs(on, no_peers, sample=args.sample)
    print("\nBars")
    for verdict in verdicts:
        print(f"  {'met   ' if verdict.met else 'MISSED'} {verdict.says}")
    sys.exit(not all(verdict.met for verdict in verdicts))


if __name__ == "__main__":
    main()
