"""``joulecut explain``: where the joules of a layer, or of a whole network, come from."""

from __future__ import annotations

import argparse
from pathlib import Path

from joulecut.cli.arguments import path_text
from joulecut.cli.output import Output
from joulecut.errors import UsageError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say where the joules of a layer come from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "profile", metavar="PROFILE", type=path_text, help="a profile saved with `joulecut profile -o`"
    )
    parser.add_argument(
        "layer", metavar="LAYER", nargs="?", help="path of a layer; the whole network without it"
    )
    parser.add_argument(
        "--device", metavar="NAME|FILE", help="what it was modelled on, where that is a file of your own"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Explain a saved profile.

    Raises:
        UsageError: the file is no profile, or has no such layer.
    """
    from joulecut import api
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.reports.device_console import print_explanation

    profile = api.load(Path(args.profile))
    if not isinstance(profile, EnergyProfile):
        raise UsageError(
            f"{args.profile} is no profile.", hint="Save one with `joulecut profile MODEL -o FILE`."
        )
    out.show(api.explain(profile, args.layer, device=args.device), print_explanation)
    return 0
