"""The command line: one file a command, each a thin shell over ``joulecut.api``."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["entry"]


def entry() -> NoReturn:
    """Entry point of the installed command; Ctrl-C is taken while modules are still loading, too."""
    try:
        from joulecut.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
