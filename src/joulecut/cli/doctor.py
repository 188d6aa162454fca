"""``joulecut doctor``: which sensors this machine has, and how to get at those that are denied."""

from __future__ import annotations

import argparse

from joulecut.cli.arguments import path_text, seconds
from joulecut.cli.output import Output
from joulecut.errors import SensorError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "find the energy sensors, and what grants access to those that are denied"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--powercap-root", metavar="DIR", type=path_text, help="powercap tree (default /sys/class/powercap)"
    )
    parser.add_argument(
        "--nvml-library", metavar="FILE", type=path_text, help="instead of the system's libnvidia-ml.so.1"
    )
    parser.add_argument(
        "--machine-root",
        metavar="DIR",
        type=path_text,
        help="where the machine's sys, proc and etc lie (default /)",
    )
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, default=2.0, help="longest watch of a sensor (default 2)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Try every sensor; exit code 4 where none can be used."""
    from joulecut import api
    from joulecut.reports.doctor_console import print_diagnosis

    with out.progress() as progress:
        diagnosis = api.doctor(
            powercap_root=args.powercap_root,
            nvml_library=args.nvml_library,
            machine_root=args.machine_root or "/",
            seconds=args.seconds,
            progress=progress,
        )
    out.show(diagnosis, print_diagnosis)
    return 0 if diagnosis.usable else SensorError.exit_code
