"""``joulecut bench``: networks against each other in onnxruntime."""

from __future__ import annotations

import argparse

from joulecut.cli.arguments import positive_count, seconds, share
from joulecut.cli.output import Output

__all__ = ["HELP", "add_arguments", "run"]

HELP = "latency of .onnx files in onnxruntime, each against the first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a .onnx file; the first one is what others are compared to"
    )
    parser.add_argument(
        "--threads", metavar="N", type=positive_count, default=1, help="of onnxruntime (default 1)"
    )
    parser.add_argument(
        "--margin",
        metavar="SHARE",
        type=share,
        default=0.02,
        help="a difference that does not matter (default 2%%)",
    )
    parser.add_argument(
        "--max-seconds", metavar="S", type=seconds, default=30.0, help="longest time to measure (default 30)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Measure, and print the quantiles and the paired ratios."""
    from joulecut import api
    from joulecut.reports.console import print_comparison

    with out.progress() as progress:
        comparison = api.benchmark(
            *args.files,
            margin=args.margin,
            threads=args.threads,
            max_seconds=args.max_seconds,
            progress=progress,
        )
    out.show(comparison, print_comparison)
    return 0
