"""``joulecut prune``: a network cut to a budget in joules."""

from __future__ import annotations

import argparse
from pathlib import Path

from joulecut.cli.arguments import count, path_text, share
from joulecut.cli.output import Output, check_folder

__all__ = ["HELP", "add_arguments", "run"]

HELP = "cut a network to a budget in joules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", metavar="MODEL", help="package.module:callable, file.py:callable or a .pt2 file"
    )
    parser.add_argument(
        "--budget", metavar="12mJ|50%", required=True, help="joules per inference, or a share of the original"
    )
    parser.add_argument(
        "--device", metavar="NAME|FILE", required=True, help="what it runs on (`joulecut devices`)"
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="package.module:callable, file.py:callable, an .npz with x and y, an IDX folder, or digits",
    )
    parser.add_argument(
        "--input", metavar="SPEC", help="shapes of the inputs, where the data does not give them"
    )
    parser.add_argument(
        "--min-accuracy", metavar="A", type=share, help="lowest accuracy allowed, as 70%% or 0.7"
    )
    parser.add_argument(
        "--confidence", type=float, choices=(0.5, 0.9), default=0.9, help="of the bound that meets the budget"
    )
    parser.add_argument(
        "--finetune", metavar="EPOCHS", type=count, default=0, help="train the result for that many epochs"
    )
    parser.add_argument("--seed", metavar="N", type=count, default=0, help="of everything random")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that is not empty; refit on few samples"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=path_text, required=True, help="folder of the result"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Prune a network and save the result in a folder.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(args.output, force=args.force)

    from joulecut import api
    from joulecut.cli.verdict import exit_code
    from joulecut.reports.console import print_prune

    with out.progress() as progress:
        result = api.prune(
            args.model,
            args.input,
            budget=args.budget,
            device=args.device,
            data=args.data,
            min_accuracy=args.min_accuracy,
            confidence=args.confidence,
            finetune_epochs=args.finetune,
            seed=args.seed,
            force=args.force,
            progress=progress,
        )
        result.save(Path(args.output))
    out.note(f"saved the result in {args.output}")
    out.show(result.record, print_prune)
    return exit_code(result.record, out, result.comparison)
