"""``joulecut prune``: a network cut to a budget in joules, or by what the user names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from joulecut.cli.arguments import count, path_text, positive_count, share
from joulecut.cli.output import Output, check_folder
from joulecut.cli.prune_weights import add_weight_arguments, check_weight_arguments, run_weights
from joulecut.errors import BudgetUnreachable, UsageError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "cut a network to a budget in joules"
STRATEGIES = ("channels", "nodes", "blocks", "weights", "auto")
_INSTEAD = {
    "nodes": ", or without them --count, --share or --threshold",
    "blocks": ", or without them --block, --count, --share or --threshold",
}
_SEARCHED = (
    *("sensor", "per", "batch", "min_accuracy", "confidence", "effort"),
    *("fit_labels", "finetune", "recovery", "evaluation", "resume"),
)
"""Options that only a search to a budget uses."""
CHECKPOINT = "checkpoint.safetensors"
"""Name of the search's state in the folder of the result; gone when the result is there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", metavar="MODEL", help="package.module:callable, file.py:callable or a .pt2 file"
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="channels",
        help="what may go: channels (the default), nodes, blocks (and layers), weights, or auto, all of them",
    )
    _add_search(parser)
    _add_named(parser)
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


def _add_search(parser: argparse.ArgumentParser) -> None:
    """Options of a search to a budget."""
    parser.add_argument(
        "--budget", metavar="12mJ|50%", help="joules per inference, or a share of the original"
    )
    parser.add_argument("--latency", metavar="5ms", help="longest time of one inference on the device")
    parser.add_argument("--memory", metavar="256kB", help="most memory that one inference may need at once")
    parser.add_argument(
        "--sensor",
        choices=("auto", "nvml", "rapl", "jetson", "pyrapl", "codecarbon"),
        help="measure the joules of this machine, which then decide (default: they are modelled)",
    )
    parser.add_argument(
        "--per",
        choices=("inference", "training-step"),
        default="inference",
        help="what the joules of the budget are counted over",
    )
    parser.add_argument(
        "--batch", metavar="N", type=positive_count, default=1, help="samples in such a training step"
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
        "--effort",
        choices=("full", "quick"),
        default="full",
        help="measure the loss of the best candidates of every step (the default), or cut along a ranking",
    )
    parser.add_argument(
        "--fit-labels", action="store_true", help="the last layer may be solved on labels, without a gradient"
    )
    parser.add_argument(
        "--finetune", metavar="EPOCHS", type=count, default=0, help="train the result for that many epochs"
    )
    parser.add_argument(
        "--recovery", metavar="CALLABLE", help="train it with a loop of your own, as file.py:callable"
    )
    parser.add_argument(
        "--evaluation", metavar="CALLABLE", help="judges networks on the way, in place of accuracy"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from where a run into the same folder was stopped"
    )


def _add_named(parser: argparse.ArgumentParser) -> None:
    """Options that name what goes, in place of a budget."""
    parser.add_argument(
        "--layer",
        metavar="PATH",
        default="",
        help="the layer whose channels, nodes or weights may go, as features.3; all by default",
    )
    many = parser.add_mutually_exclusive_group()
    many.add_argument(
        "--count",
        metavar="N",
        type=positive_count,
        help="so many of each layer, the lowest ranked; of blocks, those that change least of what they read",
    )
    many.add_argument(
        "--share", metavar="S", type=share, help="at most that share of each layer, as 30%% or 0.3"
    )
    many.add_argument("--threshold", metavar="T", type=float, help="all that score less")
    add_weight_arguments(parser)
    parser.add_argument(
        "--ranking",
        choices=("random", "l1", "l2", "taylor", "fisher", "obs"),
        help="what ranks channels or nodes: for a budget, in place of the search's own; else l1, l2 (the "
        "default) or random",
    )
    parser.add_argument(
        "--block", metavar="NAME", action="append", default=[], help="blocks: one that goes; may be repeated"
    )


def _names(args: argparse.Namespace) -> bool:
    """Whether the arguments say what goes, so that nothing has to be searched."""
    amounts = (args.count, args.share, args.threshold, args.pattern)
    return bool(args.block) or any(value is not None for value in amounts)


