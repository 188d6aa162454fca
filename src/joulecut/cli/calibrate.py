"""``joulecut calibrate``: a device file of one's own from a few measured networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from joulecut.cli.arguments import path_text, watts
from joulecut.cli.output import Output, check_file

__all__ = ["HELP", "add_arguments", "run"]

HELP = "fit a device to 1 to 16 measured networks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "device", metavar="NAME|FILE", help="a device of the same kind, best of the same runtime: the prior"
    )
    parser.add_argument(
        "rows",
        metavar="ROWS",
        nargs="+",
        type=path_text,
        help="measured profiles (.json), or tables (.csv) with the columns model, input, energy, latency",
    )
    parser.add_argument(
        "--power",
        metavar="WATTS",
        type=watts,
        help="mean power while a network runs, for rows without joules",
    )
    parser.add_argument("--name", metavar="CHIP", help="name of the board; the prior's by default")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=path_text, help="write the device file (.toml)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Calibrate a device.

    Raises:
        UsageError: rows that cannot be read or fitted to, or an output that cannot be written.
        UnknownDevice: no device of that name.
    """
    check_file(args.output)

    from joulecut import api
    from joulecut.hw_models.catalogue import describe
    from joulecut.reports.device_console import print_device

    device = api.calibrate(api.device(args.device), args.rows, power_w=args.power, chip=args.name)
    if args.output is not None:
        api.save(device, Path(args.output))
        out.note(f"wrote {args.output}; use it with --device {args.output}")
    out.show(describe(device), print_device)
    return 0
