"""``joulecut replay``: a recorded measurement, evaluated again."""

from __future__ import annotations

import argparse

from joulecut.cli.arguments import path_text
from joulecut.cli.measure import add_place, show, with_emissions
from joulecut.cli.output import Output, check_file

__all__ = ["HELP", "add_arguments", "run"]

HELP = "the joules of a run that `measure --record` saved, byte for byte as then"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", type=path_text, help="what `measure --record` saved")
    add_place(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=path_text, help="save the measurement")


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the joules as ``measure`` did."""
    from joulecut.profiler.evaluate import evaluate
    from joulecut.profiler.recording import load_trace

    check_file(args.output)
    show(with_emissions(evaluate(load_trace(args.file)), args.country, args.region), args.output, out)
    return 0
