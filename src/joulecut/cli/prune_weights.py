"""``joulecut prune --strategy weights``: single weights, n of m inputs or blocks set to zero."""

from __future__ import annotations

import argparse
from pathlib import Path

from joulecut.cli.output import Output

__all__ = ["add_weight_arguments", "check_weight_arguments", "run_weights"]


def add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of weights alone; how many go, and in which layers, stands with those of nodes."""
    parser.add_argument(
        "--pattern",
        metavar="2:4|4x1|threshold",
        help="weights: where zeros may stand: n of every m inputs stay, whole blocks of outputs x inputs go, "
        "or any weight (threshold, with --threshold, or --share or --count of all the weights together)",
    )


def check_weight_arguments(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Leave as argparse does where options do not go together."""
    amounts = [name for name in ("threshold", "share", "count") if getattr(args, name) is not None]
    if args.pattern is None and not amounts:
        parser.error("--strategy weights needs --pattern, or one of --threshold, --share, --count")
    if args.budget:
        parser.error("--budget belongs to a search; --strategy weights takes --pattern and an amount")


def run_weights(args: argparse.Namespace, out: Output) -> int:
    """Prune weights and save the result in a folder.

    Raises:
        OutputError: the folder cannot be written.
        UsageError: no such pattern, amount or layer.
    """
    from joulecut import api
    from joulecut.reports.weights_console import print_weights

    result = api.prune_weights(
        args.model,
        args.input,
        pattern=args.pattern or "unstructured",
        threshold=args.threshold,
        share=args.share,
        count=args.count,
        layers=[name for name in args.layer.split(",") if name],
        data=args.data,
        device=args.device or "auto",
        seed=args.seed,
        force=args.force,
    )
    result.save(Path(args.output))
    out.note(f"saved the result in {args.output}")
    out.show(result.record, print_weights)
    return 0
