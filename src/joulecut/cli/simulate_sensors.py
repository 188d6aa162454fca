"""``joulecut simulate-sensors``: RAPL counters that are files, to try measuring on any machine."""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from joulecut.cli.arguments import path_text, seconds, watts
from joulecut.cli.output import Output, check_folder

if TYPE_CHECKING:
    from joulecut.profiler.simulate.tree import SimulatedZone

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write a live powercap tree whose true joules are known, to try `measure` with"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "folder", metavar="DIR", type=path_text, help="an empty folder; give it to --powercap-root"
    )
    parser.add_argument(
        "--power", metavar="20W", type=watts, default=20.0, help="of the processor package (default 20W)"
    )
    parser.add_argument("--dram", metavar="3W", type=watts, default=3.0, help="of its DRAM (default 3W)")
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, default=math.inf, help="end by itself (default: at Ctrl-C)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Advance the counters until Ctrl-C, then say what was truly spent.

    Raises:
        OutputError: the folder is not empty or cannot be written.
    """
    from joulecut.profiler.clock import SystemClock
    from joulecut.profiler.simulate.tree import live_tree
    from joulecut.reports.doctor_console import print_simulated

    check_folder(args.folder, force=False)
    with live_tree(Path(args.folder), _zones(args.power, args.dram), SystemClock()) as tree:
        out.note(
            f"live in {args.folder}: {args.power + args.dram:g} J count for each second "
            f"({args.power:g} W package and {args.dram:g} W DRAM; psys is shown and not added)."
        )
        out.note(f"Try: joulecut measure --powercap-root {args.folder} -- sleep 5")
        out.note("Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            tree.run(args.seconds)
        truth = tree.truth()
    out.show(truth, print_simulated)
    return 0


def _zones(package_w: float, dram_w: float) -> tuple[SimulatedZone, ...]:
    """A desktop processor: psys holds the package, its DRAM and another 10 W of the board."""
    from joulecut.profiler.simulate.tree import SimulatedZone

    return (
        SimulatedZone("intel-rapl:0", "package-0", package_w),
        SimulatedZone("intel-rapl:0:0", "core", 0.6 * package_w),
        SimulatedZone("intel-rapl:0:1", "dram", dram_w),
        SimulatedZone("intel-rapl:1", "psys", package_w + dram_w + 10.0),
    )
