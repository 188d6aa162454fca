"""``joulecut battery``: how long a battery lasts that feeds a network."""

from __future__ import annotations

import argparse

from joulecut.cli.arguments import path_text
from joulecut.cli.output import Output, check_file

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say how often and how long a network runs on one charge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "profile", metavar="PROFILE", type=path_text, help="a profile saved with `joulecut profile -o`"
    )
    parser.add_argument(
        "--capacity", metavar="2400mWh", required=True, help="of the battery; or as '1200 mAh x 3.7 V'"
    )
    parser.add_argument(
        "--every", metavar="10s|360/h", help="how often it runs (default: one inference after the other)"
    )
    parser.add_argument("--sleep", metavar="5uW", default="0 W", help="power in between (default: none)")
    parser.add_argument(
        "--self-discharge",
        metavar="2%",
        default="0%",
        help="what the battery loses by itself in a month (default: nothing)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=path_text, help="save the result as JSON")


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the life of a battery.

    Raises:
        UsageError: the file is no profile, its joules are counted at the wall, or a figure makes no sense.
    """
    check_file(args.output)

    from joulecut import api
    from joulecut.reports.battery_console import print_battery

    life = api.battery(
        args.profile,
        args.capacity,
        every=args.every,
        sleep=args.sleep,
        self_discharge=args.self_discharge,
    )
    if args.output is not None:
        api.save(life, args.output)
        out.note(f"saved {args.output}")
    out.show(life, print_battery)
    return 0
