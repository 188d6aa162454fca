"""The command line: one file a command, each a thin shell over ``joulecut.api``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["entry"]


def entry() -> NoReturn:
    """Entry point of the installed command; Ctrl-C is taken while modules are still loading, too.

    torch's idle threads shall sleep instead of spin, unless the user says otherwise: beside one other busy
    process on two cores, spinning was measured to take 66 s for a demo that takes 25 s without.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from joulecut.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
