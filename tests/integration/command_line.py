"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

DEVICE = "reference/edge/float32"
STRANGERS = Path(__file__).parent / "strangers.py"
Cli = Callable[..., tuple[int, str, str]]
"""The fixture ``cli``: runs a command line in this process and gives exit code, stdout and stderr."""


def assert_refused(outcome: tuple[int, str, str], code: int, says: str) -> None:
    """One sentence on stderr, nothing on stdout, no traceback."""
    assert (outcome[0], outcome[1]) == (code, ""), outcome
    assert outcome[2].startswith("joulecut: ")
    assert says in outcome[2]
    assert outcome[2].count("\n") == 1
    assert outcome[2].strip().isprintable()
