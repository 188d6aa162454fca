"""``joulecut prune``: a network cut to a budget in joules, or by what the user names."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from joulecut.cli.arguments import count, path_text, positive_count, share
from joulecut.cli.output import Output, check_folder

__all__ = ["HELP", "add_arguments", "run"]

HELP = "cut a network to a budget in joules"
STRATEGIES = ("channels", "nodes", "blocks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", metavar="MODEL", help="package.module:callable, file.py:callable or a .pt2 file"
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="channels",
        help="channels to a budget (the default), nodes of one layer, or whole blocks",
    )
    _add_channels(parser)
    _add_nodes(parser)
    parser.add_argument(
        "--input", metavar="SPEC", help="shapes of the inputs, where the data does not give them"
    )
    parser.add_argument("--seed", metavar="N", type=count, default=0, help="of everything random")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that is not empty; refit on few samples"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=path_text, required=True, help="folder of the result"
    )
    parser.set_defaults(require=partial(_require, parser=parser))


def _add_channels(parser: argparse.ArgumentParser) -> None:
    """Options of a search to a budget."""
    parser.add_argument(
        "--budget", metavar="12mJ|50%", help="joules per inference, or a share of the original"
    )
    parser.add_argument("--device", metavar="NAME|FILE", help="what it runs on (`joulecut devices`)")
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="package.module:callable, file.py:callable, an .npz with x and y, an IDX folder, or digits",
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


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    """Options that name what goes."""
    parser.add_argument("--layer", metavar="PATH", help="nodes: the layer, as features.3")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--count", metavar="N", type=positive_count, help="nodes: so many, the lowest ranked")
    many.add_argument("--share", metavar="S", type=share, help="nodes: at most that share, as 30%% or 0.3")
    many.add_argument("--threshold", metavar="T", type=float, help="nodes: all that score less")
    parser.add_argument(
        "--ranking", choices=("l1", "l2", "random"), default="l2", help="nodes: what ranks them"
    )
    parser.add_argument(
        "--block", metavar="NAME", action="append", default=[], help="blocks: one that goes; may be repeated"
    )


def _require(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Leave as argparse does where an option is missing that the strategy needs."""
    needed = {"channels": ("budget", "device", "data"), "nodes": ("layer",), "blocks": ("block",)}
    missing = [f"--{name}" for name in needed[args.strategy] if not getattr(args, name)]
    if args.strategy == "nodes" and args.count is None and args.share is None and args.threshold is None:
        missing.append("one of --count, --share, --threshold")
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")


def run(args: argparse.Namespace, out: Output) -> int:
    """Prune a network and save the result in a folder.

    Raises:
        OutputError: the folder cannot be written.
    """
    args.require(args)
    check_folder(args.output, force=args.force)
    return _search(args, out) if args.strategy == "channels" else _remove(args, out)


def _remove(args: argparse.Namespace, out: Output) -> int:
    from joulecut import api
    from joulecut.reports.removal_console import print_removal

    device = args.device or "auto"
    if args.strategy == "blocks":
        result = api.remove_blocks(args.model, args.input, args.block, device=device)
    else:
        result = api.prune_nodes(
            args.model,
            args.input,
            args.layer,
            count=args.count,
            share=args.share,
            threshold=args.threshold,
            ranking=args.ranking,
            seed=args.seed,
            device=device,
        )
    result.save(Path(args.output))
    out.note(f"saved the result in {args.output}")
    out.show(result.record, print_removal)
    return 0


def _search(args: argparse.Namespace, out: Output) -> int:
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
