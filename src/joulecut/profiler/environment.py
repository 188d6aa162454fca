"""What a measurement was taken on: facts of the machine and of the programs."""

from __future__ import annotations

import os
import platform

from joulecut.profiler.records import Fact

__all__ = ["environment"]


def environment() -> dict[str, Fact]:
    """Host, operating system, processor architecture, cores, and the versions of Python and joulecut.

    >>> sorted(environment())
    ['cores', 'host', 'joulecut', 'machine', 'os', 'python']
    """
    from importlib.metadata import version  # late: it brings the parser of mails

    return {
        "joulecut": version("joulecut"),
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count() or 0,
        "host": platform.node(),
    }
