"""``joulecut demo``: the whole job on real data: train or load, profile, prune, bench, report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from joulecut.cli.arguments import count, path_text
from joulecut.cli.output import Output, check_folder

__all__ = ["HELP", "add_arguments", "run"]

HELP = "the whole job on bundled data: profile, prune, bench, report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=path_text,
        help="Fashion-MNIST in IDX files, instead of the bundled digits",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=path_text, default="joulecut-demo", help="folder of the results"
    )
    parser.add_argument(
        "--finetune", metavar="EPOCHS", type=count, default=0, help="train the result for that many epochs"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Run the demo; a result that is slower in onnxruntime is reported and fails nothing.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(args.output, force=True)

    from joulecut import api
    from joulecut.cli.verdict import exit_code
    from joulecut.codec import VERSION, to_plain
    from joulecut.reports.console import print_comparison, print_prune

    with out.progress() as progress:
        result = api.demo(
            Path(args.output),
            data_dir=None if args.data is None else Path(args.data),
            finetune_epochs=args.finetune,
            progress=progress,
        )
    if out.json:
        plain = {
            "schema": f"joulecut/demo/{VERSION}",
            "records": to_plain(result.records),
            "comparisons": to_plain(result.comparisons),
            "folders": [str(folder) for folder in result.folders],
        }
        out.stdout.write(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
        return max(exit_code(record, out) for record in result.records)
    for at, (record, comparison) in enumerate(zip(result.records, result.comparisons, strict=True)):
        out.stdout.write("\n\n" if at else "")
        out.show(record, print_prune)
        out.stdout.write("\n")
        out.show(comparison, print_comparison)
    for folder in result.folders:
        out.note(f"saved the result in {folder}; open {folder / 'report.html'}")
    return max(exit_code(record, out) for record in result.records)