def _require(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Leave as argparse does where options do not go together, or one is missing that the others need."""
    limited = bool(args.budget or args.latency or args.memory)
    _require_strategy(args, parser)
    if _names(args):
        if limited:
            parser.error("a budget is searched for: leave out what says how much goes")
        given = (name for name in _SEARCHED if getattr(args, name) != parser.get_default(name))
        if unused := ", ".join(f"--{name.replace('_', '-')}" for name in given):
            parser.error(f"without a budget nothing is searched or trained: leave out {unused}")
        return
    if not limited and args.strategy == "weights":
        check_weight_arguments(args, parser)
    missing = [f"--{name}" for name in ("device", "data") if not getattr(args, name)]
    if not limited:
        missing.insert(0, "--budget")
    if missing:
        instead = _INSTEAD.get(args.strategy, "") if not limited else ""
        parser.error(f"the following arguments are required: {', '.join(missing)}{instead}")


def _require_strategy(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Leave as argparse does where an option is not of the strategy."""
    if args.block and args.strategy != "blocks":
        parser.error("--block belongs to --strategy blocks")
    if args.block and any(value is not None for value in (args.count, args.share, args.threshold)):
        parser.error("--block names what goes: leave out how much")
    if args.pattern and args.strategy != "weights":
        parser.error("--pattern belongs to --strategy weights")
    if args.layer and args.strategy not in ("channels", "nodes", "weights"):
        parser.error(f"--layer belongs to channels, nodes and weights, not to --strategy {args.strategy}")
    if args.strategy == "auto" and _names(args):
        parser.error("--strategy auto takes a budget")


def run(args: argparse.Namespace, out: Output) -> int:
    """Prune a network and save the result in a folder.

    Raises:
        OutputError: the folder cannot be written.
        UsageError: a stopped run lies in the folder.
    """
    args.require(args)
    checkpoint = Path(args.output) / CHECKPOINT
    if checkpoint.is_file() and not args.resume and not args.force:
        raise UsageError(
            f"{args.output} holds a run that was stopped.",
            hint="--resume to go on with it, --force to start again.",
        )
    if args.resume and not checkpoint.is_file():
        out.note(f"nothing to go on with in {args.output}: starting from the beginning.")
        args.resume = False
    check_folder(args.output, force=args.force or args.resume)
    if not _names(args):
        return _search(args, out, checkpoint)
    return run_weights(args, out) if args.strategy == "weights" else _remove(args, out)


def _remove(args: argparse.Namespace, out: Output) -> int:
    from joulecut import api
    from joulecut.reports.removal_console import print_removal

    device = args.device or "auto"
    if args.strategy == "blocks":
        result = api.remove_blocks(
            args.model,
            args.input,
            args.block,
            count=args.count,
            share=args.share,
            threshold=args.threshold,
            data=args.data,
            device=device,
        )
    else:
        result = api.prune_nodes(
            args.model,
            args.input,
            args.layer,
            count=args.count,
            share=args.share,
            threshold=args.threshold,
            ranking=args.ranking or "l2",
            seed=args.seed,
            device=device,
        )
    result.save(Path(args.output))
    out.note(f"saved the result in {args.output}")
    out.show(result.record, print_removal)
    return 0


@contextmanager
def _resumable(checkpoint: Path, out: Output) -> Iterator[None]:
    """Say of an interrupted run how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoint.is_file():
            out.note("the steps taken are kept: go on with --resume.")
        raise


@contextmanager
def _best_kept(args: argparse.Namespace, out: Output, checkpoint: Path) -> Iterator[None]:
    """Where a budget cannot be met, save the best point that was found."""
    try:
        yield
    except BudgetUnreachable as error:
        from joulecut.jobs.result import PruneResult
        from joulecut.reports.console import print_prune

        if isinstance(error.result, PruneResult):
            error.result.save(Path(args.output))
            checkpoint.unlink(missing_ok=True)
            out.note(f"saved the best point found in {args.output}")
            out.show(error.result.record, print_prune)
        raise


def _search(args: argparse.Namespace, out: Output, checkpoint: Path) -> int:
    from joulecut import api
    from joulecut.cli.verdict import exit_code
    from joulecut.pruning.budget import parse_budget
    from joulecut.reports.console import print_prune, print_prune_in_full

    budget = parse_budget(
        args.budget,
        min_accuracy=args.min_accuracy,
        confidence=args.confidence,
        latency=args.latency,
        memory=args.memory,
        per="inference" if args.per == "inference" else "training step",
        step_samples=args.batch,
    )
    with _resumable(checkpoint, out), _best_kept(args, out, checkpoint), out.progress() as progress:
        result = api.prune(
            args.model,
            args.input,
            budget=budget,
            device=args.device,
            data=args.data,
            sensor=args.sensor,
            strategy=args.strategy,
            layer=args.layer,
            effort=args.effort,
            ranking=args.ranking or "",
            fit_labels=args.fit_labels,
            finetune_epochs=args.finetune,
            recovery=args.recovery,
            evaluation=args.evaluation,
            seed=args.seed,
            force=args.force,
            checkpoint=checkpoint,
            resume=args.resume,
            progress=progress,
        )
        result.save(Path(args.output))
    checkpoint.unlink(missing_ok=True)
    out.note(f"saved the result in {args.output}")
    out.show(result.record, print_prune_in_full if out.verbose else print_prune)
    return exit_code(result.record, out, result.comparison)
