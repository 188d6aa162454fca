"""``joulecut explain``: where the joules of a network come from, or why a pruning run did what it did."""

from __future__ import annotations

import argparse
from pathlib import Path

from joulecut.cli.arguments import count, path_text
from joulecut.cli.output import Output
from joulecut.errors import UsageError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say where the joules of a layer come from, or why a pruning run did what it did"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "profile",
        metavar="PROFILE|DIR",
        type=path_text,
        help="a profile saved with `joulecut profile -o`, or a folder that `joulecut prune` made",
    )
    parser.add_argument(
        "layer", metavar="LAYER", nargs="?", help="path of a layer; the whole network without it"
    )
    parser.add_argument(
        "--device", metavar="NAME|FILE", help="what it was modelled on, where that is a file of your own"
    )
    parser.add_argument("--step", metavar="N", type=count, help="one step of a pruning run, in words")


def run(args: argparse.Namespace, out: Output) -> int:
    """Explain a saved profile, the steps of a pruning run, or a layer of its result.

    Raises:
        UsageError: the file is neither, or has no such layer or step.
    """
    from joulecut import api
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.pruning.records import PruneRecord
    from joulecut.reports.device_console import print_explanation
    from joulecut.reports.run_console import print_run

    record = api.load(Path(args.profile))
    if isinstance(record, PruneRecord) and args.layer is None:
        out.show(api.explain_steps(record, args.step), print_run)
        return 0
    if args.step is not None:
        raise UsageError(
            "steps are those of a pruning run.",
            hint="Give a folder that `joulecut prune` made, and no layer.",
        )
    if not isinstance(record, EnergyProfile | PruneRecord):
        raise UsageError(
            f"{args.profile} is no profile.", hint="Save one with `joulecut profile MODEL -o FILE`."
        )
    profile = record if isinstance(record, EnergyProfile) else record.after
    out.show(api.explain(profile, args.layer, device=args.device), print_explanation)
    return 0
