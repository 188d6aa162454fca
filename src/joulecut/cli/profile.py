"""``joulecut profile``: joules of a network, layer by layer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from joulecut.cli.arguments import path_text, positive_count
from joulecut.cli.output import Output, check_file
from joulecut.errors import UsageError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "joules of a network, layer by layer"
_MODELLED: Final = ("auto", "model")
_MEASURED: Final = ("nvml", "rapl", "pyrapl", "codecarbon", "replay")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", metavar="MODEL", help="package.module:callable, file.py:callable or a .onnx or .pt2 file"
    )
    parser.add_argument(
        "--input", metavar="SPEC", help="shapes of the inputs, as 1x3x224x224[:float32][,ids=1x128:int64]"
    )
    parser.add_argument(
        "--device", metavar="NAME|FILE|auto", default="auto", help="what it runs on (`joulecut devices`)"
    )
    parser.add_argument(
        "--sensor", metavar="auto|model", default="auto", help="where joules come from: a model of the device"
    )
    parser.add_argument("--batch", metavar="N", type=positive_count, help="samples in one inference")
    parser.add_argument(
        "--per-filter", action="store_true", help="also joules freed by removing filters of each layer"
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=path_text, help="save the profile as JSON")
    parser.add_argument("--html", metavar="FILE", type=path_text, help="write the report as one HTML file")


def run(args: argparse.Namespace, out: Output) -> int:
    """Profile a network.

    Raises:
        UsageError: a sensor that this version cannot read, or an output that cannot be written.
    """
    _check_sensor(args.sensor)
    check_file(args.output)
    check_file(args.html)

    from joulecut import api
    from joulecut.reports.console import print_profile

    profile = api.profile(
        args.model,
        args.input,
        device=args.device,
        sensor=args.sensor,
        batch=args.batch,
        per_filter=args.per_filter,
    )
    if args.output is not None:
        api.save(profile, Path(args.output))
        out.note(f"saved {args.output}")
    if args.html is not None:
        api.report(profile, Path(args.html))
        out.note(f"wrote {args.html}")
    out.show(profile, print_profile)
    return 0


def _check_sensor(name: str) -> None:
    if name.split(":")[0] in _MEASURED:
        raise UsageError(
            f"--sensor {name[:40]}: joules by layer are modelled in this version.",
            hint="Use --sensor model, or measure the whole run with `joulecut measure`.",
        )
    if name not in _MODELLED:
        raise UsageError(f"unknown sensor {name[:40]!r}.", hint="Use --sensor model.")
