"""``joulecut report``: a saved result rendered again, without measuring again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from joulecut.cli.arguments import path_text
from joulecut.cli.output import Output, check_file
from joulecut.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["HELP", "add_arguments", "run"]

HELP = "render a saved result again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "path", metavar="DIR|FILE", type=path_text, help="a saved .json file, or a folder with result.json"
    )
    parser.add_argument("--html", metavar="FILE", type=path_text, help="write the report as one HTML file")


def run(args: argparse.Namespace, out: Output) -> int:
    """Render a saved record as HTML, or on the terminal.

    Raises:
        OutputError: the HTML file cannot be written.
        SchemaError: the file holds no record that can be read.
        UsageError: it holds a record that has no report.
    """
    check_file(args.html)

    from joulecut import api

    path = Path(args.path)
    record = api.load(path / "result.json" if path.is_dir() else path)
    if args.html is not None:
        api.report(record, Path(args.html))
        out.note(f"wrote {args.html}")
    if args.html is None or args.json:
        out.show(record, _render_in_full if out.verbose else _render)
    return 0


def _render_in_full(record: object, console: Console) -> None:
    from joulecut.pruning.records import PruneRecord
    from joulecut.reports.console import print_prune_in_full

    if isinstance(record, PruneRecord):
        print_prune_in_full(record, console)
    else:
        _render(record, console)


def _render(record: object, console: Console) -> None:
    from joulecut.benchmarks.records import Comparison
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.profiler.records import Measurement
    from joulecut.profiler.training_records import TrainingEnergy
    from joulecut.pruning.records import PruneRecord
    from joulecut.pruning.removal import RemovalRecord
    from joulecut.reports.console import print_comparison, print_profile, print_prune
    from joulecut.reports.measure_console import print_measurement
    from joulecut.reports.removal_console import print_removal
    from joulecut.reports.training_console import print_training

    match record:
        case EnergyProfile():
            print_profile(record, console)
        case PruneRecord():
            print_prune(record, console)
        case RemovalRecord():
            print_removal(record, console)
        case Comparison():
            print_comparison(record, console)
        case Measurement():
            print_measurement(record, console)
        case TrainingEnergy():
            print_training(record, console)
        case _:
            raise UsageError(
                f"there is no report of a {type(record).__name__}.",
                hint="Give a profile, a measurement, a benchmark or a folder that `joulecut prune` made.",
            )
