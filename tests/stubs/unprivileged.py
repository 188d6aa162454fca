"""Running a piece of Python as a user who may not read what belongs to root."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534

DROP = f"""
import os
if not os.geteuid():
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


def run_unprivileged(imports: str, body: str, *arguments: object) -> str:
    """What a piece of Python prints. Its imports run before the rights are dropped: modules may be root's.

    Tests that run as root drop to ``nobody``; others are unprivileged already.
    """
    command = [sys.executable, "-c", f"{imports}\n{DROP}\n{body}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def unreadable(path: Path) -> None:
    """Take every right to a file away; root reads it still, others do not."""
    path.chmod(0o000)
    assert os.geteuid() == 0 or not os.access(path, os.R_OK)
